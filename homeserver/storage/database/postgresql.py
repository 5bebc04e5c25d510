"""PostgreSQL: the database of production. A statement whose result nobody awaits travels with the next that has one."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INTRANS, new_type

from homeserver.storage.database.statements import Insert, Row, flatten, percent_form, split_at_list, with_array
from homeserver.storage.database.txn import Cursor, Dialect
from homeserver.storage.faults import CannotOpen, Fault

MOST_ROWS = 1000
MOST_BYTES = 1 << 20
WRITER_LOCK = 0x70617274
"""The advisory lock that the one writing process of a database holds."""
_STORAGE_CLASSES = {"08", "40", "53", "55", "57", "58"}
"""Connection, rollback, resources, object state, operator, system (PostgreSQL, appendix A)."""
_OF_THE_LINE = {psycopg2.DatabaseError, psycopg2.OperationalError, psycopg2.InterfaceError}
"""What psycopg2 raises, without a code, when it was the connection and not the server that failed."""
_STANDBY = "25006"
_READ_ONLY = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_DEFAULTS = {
    "application_name": "parta",
    "connect_timeout": "5",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "tcp_user_timeout": "20000",
}


def _as_bytes(value: Any, cursor: Any) -> bytes | None:
    return None if value is None else bytes(psycopg2.BINARY(value, cursor))


def _as_number(value: Any, cursor: Any) -> int | float | None:
    if value is None:
        return None
    return float(value) if "." in value or "N" in value else int(value)


_BYTES = new_type((17,), "BYTES", _as_bytes)
_NUMBER = new_type((1700,), "NUMBER", _as_number)


class PostgreSQLLink:
    """A connection to `dsn`; a reader's sees one snapshot per transaction and cannot write, a writer's holds the lock.

    Raises: CannotOpen when another process writes to this database.
    """

    dialect: Dialect = "postgresql"
    errors: tuple[type[Exception], ...] = (psycopg2.Error, CannotOpen)

    def __init__(self, dsn: str, *, writes: bool) -> None:
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._standby = _STANDBY if writes else None
        with ExitStack() as opened:
            given = psycopg2.extensions.parse_dsn(dsn)
            self.connection = opened.enter_context(closing(psycopg2.connect(**{**_DEFAULTS, **given})))
            self.connection.autocommit = True
            self.connection.set_client_encoding("UTF8")
            for caster in (_BYTES, _NUMBER):
                psycopg2.extensions.register_type(caster, self.connection)
            self._cursor: psycopg2.extensions.cursor = self.connection.cursor()
            if writes:
                self._take_lock()
            else:
                self._cursor.execute(_READ_ONLY)
            self._opened = opened.pop_all()

    def _take_lock(self) -> None:
        try:
            self._cursor.execute(f"SET lock_timeout = 2000; SELECT pg_advisory_lock({WRITER_LOCK})")
        except psycopg2.errors.LockNotAvailable:
            raise CannotOpen("another process writes to this database") from None

    def begin(self) -> None:
        """Begin, with the first statement."""
        self._hold(b"BEGIN")

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Cursor:
        """Run a statement in one round trip with those held back."""
        if self._held:
            self._hold(self._cursor.mogrify(percent_form(sql), params))
            self._send()
        else:
            self._cursor.execute(percent_form(sql), params)
        return self._cursor

    def execute_list(self, sql: str, values: Sequence[Any], params: Sequence[Any]) -> list[Row]:
        """Run a query with `= ANY (?)`."""
        _, _, at = split_at_list(sql)
        return self.execute(with_array(sql), (*params[:at], list(values), *params[at:])).fetchall()

    def defer(self, sql: str, rows: Iterable[Sequence[Any]] = ((),)) -> None:
        """Hold a statement back, once for each row."""
        for row in rows:
            self._defer(percent_form(sql), row)

    def insert(self, statement: Insert, rows: Sequence[Row]) -> None:
        """Hold back an INSERT of many rows."""
        for run in statement.runs(rows, MOST_ROWS):
            self._defer(statement.percent_of_rows(len(run)), flatten(run))

    def commit(self) -> None:
        """Commit: on the server's disk when this returns.

        The server answers a COMMIT after a failed statement as if all were well, but undoes everything. The writer is
        safe from that: it always sends a statement along, and that fails then.
        """
        self._hold(b"COMMIT")
        self._send()

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        self._held.clear()
        self._held_bytes = 0
        if self.connection.info.transaction_status != TRANSACTION_STATUS_IDLE:
            self._cursor.execute("ROLLBACK")

    def rollback_unit(self) -> None:
        """Undo what was done since SAVEPOINT unit, and forget that."""
        self._held.clear()
        self._held_bytes = 0
        self._cursor.execute("ROLLBACK TO unit; RELEASE unit")

    def apply(self, script: str, sql: str, params: Sequence[Any]) -> None:
        """Run the statements of a script, then one with parameters, all in one transaction.

        Raises: CannotOpen.
        """
        try:
            self._cursor.execute(f"BEGIN;\n{script}")
            if self.connection.info.transaction_status != TRANSACTION_STATUS_INTRANS:
                raise CannotOpen("it ended its transaction by itself")
            self._cursor.execute(percent_form(sql), params)
            self._cursor.execute("COMMIT")
        finally:
            self.rollback()

    def fault(self, error: BaseException) -> Fault:
        """Say whose fault an error is, by the connection's health and the error's class.

        That a reader may not write is no news, but a writer finds itself on a standby by it.
        """
        if self.connection.closed or (type(error) in _OF_THE_LINE and getattr(error, "pgcode", None) is None):
            return Fault.LOST
        code = getattr(error, "pgcode", None) or ""
        return Fault.STORAGE if code[:2] in _STORAGE_CLASSES or code == self._standby else Fault.UNIT

    def close(self) -> None:
        """Close the connection; the server undoes what was not committed."""
        self._opened.close()

    def _defer(self, text: str, params: Sequence[Any]) -> None:
        self._hold(self._cursor.mogrify(text, params))
        if self._held_bytes > MOST_BYTES:
            self._send()

    def _hold(self, statement: bytes) -> None:
        self._held.append(statement)
        self._held_bytes += len(statement)

    def _send(self) -> None:
        script = b"\n;".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        self._cursor.execute(script)
