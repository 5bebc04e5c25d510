"""Tables of what clients keep here for themselves: account data, of rooms too, and filters.

Spec: client-server-api#client-config, client-server-api#filtering
"""

from dataclasses import dataclass

import msgspec

from federation.ids import RoomID, UserID
from homeserver.storage.changes import UserDataChanged
from homeserver.storage.database import Txn


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountData:
    """One piece of account data; `room_id` is None for what belongs to no room, `content` a JSON object."""

    room_id: RoomID | None
    type: str
    content: bytes


def find_account_data(txn: Txn, user_id: UserID, kind: str, room_id: RoomID | None = None) -> bytes | None:
    """Find the content of the account data of that type."""
    row = txn.one(
        "SELECT content FROM account_data WHERE user_id = ? AND room_id = ? AND type = ?",
        (user_id, room_id or "", kind),
    )
    return None if row is None else row[0]


def blocks_invitations(txn: Txn, user_id: UserID) -> bool:
    """Whether somebody wants no invitations from anybody.

    Spec: client-server-api#invite-permission
    """
    content = find_account_data(txn, user_id, "m.invite_permission_config")
    return content is not None and msgspec.json.decode(content).get("default_action") == "block"


def load_ignored(txn: Txn, user_id: UserID) -> frozenset[str]:
    """Load whose messages somebody does not want.

    Spec: client-server-api#ignoring-users
    """
    content = find_account_data(txn, user_id, "m.ignored_user_list")
    ignored = msgspec.json.decode(content).get("ignored_users") if content is not None else None
    return frozenset(ignored) if isinstance(ignored, dict) else frozenset()


def load_account_data(txn: Txn, user_id: UserID, *, since: int = 0, upto: int) -> list[AccountData]:
    """Load what was set after `since` and not after `upto` (stream positions), in order."""
    rows = txn.all(
        "SELECT room_id, type, content FROM account_data WHERE user_id = ? AND position > ? AND position <= ?"
        " ORDER BY position",
        (user_id, since, upto),
    )
    return [AccountData(room_id=room_id or None, type=kind, content=content) for room_id, kind, content in rows]


def load_room_data(txn: Txn, user_id: UserID, room_id: RoomID) -> list[AccountData]:
    """Load what was set for a room, in order."""
    rows = txn.all(
        "SELECT type, content FROM account_data WHERE user_id = ? AND room_id = ? ORDER BY position", (user_id, room_id)
    )
    return [AccountData(room_id=room_id, type=kind, content=content) for kind, content in rows]


def set_account_data(txn: Txn, user_id: UserID, kind: str, content: bytes, room_id: RoomID | None = None) -> None:
    """Set account data; `content` is the JSON object as it will be given back."""
    position = txn.position()
    txn.run(
        "INSERT INTO account_data (user_id, room_id, type, position, content) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (user_id, room_id, type) DO UPDATE SET position = excluded.position, content = excluded.content",
        (user_id, room_id or "", kind, position, content),
    )
    txn.tell(UserDataChanged(position=position, user_id=user_id, kind="account_data", room_id=room_id))


def copy_account_data(txn: Txn, user_id: UserID, kind: str, source: RoomID, target: RoomID) -> None:
    """Give a room what another has of that type, unless it has some of its own."""
    content = find_account_data(txn, user_id, kind, source)
    if content is not None and find_account_data(txn, user_id, kind, target) is None:
        set_account_data(txn, user_id, kind, content, target)


def append_filter(txn: Txn, user_id: UserID, digest: bytes, definition: bytes) -> int:
    """Add a filter and give its number; the same filter (by its digest) keeps the number it has."""
    row = txn.one("SELECT filter_id FROM filters WHERE user_id = ? AND digest = ?", (user_id, digest))
    if row is not None:
        return int(row[0])
    row = txn.one("SELECT MAX(filter_id) FROM filters WHERE user_id = ?", (user_id,))
    number = 0 if row is None or row[0] is None else int(row[0]) + 1
    txn.run(
        "INSERT INTO filters (user_id, filter_id, digest, definition) VALUES (?, ?, ?, ?)",
        (user_id, number, digest, definition),
    )
    return number


def find_filter(txn: Txn, user_id: UserID, number: int) -> bytes | None:
    """Find a filter's definition, a JSON object."""
    row = txn.one("SELECT definition FROM filters WHERE user_id = ? AND filter_id = ?", (user_id, number))
    return None if row is None else row[0]
