"""Push rules: what each person changed of those that everybody has.

Spec: client-server-api#push-rules
"""

from typing import Any

import msgspec

from federation.ids import RoomID, UserID
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


def copy_room_rule(txn: Txn, user_id: UserID, source: RoomID, target: RoomID) -> None:
    """Give a room the rule of kind ``room`` that a person made for another, unless it has one."""
    stored = find_push_rules(txn, user_id)
    edits: dict[str, Any] = {} if stored is None else msgspec.json.decode(stored)
    rules = {rule["rule_id"]: rule for rule in edits.get("rules", {}).get("room", ())}
    if source in rules and target not in rules:
        edits["rules"]["room"].append({**rules[source], "rule_id": target})
        set_push_rules(txn, user_id, msgspec.json.encode(edits))
