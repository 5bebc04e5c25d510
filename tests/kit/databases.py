"""Databases for tests: each test gets a fresh one, on SQLite and on a PostgreSQL server of the test session's own.

    @on_both_databases
    class Notes(TestCase):
        db: Database

        async def test_a_note_is_kept(self) -> None:
            await self.db.write(append_note, ...)

The class is run twice, as `Notes` on SQLite and as `NotesOnPostgreSQL`; `self.db` is open before its `setUp`.
The server is started when first needed, once per process (so once per pytest worker), and ends with the process.
"""

import atexit
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import TestCase

from config.settings import PostgreSQL, SQLite
from homeserver.storage.database import SCHEMA, Database, Dialect, Schema, migrate_database, open_database

START_MS = 1_700_000_000_000
"""What the clock shows that databases for tests are opened with."""
_MEMORY = Path("/dev/shm")  # commits there cost no disk
_ROOMY = 1 << 30
_PR_SET_PDEATHSIG = 1
_READY = b"ready to accept connections"
_libc = ctypes.CDLL(None)
_numbers = count(1)

Case = TypeVar("Case", bound=TestCase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a fresh database is; `remove` it when it is closed."""

    settings: SQLite | PostgreSQL
    data_dir: Path
    remove: Callable[[], None]

    def open(self, *, schema: Schema = SCHEMA) -> Database:
        """Open it on the real reactor."""
        return open_database(self.settings, self.data_dir, reactor_in_use(), lambda: START_MS, schema=schema)


class Cluster:
    """A PostgreSQL server in a temporary folder, reached by a socket there. `durable`: with fsync, as outside tests."""

    def __init__(self, *, durable: bool = False) -> None:
        self._bin = find_postgresql()
        self._options = [] if durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        self._user = "postgres" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="parta-pg-"))
        self._files = self.folder / "files"
        if self._user:
            shutil.chown(self.folder, self._user)
        atexit.register(self.remove)
        self._initialise()
        self.start()

    def dsn(self, name: str = "postgres") -> str:
        """The connection string of one of its databases."""
        return f"host={self.folder} user=postgres dbname={name}"

    def run(self, sql: str) -> None:
        """Run a statement as the server's operator."""
        connection = psycopg2.connect(self.dsn())
        connection.autocommit = True
        connection.cursor().execute(sql)
        connection.close()

    def start(self) -> None:
        """Start the server and wait until it answers. It ends with this process, however that ends."""
        options = ["listen_addresses=", "max_connections=100", "shared_buffers=32MB", "max_wal_size=256MB"]
        settings = [part for option in options for part in ("-c", option)]
        self._process = subprocess.Popen(
            [str(self._bin / "postgres"), "-D", str(self._files), "-k", str(self.folder), *settings, *self._options],
            cwd=self.folder,
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=_die_with_parent,
        )
        log = self._process.stderr
        assert log is not None
        said = []
        for line in log:
            said.append(line.decode())
            if _READY in line:
                threading.Thread(target=log.read, daemon=True).start()
                return
        raise AssertionError(f"PostgreSQL does not start:\n{''.join(said)}")

    def kill(self) -> None:
        """End the server at once, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """End the server and remove what it kept."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _initialise(self) -> None:
        program = [str(self._bin / "initdb"), "-D", str(self._files), "--username=postgres", "--auth=trust"]
        subprocess.run(
            [*program, "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"],
            cwd=self.folder,
            user=self._user,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def find_postgresql() -> Path:
    """Find the folder of the newest PostgreSQL server's programs. A missing one fails the test: nothing is skipped."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin: int(bin.parent.name), reverse=True)
    folders += [Path(folder) for folder in os.get_exec_path()]
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise AssertionError("these tests need a PostgreSQL server: no postgres and initdb in /usr/lib/postgresql or PATH")


def find_memory_folder() -> Path | None:
    """Find a roomy place where files are kept in memory."""
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOMY
    return _MEMORY if roomy else None


def reactor_in_use() -> Any:
    """The reactor that trial runs."""
    return reactor


def make_database(dialect: Dialect) -> Place:
    """Make a fresh database with all tables."""
    return _make_sqlite() if dialect == "sqlite" else make_on_cluster(session_cluster(), template=_session_template())


def give_sqlite(case: Any) -> None:
    """Give a test a fresh SQLite database as `db`; what it has there at its end is closed."""
    place = make_database("sqlite")
    case.addCleanup(place.remove)
    case.db = place.open()
    case.addCleanup(lambda: case.db.close())


def make_on_cluster(cluster: Cluster, *, template: str = "template0") -> Place:
    """Make a fresh database on a server, as a copy of `template`."""
    name = f"test_{next(_numbers)}"
    cluster.run(f"CREATE DATABASE {name} TEMPLATE {template}")
    return Place(
        settings=PostgreSQL(dsn=cluster.dsn(name)),
        data_dir=cluster.folder,
        remove=lambda: cluster.run(f"DROP DATABASE {name} WITH (FORCE)"),
    )


@cache
def session_cluster() -> Cluster:
    """The server of this test session, started when first asked for."""
    return Cluster()


@cache
def _session_template() -> str:
    cluster = session_cluster()
    place = make_on_cluster(cluster)
    assert isinstance(place.settings, PostgreSQL)
    migrate_database(place.settings, place.data_dir, lambda: START_MS)
    return place.settings.dsn.rpartition("=")[2]


def _make_sqlite() -> Place:
    place = make_empty_sqlite()
    shutil.copyfile(_sqlite_template(), place.data_dir / "parta.db")
    return place


def make_empty_sqlite(*, in_memory: bool = True) -> Place:
    """Make a place for an SQLite file, in memory or on the disk."""
    folder = Path(tempfile.mkdtemp(prefix="parta-db-", dir=find_memory_folder() if in_memory else None))
    return Place(settings=SQLite(), data_dir=folder, remove=lambda: shutil.rmtree(folder, ignore_errors=True))


@cache
def _sqlite_template() -> Path:
    place = make_empty_sqlite()
    atexit.register(place.remove)
    migrate_database(place.settings, place.data_dir, lambda: START_MS)
    return place.data_dir / "parta.db"


def on_both_databases(case: type[Case]) -> type[Case]:
    """Run a test case on SQLite, and as a second class of its module on PostgreSQL; see the head of this module."""
    twin = _on_database(case, "postgresql", f"{case.__name__}OnPostgreSQL")
    setattr(sys.modules[case.__module__], twin.__name__, twin)
    return _on_database(case, "sqlite", case.__name__)


def _on_database(case: type[Case], dialect: Dialect, name: str) -> type[Case]:
    async def set_up(self: Any) -> None:
        self.place = make_database(dialect)
        self.addCleanup(self.place.remove)
        self.db = self.place.open()
        self.addCleanup(lambda: self.db.close())  # the one that is open by then
        await maybeDeferred(case.setUp, self)

    return type(name, (case,), {"setUp": set_up, "__module__": case.__module__, "__doc__": case.__doc__})


def _die_with_parent() -> None:
    """In the server's process: be ended, without a farewell, when the test process goes."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
