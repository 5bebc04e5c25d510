"""Tables of what is told to other servers: in which rooms they are, how far each was told, and what waits for them.

There is no row for a message and a destination. What a server is owed are the events of ours, in the rooms that it is
in, above its position and above the one up to which it was told of that room.

Spec: server-server-api#transactions
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from federation.ids import EventID, RoomID, ServerName
from homeserver.storage.database import Insert, Row, Txn

LONG_ABSENCE: Final = 2_000
"""Of a room in which more than so many events were missed, only the latest are sent: the server can ask for more."""
LATEST: Final = 20
MOST_LOOKED_AT: Final = 200
"""How many rooms are looked at in one read."""

_PRESENT: Final = (
    "INSERT INTO room_servers (server_name, room_nid, told, left_at) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (server_name, room_nid) DO UPDATE SET left_at = excluded.left_at,"
    " told = CASE WHEN room_servers.left_at IS NULL THEN room_servers.told ELSE excluded.told END"
)
_PASSED_ON: Final = Insert("INSERT INTO passed_on (room_nid, event_nid) VALUES (?, ?)")
_POSITION: Final = (
    "INSERT INTO told_servers (server_name, position) VALUES (?, ?)"
    " ON CONFLICT (server_name) DO UPDATE SET position = excluded.position"
)
_EVENT: Final = "SELECT e.stream, e.event_id, e.origin_server_ts, e.json"
_OWED: Final = (
    "FROM events e WHERE e.room_nid = ? AND e.stream > ? AND e.stream <= ? AND (e.sender LIKE ? OR EXISTS ("
    "SELECT 1 FROM passed_on p WHERE p.room_nid = e.room_nid AND p.event_nid = e.nid AND e.sender NOT LIKE ?))"
)


class Owed(NamedTuple):
    """An event that a server is to be told: `raw` is its PDU."""

    room_nid: int
    room_id: RoomID
    stream: int
    event_id: EventID
    at_ms: int
    raw: bytes


class Backlog(NamedTuple):
    """A page of what a server is owed, room by room; the next begins behind the room `after`, None: this was all."""

    owed: Sequence[Owed]
    after: int | None


class Span(NamedTuple):
    """For whom a backlog is read: `server` by `ours`, of the stream above `after` and up to `upto`."""

    server: ServerName
    ours: ServerName
    after: int
    upto: int


def set_joined(txn: Txn, server: ServerName, room_nid: int, stream: int) -> None:
    """Note that a server is in a room, at the latest from a stream position on."""
    txn.many(_PRESENT, [(server, room_nid, stream, None)])


def set_left(txn: Txn, server: ServerName, room_nid: int, stream: int, *, is_told: bool) -> None:
    """Note that a server is in a room no more; `is_told`: of that event it is told, even if it was only invited."""
    if is_told:
        txn.many(_PRESENT, [(server, room_nid, stream - 1, stream)])
    else:
        sql = "UPDATE room_servers SET left_at = ? WHERE server_name = ? AND room_nid = ? AND left_at IS NULL"
        txn.many(sql, [(stream, server, room_nid)])


def append_passed_on(txn: Txn, room_nid: int, event_nid: int) -> None:
    """Note that an event of another server is to be passed on."""
    txn.append(_PASSED_ON, (room_nid, event_nid))


def load_positions(txn: Txn) -> dict[ServerName, int]:
    """All servers to which anything may be owed, and up to which position they were told."""
    rows = txn.all(
        "SELECT s.server_name, COALESCE(t.position, 0) FROM (SELECT server_name FROM room_servers"
        " UNION SELECT server_name FROM waiting_edus) s LEFT JOIN told_servers t ON t.server_name = s.server_name"
    )
    return {ServerName(server): position for server, position in rows}


def set_positions(txn: Txn, positions: Mapping[ServerName, int]) -> None:
    """Note up to where servers were told, and forget the rooms that concern them no more."""
    txn.many(_POSITION, list(positions.items()))
    txn.many(
        "DELETE FROM room_servers WHERE server_name = ? AND left_at <= ?",
        list(positions.items()),
    )


def set_told(txn: Txn, server: ServerName, told: Mapping[int, int]) -> None:
    """Note up to where a server was told of rooms: stream positions by room."""
    txn.many(
        "UPDATE room_servers SET told = ? WHERE server_name = ? AND room_nid = ?",
        [(stream, server, room_nid) for room_nid, stream in told.items()],
    )


def load_backlog(txn: Txn, span: Span, after_room: int, most: int) -> Backlog:
    """A page of what a server is owed, in the order of each room's stream; at most so many events."""
    rooms = txn.all(
        "SELECT s.room_nid, rooms.room_id, s.told, s.left_at FROM room_servers s JOIN rooms ON rooms.nid = s.room_nid"
        " WHERE s.server_name = ? AND s.room_nid > ? ORDER BY s.room_nid LIMIT ?",
        (span.server, after_room, MOST_LOOKED_AT),
    )
    found: list[Owed] = []
    for room_nid, room_id, told, left_at in rooms:
        first, last = max(told, span.after), span.upto if left_at is None else min(left_at, span.upto)
        if first < last:
            rows = _load_owed(txn, span, (room_nid, first, last), most - len(found))
            found += [Owed(room_nid, room_id, *row) for row in rows]
        if len(found) == most:
            return Backlog(found, room_nid - 1)
    return Backlog(found, rooms[-1][0] if len(rooms) == MOST_LOOKED_AT else None)


def _load_owed(txn: Txn, span: Span, stretch: tuple[int, int, int], most: int) -> Sequence[Row]:
    """The first events of a stretch of a room's stream that a server is owed; of too many, the last."""
    owed = (*stretch, f"%:{span.ours}", f"%:{span.server}")
    rows = txn.all(f"{_EVENT} {_OWED} ORDER BY e.stream LIMIT ?", (*owed, most))
    if len(rows) < most or not _is_long(txn, owed):
        return rows
    latest = txn.all(f"{_EVENT} {_OWED} ORDER BY e.stream DESC LIMIT ?", (*owed, min(LATEST, most)))
    return latest[::-1]


def _is_long(txn: Txn, owed: Sequence[object]) -> bool:
    return txn.one(f"SELECT 1 {_OWED} ORDER BY e.stream LIMIT 1 OFFSET ?", (*owed, LONG_ABSENCE)) is not None


def load_servers_near(txn: Txn, user_id: str) -> list[ServerName]:
    """The other servers that are in a room with somebody."""
    rows = txn.all(
        "SELECT DISTINCT s.server_name FROM memberships m JOIN room_servers s ON s.room_nid = m.room_nid"
        " WHERE m.user_id = ? AND m.membership = 'join' AND s.left_at IS NULL ORDER BY s.server_name",
        (user_id,),
    )
    return [ServerName(server) for (server,) in rows]


def load_servers_encrypting(txn: Txn, user_id: str) -> list[ServerName]:
    """The other servers that are in a room with somebody which may be encrypted: those of cooperations never are."""
    rows = txn.all(
        "SELECT DISTINCT s.server_name FROM memberships m JOIN room_servers s ON s.room_nid = m.room_nid"
        " JOIN rooms r ON r.nid = m.room_nid"
        " WHERE m.user_id = ? AND m.membership = 'join' AND s.left_at IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM cooperation_rooms c WHERE c.room_id = r.room_id) ORDER BY s.server_name",
        (user_id,),
    )
    return [ServerName(server) for (server,) in rows]


def find_near(txn: Txn, servers: Iterable[ServerName]) -> set[ServerName]:
    """Those of some servers that are in a room with anybody here."""
    rows = txn.all_in(
        "SELECT DISTINCT server_name FROM room_servers WHERE server_name {in} AND left_at IS NULL", list(servers)
    )
    return {ServerName(server) for (server,) in rows}
