"""The database behind one door: SQLite or PostgreSQL, many readers, one writer with group commit.

`engine` is what the server holds, `txn` what functions of storage get. Below them: `writer` and `batch` (group commit),
`readers`, the dialects `sqlite` and `postgresql`, `statements` (SQL as text) and `units` (work on its way). No table is
known here but the engine's own `stream_position`.

To add a dialect, write a `Link` and name it in `engine.build_connect`.
"""

from homeserver.storage.database.engine import SCHEMA, Database, Schema, migrate_database, open_database
from homeserver.storage.database.statements import Insert, Row
from homeserver.storage.database.txn import Change, Dialect, Txn
from homeserver.storage.faults import CannotOpen, StorageUnavailable

__all__ = [
    "SCHEMA",
    "CannotOpen",
    "Change",
    "Database",
    "Dialect",
    "Insert",
    "Row",
    "Schema",
    "StorageUnavailable",
    "Txn",
    "migrate_database",
    "open_database",
]
