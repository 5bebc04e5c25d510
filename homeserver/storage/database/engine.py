"""The database as the rest of the server knows it: reads, units of work, ids from memory, and what a commit tells."""

import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar, TypeVarTuple

import psycopg2
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from config.settings import PostgreSQL, SQLite
from homeserver.storage.database.postgresql import PostgreSQLLink
from homeserver.storage.database.readers import Readers
from homeserver.storage.database.sqlite import SQLiteLink
from homeserver.storage.database.txn import Change, Link, Txn
from homeserver.storage.database.units import Settled, Unit
from homeserver.storage.database.writer import Writer
from homeserver.storage.faults import CannotOpen, Outcome, StorageUnavailable
from homeserver.storage.migrations import MIGRATIONS, load_migrations, migrate
from homeserver.storage.sequences import SEQUENCES

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_log = Logger()

NUMBER_OF_READERS = 4
SWITCH_SECONDS = 0.0001
"""How long the reactor's thread may keep the interpreter while the database's threads want it. With Python's own 5 ms a
busy reactor, which lets go and takes it back more often than that, starves them: commits of seconds were measured."""
Connect = Callable[[bool], Link]


class Reactor(Protocol):
    """What the database needs of the reactor."""

    def callFromThread(self, f: Callable[..., Any], *args: object) -> None:  # noqa: N802 - Twisted's name
        """Call `f` on the reactor's thread."""

    def seconds(self) -> float:
        """Read the reactor's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Which tables a database has: the folder of migrations, and the sequences of ids given from memory."""

    migrations: Path = MIGRATIONS
    sequences: Mapping[str, tuple[str, str]] = field(default_factory=lambda: SEQUENCES)


SCHEMA = Schema()


class Database:
    """The database, open. Everything is called, and every Deferred fires, on the reactor's thread.

    `position`: the last committed stream position. `on_commit(position, changes)`: called after each commit, once all
    its units are answered. `on_batch(units, commit_seconds)`: called after that, for the metrics.
    """

    on_commit: Callable[[int, Sequence[Change]], None]
    on_batch: Callable[[int, float], None]

    def __init__(self, link: Link, connect: Connect, reactor: Reactor, next_ids: Mapping[str, int]) -> None:
        self._reactor = reactor
        self._sequences = {name: count(first) for name, first in next_ids.items()}
        self._writer = Writer(link, lambda: connect(True), self._settle_batch, reactor.seconds)
        self._readers = Readers(NUMBER_OF_READERS, lambda: connect(False), self._settle_read)
        self._open = True
        self._ended = False
        self._closing: list[Deferred[None]] = []
        self._failing = False
        self.on_commit = lambda position, changes: None
        self.on_batch = lambda units, commit_seconds: None
        self.position = self._writer.start()
        self._readers.start()

    def read(self, work: Callable[[Txn, *Ts], T], *args: *Ts) -> Deferred[T]:
        """Run `work(txn, *args)` in a reading thread, on one consistent snapshot.

        Fails with what `work` raises, or StorageUnavailable.
        """
        return self._put(self._readers, work, args)

    def write(self, work: Callable[[Txn, *Ts], T], *args: *Ts) -> Deferred[T]:
        """Run the unit of work `work(txn, *args)` in the next group commit; it fires when that is on the disk.

        The unit may run twice, so it depends on `txn` and `args` only and changes nothing but the database. Fails with
        what `work` raises, or StorageUnavailable: then nothing of the unit was kept (or, if the connection was lost in
        mid-commit, nobody knows).
        """
        return self._put(self._writer, work, args)

    def next_id(self, sequence: str) -> int:
        """Take an id from memory; gaps are harmless."""
        return next(self._sequences[sequence])

    def close(self) -> Deferred[None]:
        """Finish what was handed in, then let go of the database; later reads and writes fail."""
        if self._ended:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closing.append(closed)
        if self._open:
            self._open = False
            threading.Thread(target=self._end, name="storage-end", daemon=True).start()
        return closed

    def _put(self, to: Writer | Readers, work: Callable[..., T], args: tuple[Any, ...]) -> Deferred[T]:
        if not self._open:
            return fail(StorageUnavailable("the database is closed"))
        answer: Deferred[T] = Deferred()
        to.put(Unit(work, args, copy_context(), answer))
        return answer

    def _settle_read(self, unit: Unit, outcome: Outcome[Any]) -> None:
        self._reactor.callFromThread(unit.settle, outcome)

    def _settle_batch(self, settled: Settled) -> None:
        self._reactor.callFromThread(self._tell_batch, settled)

    def _tell_batch(self, settled: Settled) -> None:
        self.position = settled.mark.position
        self._tell_health(settled)
        for unit, outcome in zip(settled.units, settled.outcomes, strict=True):
            unit.settle(outcome)
        if settled.committed:
            self.on_commit(self.position, settled.changes)
            self.on_batch(len(settled.units), settled.commit_seconds)

    def _tell_health(self, settled: Settled) -> None:
        """Log the first batch that fails, and the first that is committed after it."""
        if settled.fault is not None and not self._failing:
            self._failing = True
            _log.error("the database takes no writes: {fault}", fault=str(settled.fault).strip())
        elif settled.committed and self._failing:
            self._failing = False
            _log.info("the database takes writes again")

    def _end(self) -> None:
        """Let the readers go first: the connection that goes last tidies up."""
        for threads in (self._readers, self._writer):
            threads.stop()
            threads.join()
        self._reactor.callFromThread(self._tell_end)

    def _tell_end(self) -> None:
        self._ended = True
        for closed in self._closing:
            closed.callback(None)


def open_database(
    settings: SQLite | PostgreSQL,
    data_dir: Path,
    reactor: Reactor,
    now_ms: Callable[[], int],
    *,
    schema: Schema = SCHEMA,
) -> Database:
    """Open the database, bring it up to the schema, and start its threads.

    Raises: CannotOpen.
    """
    sys.setswitchinterval(min(SWITCH_SECONDS, sys.getswitchinterval()))
    connect = build_connect(settings, data_dir)
    link, _ = _open_link(settings, connect, schema, now_ms)
    return Database(link, connect, reactor, _read_next_ids(link, schema.sequences))


def migrate_database(
    settings: SQLite | PostgreSQL, data_dir: Path, now_ms: Callable[[], int], *, schema: Schema = SCHEMA
) -> list[str]:
    """Bring the database up to the schema and let go of it; the labels of the migrations that it lacked.

    Raises: CannotOpen.
    """
    link, labels = _open_link(settings, build_connect(settings, data_dir), schema, now_ms)
    link.close()
    return labels


def build_connect(settings: SQLite | PostgreSQL, data_dir: Path) -> Connect:
    """Build the function that makes a connection: of the writer when true, of a reader when false."""
    if isinstance(settings, PostgreSQL):
        dsn = settings.dsn
        return lambda writes: PostgreSQLLink(dsn, writes=writes)
    path = data_dir / settings.path
    return lambda writes: SQLiteLink(path, writes=writes)


def _open_link(
    settings: SQLite | PostgreSQL, connect: Connect, schema: Schema, now_ms: Callable[[], int]
) -> tuple[Link, list[str]]:
    """Make the writer's connection and bring the database up to the schema; also the labels of what it lacked."""
    name = f" {settings.path}" if isinstance(settings, SQLite) else ""
    try:
        with ExitStack() as opened:
            link = connect(True)
            opened.callback(link.close)
            labels = migrate(link, load_migrations(schema.migrations, link.dialect), now_ms)
            opened.pop_all()
        return link, labels
    except (sqlite3.Error, psycopg2.Error, OSError) as error:
        raise CannotOpen(f"cannot open the database{name}: {' '.join(str(error).split())}") from error


def _read_next_ids(link: Link, sequences: Mapping[str, tuple[str, str]]) -> dict[str, int]:
    """Read where each sequence goes on."""
    return {name: _read_next_id(link, table, column) for name, (table, column) in sequences.items()}


def _read_next_id(link: Link, table: str, column: str) -> int:
    (last,) = link.execute(f"SELECT COALESCE(MAX({column}), 0) FROM {table}").fetchone()  # noqa: S608 - our own names
    return int(last) + 1
