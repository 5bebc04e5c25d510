"""Memberships: the current one of everybody, and the history of our own people's."""

from dataclasses import dataclass
from typing import Final

from federation.ids import RoomID, UserID
from homeserver.storage.database import Insert, Row, Txn
from homeserver.storage.events import RoomEvent

_CURRENT: Final = Insert(
    "INSERT INTO memberships (user_id, room_nid, membership, event_nid, stream, forgotten) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (user_id, room_nid) DO UPDATE SET membership = excluded.membership, event_nid = excluded.event_nid,"
    " stream = excluded.stream, forgotten = excluded.forgotten"
)
_CHANGE: Final = Insert(
    "INSERT INTO membership_changes (user_id, stream, room_nid, membership, event_nid) VALUES (?, ?, ?, ?, ?)"
)
_SELECT: Final = (
    "SELECT rooms.room_id, memberships.room_nid, membership, event_nid, stream, forgotten"
    " FROM memberships JOIN rooms ON rooms.nid = memberships.room_nid"
)
_MUTUAL: Final = (
    "FROM memberships mine JOIN memberships theirs ON theirs.room_nid = mine.room_nid"
    " JOIN rooms ON rooms.nid = mine.room_nid"
    " WHERE mine.user_id = ? AND mine.membership = 'join' AND theirs.user_id = ? AND theirs.membership = 'join'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What somebody is in a room since a stream position; `forgotten` rooms are left and no longer shown."""

    room_id: RoomID
    room_nid: int
    membership: str
    event_nid: int
    stream: int
    forgotten: bool


def set_membership(txn: Txn, held: RoomEvent, stream: int, *, ours: bool) -> None:
    """Record what an event at a stream position makes its state key in the room; `ours` keeps the change as well."""
    event = held.event
    user_id, membership = event.state_key, event.membership
    txn.append(_CURRENT, (user_id, held.room_nid, membership, held.nid, stream, 0))
    if ours:
        txn.append(_CHANGE, (user_id, stream, held.room_nid, membership, held.nid))


def remove_membership(txn: Txn, user_id: UserID, room_nid: int, stream: int, *, ours: bool) -> None:
    """Record that the state of a room has no more to say of somebody than before they were first named there."""
    found = find_membership(txn, user_id, room_nid)
    txn.run("DELETE FROM memberships WHERE user_id = ? AND room_nid = ?", (user_id, room_nid))
    if ours and found is not None:
        txn.append(_CHANGE, (user_id, stream, room_nid, "leave", found.event_nid))


def set_forgotten(txn: Txn, user_id: UserID, room_nid: int) -> bool:
    """Forget a room that somebody has left or is banned from; False when there is none to forget."""
    touched = txn.run(
        "UPDATE memberships SET forgotten = 1 WHERE user_id = ? AND room_nid = ? AND membership IN ('leave', 'ban')",
        (user_id, room_nid),
    )
    return touched == 1


def find_membership(txn: Txn, user_id: UserID, room_nid: int) -> Membership | None:
    """What somebody is in a room."""
    row = txn.one(f"{_SELECT} WHERE user_id = ? AND room_nid = ?", (user_id, room_nid))
    return None if row is None else _read(row)


def load_memberships(txn: Txn, user_id: UserID, membership: str | None = None) -> list[Membership]:
    """All rooms of somebody, or those with one membership; forgotten ones are left out."""
    rows = txn.all(f"{_SELECT} WHERE user_id = ? AND forgotten = 0", (user_id,))
    return [found for row in rows if membership in (None, (found := _read(row)).membership)]


def load_mutual(txn: Txn, one: UserID, other: UserID, after: int, most: int) -> list[tuple[int, RoomID]]:
    """The rooms that two people are joined to, as (nid, ID) in the order of nids, from behind one nid on."""
    rows = txn.all(
        f"SELECT rooms.nid, rooms.room_id {_MUTUAL} AND mine.room_nid > ? ORDER BY mine.room_nid LIMIT ?",
        (one, other, after, most),
    )
    return [(nid, room_id) for nid, room_id in rows]


def count_mutual(txn: Txn, one: UserID, other: UserID) -> int:
    """How many rooms two people are joined to."""
    row = txn.one(f"SELECT COUNT(*) {_MUTUAL}", (one, other))
    return 0 if row is None else int(row[0])


def _read(row: Row) -> Membership:
    room_id, room_nid, membership, event_nid, stream, forgotten = row
    return Membership(
        room_id=room_id,
        room_nid=room_nid,
        membership=membership,
        event_nid=event_nid,
        stream=stream,
        forgotten=forgotten == 1,
    )
