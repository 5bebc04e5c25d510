"""The table of servers that could not be reached when last tried."""

from collections.abc import Mapping

from federation.ids import ServerName
from federation.transport.peers import Standing
from homeserver.storage.database import Database, Insert, Txn

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
