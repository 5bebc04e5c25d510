"""The table of servers that could not be reached when last tried, and what operators see of all others."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from federation.ids import RoomID, ServerName
from federation.transport.peers import Standing
from homeserver.storage.database import Database, Insert, Txn
from homeserver.storage.patterns import containing

_SET = Insert(
    "INSERT INTO destinations (server_name, failures, retry_ms) VALUES (?, ?, ?)"
    " ON CONFLICT (server_name) DO UPDATE SET failures = excluded.failures, retry_ms = excluded.retry_ms"
)
MOST_LOADED = 10_000
"""How many are remembered over a restart: those that were away for longest are tried again instead."""


class StoredDestinations:
    """Keeps the standing of destinations over a restart."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Mapping[ServerName, Standing]:
        """All that are not well."""
        return await self._database.read(load_destinations)

    async def set(self, server: ServerName, standing: Standing | None) -> None:
        """Keep it, or (None) that it is well."""
        await self._database.write(set_destination, server, standing)


def load_destinations(txn: Txn) -> dict[ServerName, Standing]:
    """Load the standing of all servers that could not be reached."""
    rows = txn.all(
        "SELECT server_name, failures, retry_ms FROM destinations ORDER BY failures, server_name LIMIT ?",
        (MOST_LOADED,),
    )
    return {ServerName(server): Standing(failures, retry_ms) for server, failures, retry_ms in rows}


def set_destination(txn: Txn, server: ServerName, standing: Standing | None) -> None:
    """Keep a server's standing, or (None) that it is well."""
    if standing is None:
        txn.run("DELETE FROM destinations WHERE server_name = ?", (server,))
    else:
        txn.append(_SET, (server, *standing))


# for operators


class DestinationRow(NamedTuple):
    """How a server does: how often in a row it could not be reached, until when it is left alone, and up to which
    stream position it was told (None: nothing yet).
    """

    server: ServerName
    failures: int
    retry_ms: int
    position: int | None


class Listed(NamedTuple):
    """Which page of destinations is meant: those with `part` in their name, in the order of a column."""

    part: str
    order: str
    backwards: bool
    start: int
    limit: int


ORDERS: Final = {
    "destination": "n.server_name",
    "retry_last_ts": "COALESCE(d.retry_ms, 0)",
    "retry_interval": "COALESCE(d.failures, 0)",
    "failure_ts": "COALESCE(d.failures, 0)",
    "last_successful_stream_ordering": "COALESCE(t.position, 0)",
}
"""By what a list of destinations may be ordered."""

_DESTINATIONS: Final = (
    "FROM (SELECT server_name FROM room_servers UNION SELECT server_name FROM told_servers"
    " UNION SELECT server_name FROM destinations) n LEFT JOIN destinations d ON d.server_name = n.server_name"
    " LEFT JOIN told_servers t ON t.server_name = n.server_name"
)
_DESTINATION: Final = (
    f"SELECT n.server_name, COALESCE(d.failures, 0), COALESCE(d.retry_ms, 0), t.position {_DESTINATIONS}"
)

_TOLD_ROOMS: Final = (
    "SELECT rooms.room_id, COALESCE((SELECT MAX(e.stream) FROM events e WHERE e.room_nid = rooms.nid"
    " AND e.stream IS NOT NULL), 0) FROM room_servers s JOIN rooms ON rooms.nid = s.room_nid"
    " WHERE s.server_name = ? AND s.left_at IS NULL"
)


def load_destination_rows(txn: Txn, wanted: Listed) -> list[DestinationRow]:
    """A page of the servers that this one has to do with."""
    by, way = ORDERS[wanted.order], "DESC" if wanted.backwards else "ASC"
    rows = txn.all(
        f"{_DESTINATION} WHERE n.server_name LIKE ? ESCAPE '\\' ORDER BY {by} {way}, n.server_name {way}"
        " LIMIT ? OFFSET ?",
        (containing(wanted.part), wanted.limit, wanted.start),
    )
    return [DestinationRow(*row) for row in rows]


def count_destinations(txn: Txn, part: str) -> int:
    """How many servers there are with that in their name."""
    row = txn.one(f"SELECT COUNT(*) {_DESTINATIONS} WHERE n.server_name LIKE ? ESCAPE '\\'", (containing(part),))
    return 0 if row is None else int(row[0])


def find_destination(txn: Txn, server: str) -> DestinationRow | None:
    """A server that this one has to do with; anything may be asked."""
    row = txn.one(f"{_DESTINATION} WHERE n.server_name = ?", (server,))
    return None if row is None else DestinationRow(*row)


def load_told_rooms(txn: Txn, server: str, start: int, limit: int, backwards: bool) -> list[tuple[RoomID, int]]:
    """A page of the rooms that a server is in, with the stream position of the last event of each."""
    way = "DESC" if backwards else "ASC"
    rows = txn.all(f"{_TOLD_ROOMS} ORDER BY rooms.room_id {way} LIMIT ? OFFSET ?", (server, limit, start))
    return [(RoomID(room_id), stream) for room_id, stream in rows]


def count_told_rooms(txn: Txn, server: str) -> int:
    """In how many rooms a server is."""
    row = txn.one("SELECT COUNT(*) FROM room_servers WHERE server_name = ? AND left_at IS NULL", (server,))
    return 0 if row is None else int(row[0])
