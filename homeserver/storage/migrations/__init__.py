"""The tables' definitions as numbered SQL files, and the runner that brings a database up to them.

`NNNN_name.sqlite.sql` and `NNNN_name.postgresql.sql` are one migration in two dialects. Each runs once, in the order of
numbers, in one transaction together with its row in `schema_migrations`. That row keeps the file's checksum, and a
database whose row and file differ is not opened: a released file never changes, a correction is a new migration. Files
are self-contained: they import no code, and neither begin nor commit.

To add one, take the next number, write both dialects, and say in comments what a table's name and columns don't.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from homeserver.storage.faults import CannotOpen

MIGRATIONS = Path(__file__).parent
_FILE_NAME = re.compile(r"(\d{4})_([a-z][a-z0-9_]*)\.(sqlite|postgresql)\.sql")
_DIALECTS = frozenset({"sqlite", "postgresql"})
_TABLE = (
    "CREATE TABLE IF NOT EXISTS schema_migrations"
    " (number BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at_ms BIGINT NOT NULL)"
)
_RECORD = "INSERT INTO schema_migrations (number, name, checksum, applied_at_ms) VALUES (?, ?, ?, ?)"


class Migratable(Protocol):
    """A connection as far as migrations need one."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What it may raise."""

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """Run a statement, outside a transaction."""

    def apply(self, script: str, sql: str, params: Sequence[Any]) -> None:
        """Run the statements of a script, then one with parameters, all in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered file in one dialect."""

    number: int
    name: str
    script: str

    @property
    def label(self) -> str:
        """The name that operators read."""
        return f"{self.number:04}_{self.name}"

    @property
    def checksum(self) -> str:
        """SHA-256 in hex of the text as it is."""
        return sha256(self.script.encode()).hexdigest()


def load_migrations(folder: Path, dialect: str) -> tuple[Migration, ...]:
    """Load the migrations of a dialect in the order of their numbers.

    Raises: CannotOpen when a number is taken twice or a dialect is missing.
    """
    names: dict[int, str] = {}
    dialects: dict[int, set[str]] = {}
    for path in sorted(folder.glob("*.sql")):
        shape = _FILE_NAME.fullmatch(path.name)
        if shape is None:
            raise CannotOpen(f"migration {path.name} is not named NNNN_name.sqlite.sql or NNNN_name.postgresql.sql")
        number, name = int(shape[1]), shape[2]
        if names.setdefault(number, name) != name:
            raise CannotOpen(f"migration number {number:04} is taken twice: {names[number]} and {name}")
        dialects.setdefault(number, set()).add(shape[3])
    for number, found in dialects.items():
        if found != _DIALECTS:
            raise CannotOpen(f"migration {number:04}_{names[number]} is missing in {', '.join(_DIALECTS - found)}")
    return tuple(
        Migration(number=number, name=name, script=_read(folder / f"{number:04}_{name}.{dialect}.sql"))
        for number, name in sorted(names.items())
    )


def migrate(link: Migratable, migrations: Sequence[Migration], now_ms: Callable[[], int]) -> list[str]:
    """Bring a database up to `migrations`; the labels of those that it lacked.

    Raises: CannotOpen when the database knows other migrations than these, or when one fails: those before it stay.
    """
    link.execute(_TABLE)
    rows = link.execute("SELECT number, name, checksum FROM schema_migrations ORDER BY number").fetchall()
    lacking = _find_lacking(rows, migrations)
    for migration in lacking:
        row = (migration.number, migration.name, migration.checksum, now_ms())
        try:
            link.apply(migration.script, _RECORD, row)
        except link.errors as error:
            raise CannotOpen(f"migration {migration.label} failed: {' '.join(str(error).split())}") from error
    return [migration.label for migration in lacking]


def _find_lacking(rows: Sequence[tuple[int, str, str]], migrations: Sequence[Migration]) -> Sequence[Migration]:
    known = {migration.number: migration for migration in migrations}
    newest = max(known, default=-1)
    for number, name, checksum in rows:
        label = f"{number:04}_{name}"
        if number > newest:
            raise CannotOpen(f"the database was written by a newer version: it has migration {label}")
        if number not in known:
            raise CannotOpen(f"the database has migration {label}, whose file is missing")
        if known[number].checksum != checksum:
            raise CannotOpen(f"migration {label} was changed after the database had run it")
    applied = {number for number, _, _ in rows}
    lacking = [migration for migration in migrations if migration.number not in applied]
    if lacking and lacking[0].number < max(applied, default=-1):
        raise CannotOpen(f"migration {lacking[0].label} came after the database had run a later one")
    return lacking


def _read(path: Path) -> str:
    """Read a file, line ends made plain, so that a checkout elsewhere has the same checksum."""
    return path.read_text(encoding="utf-8").replace("\r\n", "\n")
