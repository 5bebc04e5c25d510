"""A transaction as units of work see it."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

from homeserver.storage.database.statements import Insert, Row, without_nul
from homeserver.storage.faults import Fault

Dialect = Literal["sqlite", "postgresql"]


class Change(Protocol):
    """Something that a commit tells; see `homeserver.storage.changes`."""

    @property
    def position(self) -> int:
        """The stream position at which it became visible."""


class Cursor(Protocol):
    """What a statement gave, in either driver."""

    @property
    def rowcount(self) -> int:
        """The rows that the statement touched."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Row]:
        """The rows that are left."""


class Link(Protocol):
    """A connection in one of the dialects, which may hold back statements until somebody asks for a result."""

    dialect: Dialect
    errors: tuple[type[Exception], ...]

    def begin(self) -> None:
        """Begin a transaction."""

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Cursor:
        """Run a statement now, and those held back before it."""

    def execute_list(self, sql: str, values: Sequence[Any], params: Sequence[Any]) -> list[Row]:
        """Run a query whose `{in}` stands for a test against `values`."""

    def defer(self, sql: str, rows: Iterable[Sequence[Any]] = ((),)) -> None:
        """Run a statement for each row, at the latest with the next `execute`."""

    def insert(self, statement: Insert, rows: Sequence[Row]) -> None:
        """Insert rows, at the latest with the next `execute`."""

    def commit(self) -> None:
        """Make the transaction last."""

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""

    def rollback_unit(self) -> None:
        """Undo what was done since SAVEPOINT unit, and forget that."""

    def apply(self, script: str, sql: str, params: Sequence[Any]) -> None:
        """Run the statements of a script, then one with parameters, all in one transaction."""

    def fault(self, error: BaseException) -> Fault:
        """Say whose fault an error is."""

    def close(self) -> None:
        """Let go of the connection, whatever state it is in."""


class Txn:
    """A transaction: one consistent snapshot for a reader, the whole group commit for a unit of work.

    SQL is written once, with `?` for parameters. A unit may run twice: it is a function of the transaction and its
    arguments and of nothing else. `commit` is the number that the commit will have if it succeeds.
    """

    __slots__ = ("_link", "_position", "_rows", "changes", "commit", "dialect")

    def __init__(self, link: Link, position: int = -1, commit: int = 0) -> None:
        self._link = link
        self._position = position
        self.commit = commit
        self._rows: dict[Insert, list[Row]] = {}
        self.dialect = link.dialect
        self.changes: list[Change] = []

    def all(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Read every row."""
        if self._rows:
            self.flush()
        return self._link.execute(sql, without_nul(params)).fetchall()

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        """Read the first row, or None."""
        if self._rows:
            self.flush()
        row: Row | None = self._link.execute(sql, without_nul(params)).fetchone()
        return row

    def all_in(self, sql: str, values: Iterable[Any], params: Sequence[Any] = ()) -> list[Row]:
        """Read every row for a list of values of any length: `... WHERE user_id {in} AND room_nid = ?`.

        `{in}` stands for the operator and its list, once; `params` are those of the `?`. A long list is asked in
        pieces, so ORDER BY, LIMIT and aggregates hold within a piece only. A value given twice may give its rows twice.
        """
        listed = without_nul(tuple(values))
        if not listed:
            return []
        if self._rows:
            self.flush()
        return self._link.execute_list(sql, listed, without_nul(params))

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Write, and tell how many rows were touched."""
        if self._rows:
            self.flush()
        return self._link.execute(sql, without_nul(params)).rowcount

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Write the same statement for every row, in order."""
        if self._rows:
            self.flush()
        self._link.defer(sql, [without_nul(row) for row in rows])

    def append(self, table: Insert, row: Row) -> None:
        """Insert a row, together with those that other units of the same commit insert there.

        Statements go out in the order of their first row, and before anything is read or run. Units only.
        """
        rows = self._rows.get(table)
        if rows is None:
            self._rows[table] = [row]
        else:
            rows.append(row)

    def position(self) -> int:
        """Take the next stream position: in the order of commits, without gaps. Units only."""
        if self._position < 0:
            raise TypeError("a read takes no stream position")
        self._position += 1
        return self._position

    def tell(self, change: Change) -> None:
        """Tell `change` to those who listen once it is committed, in the order of telling. Units only."""
        self.changes.append(change)

    def flush(self) -> None:
        """Send out the rows that were appended so far."""
        rows, self._rows = self._rows, {}
        for statement, values in rows.items():
            self._link.insert(statement, [tuple(without_nul(row)) for row in values])

    @property
    def last_position(self) -> int:
        """The stream position taken last."""
        return self._position

    @property
    def wrote(self) -> bool:
        """Whether rows wait or changes were told."""
        return bool(self._rows or self.changes)

    def rewind(self, position: int, told: int) -> None:
        """Forget what was taken, told and appended since."""
        self._position = position
        del self.changes[told:]
        self._rows.clear()
