"""Push rules: what each person changed of those that everybody has.

Spec: client-server-api#push-rules
"""

from federation.ids import UserID
from homeserver.storage.changes import UserDataChanged
from homeserver.storage.database import Txn


def find_push_rules(txn: Txn, user_id: UserID) -> bytes | None:
    """What a person changed of the default rules, as JSON; None when that is nothing."""
    row = txn.one("SELECT edits FROM push_rules WHERE user_id = ?", (user_id,))
    return None if row is None else row[0]


def has_changed(txn: Txn, user_id: UserID, since: int, upto: int) -> bool:
    """Whether a person's rules changed above one position and not above another."""
    sql = "SELECT 1 FROM push_rules WHERE user_id = ? AND position > ? AND position <= ?"
    return txn.one(sql, (user_id, since, upto)) is not None


def set_push_rules(txn: Txn, user_id: UserID, edits: bytes) -> None:
    """Replace what a person changed of the default rules."""
    position = txn.position()
    txn.run(
        "INSERT INTO push_rules (user_id, position, edits) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET position = excluded.position, edits = excluded.edits",
        (user_id, position, edits),
    )
    txn.tell(UserDataChanged(position=position, user_id=user_id, kind="push_rules"))
