"""Group commit: what a batch of units of work promises to each of them, and what a commit tells."""

import contextlib
import sqlite3

import psycopg2
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from config.settings import PostgreSQL
from homeserver.storage.database import Database, StorageUnavailable, Txn
from tests.kit.databases import Place, on_both_databases
from tests.kit.notes import COUNT, Gate, Refusal, Told, append_note, load_nids, make_notes, refuse, refuse_late


def double(txn: Txn, nid: int) -> int:
    """Insert a row twice: an error that shows only when the rows are sent out."""
    append_note(txn, nid)
    return append_note(txn, nid)


def swallow(txn: Txn) -> None:
    """Go on after a statement has failed, as no unit should."""
    with contextlib.suppress(sqlite3.Error, psycopg2.Error):
        txn.run("INSERT INTO notes (nid) VALUES (1), (1)")
    append_note(txn, 9)


@on_both_databases
class Batches(TestCase):
    db: Database
    place: Place

    async def setUp(self) -> None:
        await self.db.write(make_notes)
        await self.everything_told()
        self.told = Told(self.db)
        self.gate = Gate()
        self.answers: list[object] = []

    async def write_together(self, *units: tuple[object, ...]) -> list[object]:
        """Write units in one batch; their results or exceptions, in the order of answering."""
        self.gate.hold_writer(self.db)
        writes = [self.db.write(*unit) for unit in units]  # type: ignore[arg-type]
        self.gate.open()
        for write in writes:
            write.addBoth(self.note_answer)
        for write in writes:
            await write
        await self.everything_told()
        return self.answers

    async def everything_told(self) -> None:
        """Wait until what follows the answers of the last commit is over."""
        await self.db.read(lambda txn: None)

    def note_answer(self, answer: object) -> None:
        self.answers.append(getattr(answer, "value", answer))

    async def test_units_that_wait_share_one_commit(self) -> None:
        answers = await self.write_together(*[(append_note, nid) for nid in (3, 1, 2)])
        self.assertEqual(answers, [1, 2, 3])
        self.assertEqual(self.told.batches, [1, 3])
        self.assertEqual(await self.db.read(load_nids), [1, 2, 3])

    async def test_a_commit_is_told_once_after_everybody_was_answered(self) -> None:
        order: list[object] = []
        self.db.on_commit = lambda position, changes: order.append((position, [c.position for c in changes]))
        self.gate.hold_writer(self.db).addCallback(lambda _: order.append("gate"))
        for nid in (1, 2):
            self.db.write(append_note, nid).addCallback(lambda position: order.append((position, self.db.position)))
        last = self.db.write(lambda txn: None)
        self.gate.open()
        await last
        await self.everything_told()
        self.assertEqual(order, ["gate", (0, []), (1, 2), (2, 2), (2, [1, 2])])

    async def test_units_know_the_number_of_their_commit(self) -> None:
        first = await self.db.write(lambda txn: txn.commit)
        answers = await self.write_together((lambda txn: txn.commit,), (refuse, 1), (lambda txn: txn.commit,))
        self.assertEqual([answers[0], answers[2]], [first + 2, first + 2])
        self.assertEqual(await self.db.write(lambda txn: txn.commit), first + 3)

    async def test_a_unit_that_raises_fails_alone(self) -> None:
        for refusing in (refuse, refuse_late, double):
            with self.subTest(unit=refusing.__name__):
                self.gate, self.answers = Gate(), []
                await self.db.write(lambda txn: txn.run("DELETE FROM notes"))
                start = self.db.position
                answers = (
                    await self.write_together((append_note, 5), (refusing, 6), (append_note, 7), (refusing, 8))
                    if (refusing is not double)
                    else await self.write_together((append_note, 5), (double,), (append_note, 7), (double,))
                )
                self.assertEqual([answers[0], answers[2]], [start + 1, start + 2])
                for failed in (answers[1], answers[3]):
                    self.assertIsInstance(failed, Exception)
                    self.assertNotIsInstance(failed, StorageUnavailable)
                self.assertEqual(await self.db.read(load_nids), [5, 7])
                self.assertEqual(self.told.nids[-2:], [5, 7])
                self.assertEqual(self.told.positions, list(range(1, self.db.position + 1)))

    async def test_a_unit_alone_that_raises_leaves_no_trace(self) -> None:
        for refusing in (refuse, refuse_late):
            with self.assertRaises(Refusal):
                await self.db.write(refusing, 1)
        self.assertEqual(await self.db.read(load_nids), [])
        self.assertEqual((self.told.commits, self.db.position), ([], 0))
        self.assertEqual(await self.db.write(append_note, 1), 1)

    async def test_units_that_all_raise_commit_nothing(self) -> None:
        answers = await self.write_together((refuse, 1), (refuse_late, 2))
        self.assertEqual([type(answer) for answer in answers], [Refusal, Refusal])
        self.assertEqual(self.told.batches, [1])

    async def test_a_later_unit_sees_what_an_earlier_one_of_the_batch_wrote(self) -> None:
        answers = await self.write_together((append_note, 1), (load_nids,), (append_note, 2), (load_nids,), (refuse, 3))
        self.assertEqual(answers[:4], [1, [1], 2, [1, 2]])

    async def test_rows_of_many_units_merge_into_one_upsert(self) -> None:
        count = [(lambda txn, author: txn.append(COUNT, (author, 1, None)), a) for a in ("a", "b", "a", "a")]
        await self.write_together(*count)
        rows = await self.db.read(lambda txn: txn.all("SELECT author, seen FROM counts ORDER BY author"))
        self.assertEqual(rows, [("a", 3), ("b", 1)])

    async def test_a_unit_that_swallows_an_error_harms_nobody_else(self) -> None:
        answers = await self.write_together((append_note, 5), (swallow,), (append_note, 7))
        self.assertEqual([answers[0], answers[2]], [1, self.db.position])
        self.assertLessEqual({5, 7}, set(await self.db.read(load_nids)))

    async def test_a_commit_that_fails_fails_all_its_units(self) -> None:
        await self.db.write(
            lambda txn: txn.run(
                "CREATE TABLE replies (note BIGINT REFERENCES notes (nid) DEFERRABLE INITIALLY DEFERRED)"
            )
        )
        answers = await self.write_together(
            (append_note, 1), (lambda txn: txn.run("INSERT INTO replies (note) VALUES (99)"),), (append_note, 2)
        )
        self.assertEqual([type(answer) for answer in answers], [StorageUnavailable] * 3)
        self.assertEqual((await self.db.read(load_nids), self.told.nids, self.db.position), ([], [], 0))
        self.assertEqual(await self.db.write(append_note, 1), 1)

    async def test_more_units_than_a_batch_takes_are_all_written_in_order(self) -> None:
        answers = await self.write_together(*[(append_note, nid) for nid in range(1, 1001)])
        self.assertEqual(answers, list(range(1, 1001)))
        self.assertEqual(sum(self.told.batches), 1001)
        self.assertEqual([position for position, _ in self.told.commits], sorted(p for p, _ in self.told.commits))
        self.assertEqual(self.told.positions, list(range(1, 1001)))

    async def test_a_listener_that_raises_disturbs_nobody(self) -> None:
        def listen(position: int, changes: object) -> None:
            raise Refusal(position)

        self.db.on_commit = listen
        self.assertEqual([await self.db.write(append_note, nid) for nid in (1, 2)], [1, 2])
        await self.everything_told()
        self.assertEqual([str(failure.value) for failure in self.flushLoggedErrors(Refusal)], ["1", "2"])

    async def test_a_caller_that_no_longer_waits_disturbs_nobody(self) -> None:
        self.gate.hold_writer(self.db)
        left: Deferred[int] = self.db.write(append_note, 1)
        left.cancel()
        stayed = self.db.write(append_note, 2)
        self.gate.open()
        self.assertEqual(await stayed, 2)
        with self.assertRaises(CancelledError):
            await left
        self.assertEqual(await self.db.read(load_nids), [1, 2])

    async def test_somebody_elses_commit_is_noticed_and_built_upon(self) -> None:
        """As when an operator mends something by hand: positions are not given twice."""
        await self.db.write(append_note, 1)
        settings = self.place.settings
        with contextlib.closing(
            psycopg2.connect(settings.dsn)
            if isinstance(settings, PostgreSQL)
            else sqlite3.connect(self.place.data_dir / settings.path)
        ) as connection:
            connection.cursor().execute("UPDATE stream_position SET position = 100, commits = commits + 1")
            connection.commit()
        self.assertEqual(await self.db.write(append_note, 2), 101)
        self.assertEqual(self.db.position, 101)
