"""SQLite: the embedded database, one file with a write-ahead log."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from homeserver.storage.database.statements import Insert, Row, split_at_list
from homeserver.storage.database.txn import Cursor, Dialect
from homeserver.storage.faults import CannotOpen, Fault

BUSY_SECONDS = 5.0
LONGEST_LIST = 512
_STORAGE_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}


class SQLiteLink:
    """A connection to the file at `path`; a reader's cannot write, a writer's is durable with each commit."""

    dialect: Dialect = "sqlite"
    errors: tuple[type[Exception], ...] = (sqlite3.Error, CannotOpen)

    def __init__(self, path: Path, *, writes: bool) -> None:
        mode = "rwc" if writes else "ro"
        self.connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        self._cursor = self.connection.cursor()
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        if writes:
            self._cursor.execute("PRAGMA journal_mode = WAL").fetchall()
            self._cursor.execute("PRAGMA synchronous = FULL")
        self._cursor.execute("PRAGMA foreign_keys = ON")
        self._cursor.execute("PRAGMA temp_store = MEMORY")
        self._cursor.execute("PRAGMA cache_size = -32768")

    def begin(self) -> None:
        """Begin: a writer takes the write lock at once, a reader its snapshot with the first query."""
        self._cursor.execute(self._begin)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Cursor:
        """Run a statement."""
        return self._cursor.execute(sql, params)

    def execute_list(self, sql: str, values: Sequence[Any], params: Sequence[Any]) -> list[Row]:
        """Run a query with `IN (?, ...)`, in pieces; few lengths of list, so that statements stay prepared."""
        before, after, at = split_at_list(sql)
        rows: list[Row] = []
        for start in range(0, len(values), LONGEST_LIST):
            piece = tuple(values[start : start + LONGEST_LIST])
            length = 1 << (len(piece) - 1).bit_length()
            text = f"{before}IN (?{', ?' * (length - 1)}){after}"
            piece += piece[-1:] * (length - len(piece))
            rows += self._cursor.execute(text, (*params[:at], *piece, *params[at:])).fetchall()
        return rows

    def defer(self, sql: str, rows: Iterable[Sequence[Any]] = ((),)) -> None:
        """Run a statement for each row."""
        self._cursor.executemany(sql, rows)

    def insert(self, statement: Insert, rows: Sequence[Row]) -> None:
        """Insert rows."""
        self._cursor.executemany(statement.text, rows)

    def commit(self) -> None:
        """Commit: on the disk when this returns."""
        self._cursor.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if there is one; after some faults SQLite has done so by itself."""
        if self.connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def rollback_unit(self) -> None:
        """Undo what was done since SAVEPOINT unit, and forget that."""
        self._cursor.execute("ROLLBACK TO unit")
        self._cursor.execute("RELEASE unit")

    def apply(self, script: str, sql: str, params: Sequence[Any]) -> None:
        """Run the statements of a script, then one with parameters, all in one transaction.

        References between tables are looked at once, at the end, so that a script may make a table anew.
        Raises: CannotOpen.
        """
        self._cursor.execute("PRAGMA foreign_keys = OFF")
        try:
            self._cursor.executescript(f"BEGIN IMMEDIATE;\n{script}")
            if not self.connection.in_transaction:
                raise CannotOpen("it ended its transaction by itself")
            self._cursor.execute(sql, params)
            broken = self._cursor.execute("PRAGMA foreign_key_check").fetchone()
            if broken is not None:
                raise CannotOpen(f"it leaves table {broken[0]} with references to nothing")
            self._cursor.execute("COMMIT")
        finally:
            self.rollback()
            self._cursor.execute("PRAGMA foreign_keys = ON")

    def fault(self, error: BaseException) -> Fault:
        """Say whose fault an error is, by its primary result code."""
        code: int = getattr(error, "sqlite_errorcode", 0) or 0
        return Fault.STORAGE if isinstance(error, sqlite3.Error) and code & 0xFF in _STORAGE_CODES else Fault.UNIT

    def close(self) -> None:
        """Close the connection; the last one that goes leaves no write-ahead log behind."""
        self.connection.close()
