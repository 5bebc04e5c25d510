"""Which rooms are a school's, and what they are for."""

from msgspec import Struct
from msgspec.structs import astuple

from federation.ids import RoomID, UserID
from homeserver.storage.database import Txn

_ROOM = "SELECT room_id, org_id, class_id, kind, owner, peer, supervisor, created_ms, closed_ms FROM school_rooms"
_PEOPLE_IN_ROOMS = (
    "SELECT s.room_id, m.user_id FROM school_rooms s JOIN rooms r ON r.room_id = s.room_id"
    " JOIN memberships m ON m.room_nid = r.nid"
    " WHERE s.org_id = ? AND s.closed_ms IS NULL AND m.membership IN ('join', 'invite', 'knock')"
)
_SET_ROOM = (
    "INSERT INTO school_rooms (room_id, org_id, class_id, kind, owner, peer, supervisor, created_ms, closed_ms)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (room_id) DO UPDATE SET supervisor = excluded.supervisor,"
    " closed_ms = excluded.closed_ms"
)


class SchoolRoom(Struct, frozen=True):
    """A school's room: its kind and scope; `owner`, `peer` and `supervisor` are the people of a room for few, or empty.

    Nobody belongs to a room that is closed. School: row 17
    """

    room_id: RoomID
    org_id: str
    class_id: str
    kind: str
    owner: UserID | str
    peer: UserID | str
    supervisor: UserID | str
    created_ms: int
    closed_ms: int | None = None


def find_school_room(txn: Txn, room_id: RoomID) -> SchoolRoom | None:
    """Find what a room is for; None when it is no school's."""
    row = txn.one(f"{_ROOM} WHERE room_id = ?", (room_id,))
    return None if row is None else SchoolRoom(*row)


def load_open_rooms(txn: Txn, org_id: str) -> list[SchoolRoom]:
    """Load the rooms of an organisation that are not closed."""
    sql = f"{_ROOM} WHERE org_id = ? AND closed_ms IS NULL"
    return [SchoolRoom(*row) for row in txn.all(sql, (org_id,))]


def load_people_in_rooms(txn: Txn, org_id: str) -> dict[RoomID, set[UserID]]:
    """Load who is in the open rooms of an organisation, invited or knocking; rooms without anybody are left out."""
    found: dict[RoomID, set[UserID]] = {}
    for room_id, user_id in txn.all(_PEOPLE_IN_ROOMS, (org_id,)):
        found.setdefault(room_id, set()).add(user_id)
    return found


def set_school_room(txn: Txn, room: SchoolRoom) -> None:
    """Write what a room is for, or that it is closed."""
    txn.run(_SET_ROOM, astuple(room))
