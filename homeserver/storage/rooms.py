"""Rooms: what never changes of one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from federation.ids import RoomID, UserID
from federation.versions import ROOM_VERSIONS, RoomVersion
from homeserver.storage.database import Insert, Row, Txn


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRecord:
    """A room that this server knows; `kind` is what a school calls it, None for an ordinary room."""

    nid: int
    room_id: RoomID
    version: RoomVersion
    creator: UserID
    kind: str | None = None


_ROOM: Final = Insert("INSERT INTO rooms (nid, room_id, version, creator, kind) VALUES (?, ?, ?, ?, ?)")
_SELECT: Final = "SELECT nid, room_id, version, creator, kind FROM rooms"


def append_room(txn: Txn, room: RoomRecord) -> None:
    """Record a new room."""
    txn.append(_ROOM, (room.nid, room.room_id, room.version.id, room.creator, room.kind))


def set_room(txn: Txn, room: RoomRecord) -> None:
    """Correct what was believed of a room of which only an invitation was known."""
    txn.run("UPDATE rooms SET version = ?, creator = ? WHERE nid = ?", (room.version.id, room.creator, room.nid))


def find_room(txn: Txn, room_id: str) -> RoomRecord | None:
    """The room of that ID; anything may be asked."""
    row = txn.one(f"{_SELECT} WHERE room_id = ?", (room_id,))
    return None if row is None else _read(row)


def load_rooms(txn: Txn, room_ids: Iterable[RoomID]) -> dict[RoomID, RoomRecord]:
    """Those of the rooms that this server knows, by ID."""
    rooms = [_read(row) for row in txn.all_in(f"{_SELECT} WHERE room_id {{in}}", room_ids)]
    return {room.room_id: room for room in rooms}


def is_joined(txn: Txn, user_id: UserID, room_id: str) -> bool:
    """Whether somebody is joined to a room; no more is read of one that is there than of none."""
    joined = "SELECT 1 FROM memberships JOIN rooms ON rooms.nid = memberships.room_nid"
    wanted = "WHERE rooms.room_id = ? AND memberships.user_id = ? AND memberships.membership = 'join'"
    return txn.one(f"{joined} {wanted}", (room_id, user_id)) is not None


def _read(row: Row) -> RoomRecord:
    nid, room_id, version, creator, kind = row
    return RoomRecord(nid=nid, room_id=room_id, version=ROOM_VERSIONS[version], creator=creator, kind=kind)
