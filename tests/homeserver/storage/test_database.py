from twisted.trial.unittest import TestCase

from homeserver.storage.database import Database, Insert, Txn
from tests.kit.databases import on_both_databases

NOTE = Insert("INSERT INTO notes (nid, author, body) VALUES (?, ?, ?)")


def make_notes(txn: Txn) -> None:
    blob = "BLOB" if txn.dialect == "sqlite" else "BYTEA"
    txn.run(f"CREATE TABLE notes (nid BIGINT PRIMARY KEY, author TEXT NOT NULL, body {blob})")


def append_note(txn: Txn, nid: int, author: str, body: bytes) -> int:
    txn.append(NOTE, (nid, author, body))
    return txn.position()


def load_notes(txn: Txn) -> list[tuple[object, ...]]:
    return txn.all("SELECT nid, author, body FROM notes ORDER BY nid")


@on_both_databases
class Writing(TestCase):
    db: Database

    async def setUp(self) -> None:
        await self.db.write(make_notes)

    async def test_what_was_answered_is_read(self) -> None:
        position = await self.db.write(append_note, 1, "alice", b"\x00\xff%s?")
        self.assertEqual(self.db.position, position)
        self.assertEqual(await self.db.read(load_notes), [(1, "alice", b"\x00\xff%s?")])
