"""Where people's notifications go: their pushers, and how far each of them has been told.

A pusher hangs on the device that set it and goes with it. Those of locked and closed accounts are not loaded.

Spec: client-server-api#push-notifications
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from federation.ids import DeviceID, EventID, RoomID, UserID
from homeserver.storage.changes import PushersChanged
from homeserver.storage.database import Row, Txn

_SELECT: Final = (
    "SELECT p.user_id, p.app_id, p.pushkey, p.device_id, p.set_ms, p.details, p.last_told"
    " FROM pushers p JOIN users u ON u.user_id = p.user_id WHERE u.locked_ms IS NULL AND u.deactivated_ms IS NULL"
)


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client says of itself and of its gateway; `data` is for the gateway, but for its ``url``."""

    app_display_name: str
    device_display_name: str
    lang: str
    data: dict[str, Any]
    profile_tag: str | None = None


_decoder: Final = msgspec.json.Decoder(Details)


class PusherKey(NamedTuple):
    """What names a pusher."""

    user_id: UserID
    app_id: str
    pushkey: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pusher:
    """Where some of a person's notifications go; `last_told` as in the table."""

    key: PusherKey
    device_id: DeviceID
    set_ms: int
    stored: bytes
    last_told: int | None = None

    @property
    def details(self) -> Details:
        """What the client said when it set it."""
        return _decoder.decode(self.stored)


class Standing(NamedTuple):
    """How far all pushers are: everything up to `horizon` was told, but to those `behind` something may be owed."""

    pushers: list[Pusher]
    horizon: int
    behind: list[UserID]


def load_pushers(txn: Txn, user_id: UserID) -> list[Pusher]:
    """Load the pushers of a person in the order in which they were set; none of a locked or closed account."""
    return [_read(row) for row in txn.all(f"{_SELECT} AND p.user_id = ? ORDER BY p.set_ms, p.app_id", (user_id,))]


def set_pusher(txn: Txn, pusher: Pusher) -> None:
    """Add a pusher or renew it; nothing earlier is told to it."""
    position = txn.position()
    txn.run(
        "INSERT INTO pushers (user_id, app_id, pushkey, device_id, set_ms, details, last_told)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user_id, app_id, pushkey) DO UPDATE SET"
        " device_id = excluded.device_id, set_ms = excluded.set_ms, details = excluded.details",
        (*pusher.key, pusher.device_id, pusher.set_ms, pusher.stored, position),
    )
    txn.tell(PushersChanged(position=position, user_id=pusher.key.user_id))


def remove_pusher(txn: Txn, key: PusherKey) -> None:
    """Remove a pusher, if it is there."""
    if txn.run("DELETE FROM pushers WHERE user_id = ? AND app_id = ? AND pushkey = ?", key):
        txn.tell(PushersChanged(position=txn.position(), user_id=key.user_id))


def remove_others(txn: Txn, key: PusherKey) -> None:
    """Remove the pushers of everybody else that have the same app and pushkey."""
    rows = txn.all(
        "DELETE FROM pushers WHERE app_id = ? AND pushkey = ? AND user_id <> ? RETURNING user_id",
        (key.app_id, key.pushkey, key.user_id),
    )
    for (user_id,) in rows:
        txn.tell(PushersChanged(position=txn.position(), user_id=UserID(user_id)))


def count_others(txn: Txn, key: PusherKey) -> int:
    """How many other pushers the person has."""
    row = txn.one(
        "SELECT COUNT(*) FROM pushers WHERE user_id = ? AND (app_id <> ? OR pushkey <> ?)",
        (key.user_id, key.app_id, key.pushkey),
    )
    return 0 if row is None else int(row[0])


def load_standing(txn: Txn) -> Standing:
    """Load all pushers, and how far they are."""
    row = txn.one("SELECT position FROM push_horizon")
    horizon = 0 if row is None else int(row[0])
    behind = txn.all(
        "SELECT user_id FROM pushers WHERE last_told IS NOT NULL"
        " UNION SELECT p.user_id FROM pushers p JOIN memberships m ON m.user_id = p.user_id"
        " WHERE m.membership = 'join'"
        " AND EXISTS (SELECT 1 FROM events e WHERE e.room_nid = m.room_nid AND e.stream > ?)"
        " UNION SELECT p.user_id FROM pushers p JOIN memberships m ON m.user_id = p.user_id"
        " WHERE m.membership = 'invite' AND m.stream > ?",
        (horizon, horizon),
    )
    return Standing([_read(row) for row in txn.all(_SELECT)], horizon, [UserID(user_id) for (user_id,) in behind])


def load_invitations(txn: Txn, user_id: UserID, after: int) -> list[tuple[int, RoomID, EventID]]:
    """Load the invitations of a person from after a stream position that still stand: `(position, room, event)`."""
    rows = txn.all(
        "SELECT m.stream, rooms.room_id, events.event_id FROM memberships m"
        " JOIN rooms ON rooms.nid = m.room_nid JOIN events ON events.nid = m.event_nid"
        " WHERE m.user_id = ? AND m.membership = 'invite' AND m.stream > ?",
        (user_id, after),
    )
    return [(stream, RoomID(room_id), EventID(event_id)) for stream, room_id, event_id in rows]


def set_told(txn: Txn, horizon: int, told: Mapping[PusherKey, int | None]) -> None:
    """Note how far pushers are; all that are not named are as they were."""
    rows: Iterable[tuple[Any, ...]] = ((upto, *key) for key, upto in told.items())
    txn.many("UPDATE pushers SET last_told = ? WHERE user_id = ? AND app_id = ? AND pushkey = ?", rows)
    txn.run("UPDATE push_horizon SET position = ?", (horizon,))


def _read(row: Row) -> Pusher:
    user_id, app_id, pushkey, device_id, set_ms, stored, last_told = row
    return Pusher(
        key=PusherKey(user_id, app_id, pushkey),
        device_id=device_id,
        set_ms=set_ms,
        stored=stored,
        last_told=last_told,
    )
