"""A database that is full, gone, or falls silent: nothing acknowledged is lost, nobody waits for ever."""

import contextlib
import sqlite3
from pathlib import Path

import psycopg2
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.trial.unittest import TestCase

from config.settings import PostgreSQL, SQLite
from homeserver.storage.database import CannotOpen, Database, StorageUnavailable, Txn
from tests.kit.cut_wire import Cut, CutWire
from tests.kit.databases import Cluster, Place, make_database, make_empty_sqlite, make_on_cluster
from tests.kit.notes import Gate, Refusal, Told, append_note, load_nids, make_notes, refuse

LARGE = b"x" * 1_000_000


class Full(TestCase):
    """An SQLite file that may not grow, until it is opened again."""

    db: Database

    async def setUp(self) -> None:
        place = make_empty_sqlite()
        self.addCleanup(place.remove)
        self.db = place.open()
        self.addCleanup(self.db.close)
        await self.db.write(make_notes)
        self.told = Told(self.db)

    def fill(self, txn: Txn) -> None:
        row = txn.one("PRAGMA page_count")
        assert row is not None
        txn.one(f"PRAGMA max_page_count = {row[0] + 20}")

    async def test_a_full_disk_fails_the_batch_and_nothing_else(self) -> None:
        await self.db.write(append_note, 1)
        await self.db.write(self.fill)
        with self.assertRaisesRegex(StorageUnavailable, "full"):
            await self.db.write(append_note, 2, "alice", LARGE)
        self.assertEqual(await self.db.read(load_nids), [1])
        self.assertEqual(await self.db.write(append_note, 3), 2)
        self.assertEqual(await self.db.read(load_nids), [1, 3])
        self.assertEqual((self.told.nids, self.told.positions), ([1, 3], [1, 2]))

    async def test_small_units_of_a_batch_that_is_too_large_are_not_acknowledged(self) -> None:
        await self.db.write(self.fill)
        gate = Gate()
        gate.hold_writer(self.db)
        small, large = self.db.write(append_note, 1), self.db.write(append_note, 2, "alice", LARGE)
        gate.open()
        for unit in (small, large):
            with self.assertRaises(StorageUnavailable):
                await unit
        self.assertEqual(await self.db.read(load_nids), [])

    async def test_a_disk_found_full_while_each_unit_runs_by_itself_fails_them_all(self) -> None:
        await self.db.write(self.fill)
        gate = Gate()
        gate.hold_writer(self.db)
        units = [self.db.write(append_note, 1), self.db.write(refuse, 2), self.db.write(append_note, 3, "bob", LARGE)]
        gate.open()
        for unit in units:
            with self.assertRaises(StorageUnavailable):
                await unit
        self.assertEqual(await self.db.write(append_note, 4), 1)
        self.assertEqual(await self.db.read(load_nids), [4])


class Vanished(TestCase):
    """A PostgreSQL server that is killed and started again."""

    db: Database

    async def setUp(self) -> None:
        self.cluster = Cluster()
        self.addCleanup(self.cluster.remove)
        self.db = make_on_cluster(self.cluster).open()
        self.addCleanup(self.db.close)
        await self.db.write(make_notes)
        self.told = Told(self.db)

    async def test_it_is_used_again_when_it_is_back(self) -> None:
        await self.db.write(append_note, 1)
        await self.db.read(load_nids)
        self.cluster.kill()
        for _ in range(3):
            with self.assertRaises(StorageUnavailable):
                await self.db.write(append_note, 2)
            with self.assertRaises(StorageUnavailable):
                await self.db.read(load_nids)
        self.cluster.start()
        self.assertEqual(await self.db.read(load_nids), [1])
        self.assertEqual(await self.db.write(append_note, 3), 2)
        self.assertEqual(await self.db.read(load_nids), [1, 3])

    async def test_nobody_notices_that_it_was_away_for_a_moment(self) -> None:
        await self.db.write(append_note, 1)
        reads = [self.db.read(load_nids) for _ in range(8)]
        await DeferredList(reads)
        self.cluster.kill()
        self.cluster.start()
        reads = [self.db.read(load_nids) for _ in range(8)]
        self.assertEqual([await read for read in reads], [[1]] * 8)
        self.assertEqual(await self.db.write(append_note, 2), 2)
        self.assertEqual(await self.db.read(load_nids), [1, 2])

    async def test_what_was_acknowledged_is_there_once_after_each_kill(self) -> None:
        acknowledged: list[int] = []

        async def send(sender: int) -> None:
            for number in range(60):
                nid = sender * 1000 + number
                with contextlib.suppress(StorageUnavailable):
                    await self.db.write(append_note, nid)
                    acknowledged.append(nid)
                    if len(acknowledged) in (50, 150, 250):
                        self.cluster.kill()
                        self.cluster.start()

        outcomes = await DeferredList([ensureDeferred(send(sender)) for sender in range(8)])
        self.assertTrue(all(good for good, _ in outcomes), outcomes)
        stored = await self.db.read(load_nids)
        self.assertLessEqual(set(acknowledged), set(stored))
        self.assertEqual(sorted(self.told.nids), stored)
        self.assertEqual(self.told.positions, sorted(set(self.told.positions)))
        self.assertGreaterEqual(len(acknowledged), 250)


class Cutting(TestCase):
    """A PostgreSQL server behind a wire that breaks at the worst moment."""

    db: Database
    place: Place

    async def setUp(self) -> None:
        self.place = make_database("postgresql")
        self.addCleanup(self.place.remove)
        assert isinstance(self.place.settings, PostgreSQL)
        settings = psycopg2.extensions.parse_dsn(self.place.settings.dsn)
        self.wire = CutWire(Path(settings["host"]))
        self.addCleanup(self.wire.close)
        dsn = psycopg2.extensions.make_dsn(**{**settings, "host": str(self.wire.folder)})
        self.db = Place(settings=PostgreSQL(dsn=dsn), data_dir=self.place.data_dir, remove=self.place.remove).open()
        self.addCleanup(self.db.close)
        await self.db.write(make_notes)
        await self.db.read(load_nids)
        self.told = Told(self.db)

    async def check_answered(self, cut: Cut) -> None:
        self.wire.arm(cut, b"COMMIT")
        gate = Gate()
        gate.hold_writer(self.db)
        writes = [self.db.write(append_note, 1), self.db.write(refuse, 2), self.db.write(append_note, 3)]
        writes[1].addErrback(lambda failure: failure.trap(Refusal))
        gate.open()
        self.assertEqual([await write for write in writes], [1, Refusal, 2])
        self.assertEqual(self.wire.cuts, 1)
        self.assertEqual(await self.db.write(append_note, 4), 3)
        self.assertEqual(await self.db.read(load_nids), [1, 3, 4])
        self.assertEqual((self.told.nids, self.told.positions), ([1, 3, 4], [1, 2, 3]))

    async def test_a_commit_whose_answer_was_lost_is_found_and_answered(self) -> None:
        await self.check_answered("after")

    async def test_a_commit_that_did_not_arrive_is_made_again(self) -> None:
        await self.check_answered("before")

    async def test_a_commit_in_doubt_fails_when_nobody_can_be_asked_and_is_told_when_it_is_found(self) -> None:
        self.wire.arm("after", b"COMMIT", down=True)
        with self.assertRaises(StorageUnavailable):
            await self.db.write(append_note, 1)
        with self.assertRaises(StorageUnavailable):
            await self.db.write(append_note, 2)
        self.assertEqual(self.told.commits, [])
        self.wire.down = False
        self.assertEqual(await self.db.write(append_note, 3), 2)
        self.assertEqual(await self.db.read(load_nids), [1, 3])
        self.assertEqual((self.told.nids, self.told.positions), ([1, 3], [1, 2]))

    async def test_a_commit_in_doubt_that_did_not_happen_is_forgotten(self) -> None:
        self.wire.arm("before", b"COMMIT", down=True)
        with self.assertRaises(StorageUnavailable):
            await self.db.write(append_note, 1)
        self.wire.down = False
        self.assertEqual(await self.db.write(append_note, 3), 1)
        self.assertEqual(await self.db.read(load_nids), [3])
        self.assertEqual((self.told.nids, self.told.positions), ([3], [1]))

    async def test_a_connection_lost_in_doubt_and_again_while_asking_leaves_nobody_waiting(self) -> None:
        self.wire.arm("after", b"COMMIT", down=True)
        with self.assertRaises(StorageUnavailable):
            await self.db.write(append_note, 1)
        self.wire.down = False
        self.wire.arm("before", b"FROM stream_position")
        self.assertEqual(await self.db.write(append_note, 2), 2)
        self.assertEqual(self.wire.cuts, 2)
        self.assertEqual(await self.db.read(load_nids), [1, 2])
        self.assertEqual((self.told.nids, self.told.positions), ([1, 2], [1, 2]))

    async def test_a_read_that_is_cut_is_made_again(self) -> None:
        await self.db.write(append_note, 1)
        self.wire.arm("after", b"FROM notes")
        self.assertEqual(await self.db.read(load_nids), [1])
        self.assertEqual(self.wire.cuts, 1)

    async def test_a_reader_that_is_cut_off_after_its_answer_comes_back(self) -> None:
        await self.db.write(append_note, 1)
        self.wire.arm("before", b"ROLLBACK")
        for _ in range(2):
            self.assertEqual(await self.db.read(load_nids), [1])
        self.assertEqual(self.wire.cuts, 1)


class CannotBeOpened(TestCase):
    def check_line(self, settings: SQLite | PostgreSQL, folder: Path, words: str) -> None:
        place = Place(settings=settings, data_dir=folder, remove=lambda: None)
        with self.assertRaisesRegex(CannotOpen, words) as caught:
            place.open()
        self.assertNotIn("\n", str(caught.exception))

    def test_a_server_that_is_not_there_is_said_in_one_line(self) -> None:
        place = make_empty_sqlite()
        self.addCleanup(place.remove)
        dsn = f"host={place.data_dir} user=postgres password=secret dbname=parta"
        self.check_line(PostgreSQL(dsn=dsn), place.data_dir, "cannot open the database: .*No such file")
        self.check_line(PostgreSQL(dsn="no connection string"), place.data_dir, "cannot open the database")

    def test_a_file_that_cannot_be_one_is_said_in_one_line(self) -> None:
        place = make_empty_sqlite()
        self.addCleanup(place.remove)
        self.check_line(SQLite(path=Path("missing/parta.db")), place.data_dir, "missing/parta.db")
        (place.data_dir / "parta.db").write_bytes(b"This is a letter to the school, and no database. " * 100)
        self.check_line(SQLite(), place.data_dir, "parta.db: file is not a database")
        (place.data_dir / "parta.db").unlink()
        place.open().close()

    def test_a_file_with_foreign_tables_is_not_taken_over(self) -> None:
        place = make_empty_sqlite()
        self.addCleanup(place.remove)
        with contextlib.closing(sqlite3.connect(place.data_dir / "parta.db")) as connection:
            connection.execute("CREATE TABLE stream_position (something TEXT)")
        self.check_line(SQLite(), place.data_dir, "migration 0000_storage failed: table stream_position already exists")
