"""The table of profiles: display name, avatar, and the other fields a person shows."""

from dataclasses import dataclass

from federation.ids import UserID
from homeserver.storage.changes import UserDataChanged
from homeserver.storage.database import Txn
from homeserver.storage.names import renew_words


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRow:
    """A profile as stored; `fields` is a JSON object of the fields beyond the two."""

    displayname: str | None = None
    avatar_url: str | None = None
    fields: bytes | None = None


def find_profile(txn: Txn, user_id: UserID) -> ProfileRow | None:
    """Find a person's profile; None when nothing was ever set."""
    row = txn.one("SELECT displayname, avatar_url, fields FROM profiles WHERE user_id = ?", (user_id,))
    return None if row is None else ProfileRow(displayname=row[0], avatar_url=row[1], fields=row[2])


def set_profile(txn: Txn, user_id: UserID, profile: ProfileRow) -> None:
    """Replace a person's profile."""
    txn.run(
        "INSERT INTO profiles (user_id, displayname, avatar_url, fields) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET displayname = excluded.displayname, avatar_url = excluded.avatar_url,"
        " fields = excluded.fields",
        (user_id, profile.displayname, profile.avatar_url, profile.fields),
    )
    renew_words(txn, user_id)
    txn.tell(UserDataChanged(position=txn.position(), user_id=user_id, kind="profile"))


def remove_profile(txn: Txn, user_id: UserID) -> None:
    """Forget a person's profile."""
    if txn.run("DELETE FROM profiles WHERE user_id = ?", (user_id,)):
        renew_words(txn, user_id)
        txn.tell(UserDataChanged(position=txn.position(), user_id=user_id, kind="profile"))
