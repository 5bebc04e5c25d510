"""A table for tests of the storage engine itself, and a gate that holds its writer while units gather for one batch."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from homeserver.storage.database import Change, Database, Insert, Row, Txn

PATIENCE_S = 20
"""How long anything in these tests may take before it counts as hanging."""

NOTE = Insert("INSERT INTO notes (nid, author, body) VALUES (?, ?, ?)")
COUNT = Insert(
    "INSERT INTO counts (author, seen, told) VALUES (?, ?, ?)"
    " ON CONFLICT (author) DO UPDATE SET seen = counts.seen + excluded.seen"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteAdded:
    """A note became visible."""

    position: int
    nid: int


class Refusal(Exception):
    """What a unit of work raises of its own."""


def make_notes(txn: Txn) -> None:
    """Make the tables."""
    blob = "BLOB" if txn.dialect == "sqlite" else "BYTEA"
    txn.run(f"CREATE TABLE notes (nid BIGINT PRIMARY KEY, author TEXT, body {blob})")
    txn.run("CREATE TABLE counts (author TEXT PRIMARY KEY, seen BIGINT NOT NULL, told BIGINT)")


def append_note(txn: Txn, nid: int, author: str | None = "alice", body: bytes | None = b"hi") -> int:
    """Keep a note and tell it; the position at which it is visible."""
    txn.append(NOTE, (nid, author, body))
    position = txn.position()
    txn.tell(NoteAdded(position=position, nid=nid))
    return position


def refuse(txn: Txn, nid: int) -> int:
    """Write a note, tell it, and raise Refusal after all."""
    append_note(txn, nid)
    raise Refusal(nid)


def refuse_late(txn: Txn, nid: int) -> int:
    """Write a note, see it in the table, and raise Refusal after all."""
    append_note(txn, nid)
    raise Refusal(*load_nids(txn))


def load_notes(txn: Txn) -> list[Row]:
    """All notes, in the order of their ids."""
    return txn.all("SELECT nid, author, body FROM notes ORDER BY nid")


def load_nids(txn: Txn) -> list[int]:
    """The ids of all notes, in order."""
    return [nid for (nid,) in txn.all("SELECT nid FROM notes ORDER BY nid")]


class Told:
    """What a database has told of its commits: a list of (position, changes), and how large the batches were."""

    def __init__(self, database: Database) -> None:
        self.commits: list[tuple[int, Sequence[Change]]] = []
        self.batches: list[int] = []
        database.on_commit = lambda position, changes: self.commits.append((position, changes))
        database.on_batch = lambda units, commit_seconds: self.batches.append(units)

    @property
    def positions(self) -> list[int]:
        """The positions of all changes, as they were told."""
        return [change.position for _, changes in self.commits for change in changes]

    @property
    def nids(self) -> list[Any]:
        """The ids of all notes told of."""
        return [change.nid for _, changes in self.commits for change in changes if isinstance(change, NoteAdded)]


class Gate:
    """Holds a thread of the database in a unit of work until it is opened, so that others gather behind it."""

    def __init__(self) -> None:
        self._inside = threading.Event()
        self._open = threading.Event()

    def hold_writer(self, database: Database) -> Deferred[None]:
        """Be the unit that the writer works at from now on."""
        passed = database.write(self.wait)
        self.wait_until_inside()
        return passed

    def wait(self, txn: Txn) -> None:
        """Stand in a unit of work."""
        self._inside.set()
        if not self._open.wait(PATIENCE_S):
            raise TimeoutError("the gate was never opened")

    def wait_until_inside(self) -> None:
        """Wait until somebody stands at the gate."""
        if not self._inside.wait(PATIENCE_S):
            raise TimeoutError("nobody came to the gate")

    def open(self) -> None:
        """Let go."""
        self._open.set()
