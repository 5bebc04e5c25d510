"""The table of other servers' keys, as they published them.

Spec: server-server-api#retrieving-server-keys
"""

from typing import Final

from federation.ids import ServerName
from federation.keys import ServerKeys
from homeserver.storage.database import Database, Insert, Txn

_SET = Insert(
    "INSERT INTO server_keys (server_name, received_ms, valid_until_ms, raw) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (server_name) DO UPDATE SET"
    " received_ms = excluded.received_ms, valid_until_ms = excluded.valid_until_ms, raw = excluded.raw"
)


MOST_KEPT: Final = 50_000
"""Of how many servers the keys are kept over a start."""


class StoredKeys:
    """Keeps the newest keys of each server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, server: ServerName) -> tuple[bytes, int] | None:
        """A server's answer and when it was received; None if it is not known."""
        return await self._database.read(find_server_keys, server)

    async def set(self, keys: ServerKeys, received_ms: int) -> None:
        """Keep a server's newest answer."""
        await self._database.write(set_server_keys, keys, received_ms)

    async def tidy(self) -> None:
        """Forget the oldest, should there be very many."""
        await self._database.write(remove_oldest_keys, MOST_KEPT)


def remove_oldest_keys(txn: Txn, most: int) -> int:
    """Keep the keys of so many servers, those that were received last; how many were removed."""
    row = txn.one("SELECT received_ms FROM server_keys ORDER BY received_ms DESC LIMIT 1 OFFSET ?", (most,))
    return 0 if row is None else txn.run("DELETE FROM server_keys WHERE received_ms <= ?", row)


def find_server_keys(txn: Txn, server: ServerName) -> tuple[bytes, int] | None:
    """A server's answer and when it was received."""
    row = txn.one("SELECT raw, received_ms FROM server_keys WHERE server_name = ?", (server,))
    return None if row is None else (row[0], row[1])


def set_server_keys(txn: Txn, keys: ServerKeys, received_ms: int) -> None:
    """Keep a server's newest answer; what it said before is forgotten."""
    txn.append(_SET, (keys.server_name, received_ms, keys.valid_until_ms, keys.raw))
