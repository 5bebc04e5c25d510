"""SQLite: the embedded database, one file with a write-ahead log."""

import fcntl
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from homeserver.storage.database.statements import Insert, Row, flatten, split_at_list, with_list
from homeserver.storage.database.txn import Cursor, Dialect
from homeserver.storage.faults import CannotOpen, Fault

BUSY_SECONDS = 5.0
LONGEST_LIST = 512
MOST_ROWS = 64
_READER_PRAGMAS = ("cache_size = -8192", "temp_store = MEMORY")
_WRITER_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",  # what is deleted is overwritten: erased people stay in no free page
    *_READER_PRAGMAS,
)
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
}


class SQLiteLink:
    """A connection to the file at `path`; a reader's cannot write, a writer's is durable with each commit.

    Raises: CannotOpen when another process writes to it; OSError when the file cannot be made.
    """

    dialect: Dialect = "sqlite"
    errors: tuple[type[Exception], ...] = (sqlite3.Error, CannotOpen)

    def __init__(self, path: Path, *, writes: bool) -> None:
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        self._faults = _STORAGE_CODES | {sqlite3.SQLITE_READONLY} if writes else _STORAGE_CODES
        with ExitStack() as opened:
            if writes:
                opened.enter_context(_sole_writer(path))
                path.touch(mode=0o600)
            self.connection = opened.enter_context(closing(_connect(path, "rw" if writes else "ro")))
            self._cursor = opened.enter_context(closing(self.connection.cursor()))
            opened.callback(self.rollback)  # or else a statement that lives on would keep the transaction and its lock
            for pragma in _WRITER_PRAGMAS if writes else _READER_PRAGMAS:
                self._cursor.execute(f"PRAGMA {pragma}").fetchall()
            self._opened = opened.pop_all()

    def begin(self) -> None:
        """Begin: a writer takes the write lock at once, a reader its snapshot with the first query."""
        self._cursor.execute(self._begin)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Cursor:
        """Run a statement."""
        return self._cursor.execute(sql, params)

    def execute_list(self, sql: str, values: Sequence[Any], params: Sequence[Any]) -> list[Row]:
        """Run a query with `IN (?, ...)`, in pieces; few lengths of list, so that statements stay prepared."""
        _, _, at = split_at_list(sql)
        rows: list[Row] = []
        for start in range(0, len(values), LONGEST_LIST):
            piece = tuple(values[start : start + LONGEST_LIST])
            length = 1 << (len(piece) - 1).bit_length()
            piece += piece[-1:] * (length - len(piece))
            rows += self._cursor.execute(with_list(sql, length), (*params[:at], *piece, *params[at:])).fetchall()
        return rows

    def defer(self, sql: str, rows: Iterable[Sequence[Any]] = ((),)) -> None:
        """Run a statement for each row."""
        self._cursor.executemany(sql, rows)

    def insert(self, statement: Insert, rows: Sequence[Row]) -> None:
        """Insert rows, many with one statement; few sizes of statement, so that they stay prepared.

        With each statement that runs this thread has to win the interpreter back from the reactor's, so while the
        server is busy one statement of many rows takes a tenth of the time of one for each row.
        """
        start, size = 0, MOST_ROWS
        while start < len(rows):
            while size > len(rows) - start:
                size //= 2
            self._cursor.execute(statement.of_rows(size), flatten(rows[start : start + size]))
            start += size

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
        """Say whose fault an error is, by its primary result code; that a reader may not write is no news."""
        code: int = getattr(error, "sqlite_errorcode", 0) or 0
        return Fault.STORAGE if isinstance(error, sqlite3.Error) and code & 0xFF in self._faults else Fault.UNIT

    def close(self) -> None:
        """Close the connection; the last one that goes leaves no write-ahead log behind."""
        self._opened.close()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=1024,
    )


def empty_write_ahead_log(path: Path) -> bool:
    """Bring what is in the write-ahead log into the database file and leave the log empty; False while somebody reads
    from it.
    """
    with closing(_connect(path, "rw")) as connection:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


@contextmanager
def _sole_writer(path: Path) -> Iterator[None]:
    """Hold the lock that the one writing process of a database holds, on a file beside it.

    Not on the file itself: letting go of any handle to that would drop SQLite's own locks.
    """
    with Path(f"{path}-lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotOpen("another process writes to this database") from None
        yield
