"""What functions of storage may rely on: statements, rows, snapshots and ids."""

import contextvars
import stat

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from homeserver.storage.database import CannotOpen, Database, Insert, Row, Schema, StorageUnavailable, Txn
from tests.kit.databases import Place, make_database, make_empty_sqlite, on_both_databases
from tests.kit.notes import COUNT, NOTE, Gate, append_note, load_nids, load_notes, make_notes

request_id = contextvars.ContextVar("request_id", default="none")


def fill(txn: Txn, number: int) -> None:
    for nid in range(1, number + 1):
        append_note(txn, nid, f"person{nid}", b"%d" % nid)


@on_both_databases
class Statements(TestCase):
    db: Database

    async def setUp(self) -> None:
        await self.db.write(make_notes)

    async def test_values_come_back_as_they_went(self) -> None:
        rows: list[Row] = [
            (-(2**63), "", b""),
            (1, "Мария Ивановна 🪑", bytes(range(256))),
            (2, None, None),
            (3, "100 %s ? '?' \"?\" \\ {in}", b"\\x00 % ?"),
            (2**63 - 1, "x" * 100_000, b"\0" * 100_000),
        ]
        for row in rows:
            await self.db.write(append_note, *row)
        self.assertEqual(await self.db.read(load_notes), rows)

    async def test_a_query_finds_by_each_kind_of_value(self) -> None:
        await self.db.write(append_note, 7, "alice", b"\x00\xff")
        for column, value in (("nid", 7), ("author", "alice"), ("body", b"\x00\xff")):
            found = await self.db.read(
                lambda txn, c=column, v=value: txn.one(f"SELECT nid FROM notes WHERE {c} = ?", (v,))
            )
            self.assertEqual(found, (7,))

    async def test_nothing_found_is_none_and_the_empty_list(self) -> None:
        self.assertIsNone(await self.db.read(lambda txn: txn.one("SELECT nid FROM notes")))
        self.assertEqual(await self.db.read(lambda txn: txn.all("SELECT nid FROM notes")), [])

    async def test_signs_of_parameters_in_strings_names_and_comments_are_left_alone(self) -> None:
        sql = """SELECT '?', '%s', '100%', 'it''s ?' AS "what?" -- why? 5%
                 , /* ? %s */ ? , 7 % 4"""
        row = await self.db.read(lambda txn: txn.one(sql, ("here",)))
        self.assertEqual(row, ("?", "%s", "100%", "it's ?", "here", 3))

    async def test_a_percent_sign_without_parameters_is_one(self) -> None:
        await self.db.write(append_note, 1, "50%")
        self.assertEqual(await self.db.read(lambda txn: txn.one("SELECT 1 FROM notes WHERE author LIKE '5_%'")), (1,))

    async def test_a_nul_in_text_becomes_a_replacement_character(self) -> None:
        await self.db.write(append_note, 1, "a\0b", b"a\0b")
        self.assertEqual(await self.db.read(load_notes), [(1, "a\ufffdb", b"a\0b")])
        run = self.db.write(lambda txn: txn.run("UPDATE notes SET author = ? WHERE author = ?", ("\0", "a\0b")))
        self.assertEqual(await run, 1)
        self.assertEqual(await self.db.read(load_notes), [(1, "\ufffd", b"a\0b")])

    async def test_sums_and_counts_are_whole_numbers(self) -> None:
        await self.db.write(fill, 3)
        row = await self.db.read(lambda txn: txn.one("SELECT SUM(nid), COUNT(*), MAX(nid), SUM(nid) / 4.0 FROM notes"))
        self.assertEqual(row, (6, 3, 3, 1.5))
        assert row is not None
        self.assertEqual([type(value) for value in row], [int, int, int, float])
        nothing = await self.db.read(lambda txn: txn.one("SELECT SUM(nid), COUNT(*) FROM notes WHERE nid > 3"))
        self.assertEqual(nothing, (None, 0))

    async def test_run_tells_how_many_rows_it_touched(self) -> None:
        await self.db.write(fill, 5)
        self.assertEqual(await self.db.write(lambda txn: txn.run("DELETE FROM notes WHERE nid > ?", (3,))), 2)
        self.assertEqual(await self.db.write(lambda txn: txn.run("DELETE FROM notes WHERE nid > ?", (3,))), 0)
        self.assertEqual(await self.db.read(load_nids), [1, 2, 3])

    async def test_returning_gives_the_rows_written(self) -> None:
        await self.db.write(fill, 3)
        taken = self.db.write(lambda txn: txn.one("DELETE FROM notes WHERE nid = ? RETURNING author, body", (2,)))
        self.assertEqual(await taken, ("person2", b"2"))
        self.assertEqual(await self.db.read(load_nids), [1, 3])

    async def test_many_writes_each_row_in_order(self) -> None:
        rows = [("x" * 2000, nid) for nid in range(1, 1001)]
        await self.db.write(fill, 1000)
        await self.db.write(lambda txn: txn.many("UPDATE notes SET author = ? WHERE nid = ?", [*rows, ("last", 7)]))
        long, last = (
            "SELECT COUNT(*) FROM notes WHERE author LIKE 'xxx%'",
            "SELECT nid FROM notes WHERE author = 'last'",
        )
        self.assertEqual(await self.db.read(lambda txn: [txn.one(long), txn.one(last)]), [(999,), (7,)])


@on_both_databases
class Lists(TestCase):
    db: Database

    async def setUp(self) -> None:
        await self.db.write(make_notes)
        await self.db.write(fill, 1500)

    async def test_a_list_of_any_length_finds_its_rows(self) -> None:
        for length in (0, 1, 2, 3, 511, 512, 513, 1500):
            sql = "SELECT nid FROM notes WHERE nid {in}"
            rows = await self.db.read(lambda txn, n=length, sql=sql: txn.all_in(sql, range(1, n + 1)))
            self.assertEqual(sorted(rows), [(nid,) for nid in range(1, length + 1)])

    async def test_a_list_stands_between_other_parameters(self) -> None:
        sql = "SELECT nid FROM notes WHERE nid > ? AND author {in} AND body <> ? AND '?' = '?'"
        people = {f"person{nid}" for nid in range(1, 1001)}
        rows = await self.db.read(lambda txn: txn.all_in(sql, people, (10, b"500")))
        self.assertEqual(sorted(rows), [(nid,) for nid in range(11, 1001) if nid != 500])

    async def test_a_list_may_be_of_bytes_and_may_hold_a_nul(self) -> None:
        rows = await self.db.read(lambda txn: txn.all_in("SELECT nid FROM notes WHERE body {in}", (b"5", b"6", b"\0")))
        self.assertEqual(sorted(rows), [(5,), (6,)])
        await self.db.write(append_note, 2000, "\0")
        rows = await self.db.read(lambda txn: txn.all_in("SELECT nid FROM notes WHERE author {in}", ["\0", "person1"]))
        self.assertEqual(sorted(rows), [(1,), (2000,)])

    async def test_a_query_without_its_list_is_refused(self) -> None:
        for sql in ("SELECT 1", "SELECT nid FROM notes WHERE nid {in} OR nid {in}"):
            with self.assertRaises(ValueError):
                await self.db.read(lambda txn, sql=sql: txn.all_in(sql, [1]))


@on_both_databases
class Appending(TestCase):
    db: Database

    async def setUp(self) -> None:
        await self.db.write(make_notes)

    async def test_a_unit_sees_the_rows_that_it_appended(self) -> None:
        def work(txn: Txn) -> list[object]:
            append_note(txn, 1)
            first = txn.one("SELECT COUNT(*) FROM notes")
            append_note(txn, 2)
            second = txn.all_in("SELECT nid FROM notes WHERE nid {in}", [2])
            append_note(txn, 3)
            third = txn.run("UPDATE notes SET author = 'x'")
            append_note(txn, 4)
            txn.many("UPDATE notes SET author = ? WHERE nid = ?", [("y", 4)])
            return [first, second, third, len(txn.all("SELECT author FROM notes WHERE author IN ('x', 'y')"))]

        self.assertEqual(await self.db.write(work), [(1,), [(2,)], 3, 4])

    async def test_more_rows_than_one_statement_takes_are_all_written(self) -> None:
        for number in (1, 63, 64, 65, 127, 1000, 1001, 2500):
            await self.db.write(lambda txn: txn.run("DELETE FROM notes"))
            await self.db.write(fill, number)
            self.assertEqual(await self.db.read(load_nids), list(range(1, number + 1)))

    async def test_an_upsert_of_the_same_key_in_one_commit_counts_each_row(self) -> None:
        def work(txn: Txn) -> None:
            for author in ("alice", "bob", "alice", "alice", "bob"):
                txn.append(COUNT, (author, 1, None))

        await self.db.write(work)
        await self.db.write(work)
        rows = await self.db.read(lambda txn: txn.all("SELECT author, seen, told FROM counts ORDER BY author"))
        self.assertEqual(rows, [("alice", 6, None), ("bob", 4, None)])

    async def test_statements_go_out_in_the_order_of_their_first_row(self) -> None:
        reply = Insert("INSERT INTO replies (note) VALUES (?)")

        def work(txn: Txn) -> None:
            txn.run("CREATE TABLE replies (note BIGINT NOT NULL REFERENCES notes (nid))")
            append_note(txn, 1)
            txn.append(reply, (1,))
            txn.append(reply, (2,))
            append_note(txn, 2)

        await self.db.write(work)
        self.assertEqual(await self.db.read(lambda txn: txn.all("SELECT note FROM replies")), [(1,), (2,)])

    async def test_what_cannot_be_a_value_fails_its_unit(self) -> None:
        for spoiled in ((1, "alice", {"a": 1}), (2**63, "alice", b""), (1, "\ud800", b""), (1, "alice")):
            failed = self.db.write(lambda txn, row=spoiled: txn.append(NOTE, row))
            with self.assertRaises(Exception) as caught:
                await failed
            self.assertNotIsInstance(caught.exception, StorageUnavailable)
        self.assertEqual(await self.db.read(load_nids), [])


@on_both_databases
class Reading(TestCase):
    db: Database

    async def setUp(self) -> None:
        await self.db.write(make_notes)

    async def test_a_read_sees_one_snapshot(self) -> None:
        gate = Gate()

        def look_twice(txn: Txn) -> tuple[list[int], list[int]]:
            before = load_nids(txn)
            gate.wait(txn)
            return before, load_nids(txn)

        await self.db.write(append_note, 1)
        looking = self.db.read(look_twice)
        gate.wait_until_inside()
        await self.db.write(append_note, 2)
        gate.open()
        self.assertEqual(await looking, ([1], [1]))
        self.assertEqual(await self.db.read(load_nids), [1, 2])

    async def test_reads_do_not_wait_for_the_writer_nor_for_each_other(self) -> None:
        gates = [Gate(), Gate()]
        passed = [gates[0].hold_writer(self.db), self.db.read(gates[1].wait)]
        gates[1].wait_until_inside()
        self.assertEqual(await self.db.read(load_nids), [])
        for gate, done in zip(gates, passed, strict=True):
            gate.open()
            await done

    async def test_a_read_may_not_write(self) -> None:
        with self.assertRaises(Exception) as caught:
            await self.db.read(lambda txn: txn.run("DELETE FROM notes"))
        self.assertNotIsInstance(caught.exception, StorageUnavailable)
        for work in (append_note, lambda txn, nid: txn.append(NOTE, (nid, "a", b"")), lambda txn, _: txn.position()):
            with self.assertRaises(TypeError):
                await self.db.read(work, 1)
        self.assertEqual(await self.db.read(load_nids), [])

    async def test_what_a_read_raises_reaches_its_caller_only(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            await self.db.read(lambda txn: 1 // 0)
        with self.assertRaises(Exception) as caught:
            await self.db.read(lambda txn: txn.one("SELECT nothing FROM nowhere"))
        self.assertNotIsInstance(caught.exception, StorageUnavailable)
        self.assertEqual(await self.db.read(load_nids), [])

    async def test_the_context_of_the_caller_is_that_of_the_work(self) -> None:
        request_id.set("r1")
        self.assertEqual(await self.db.read(lambda txn: request_id.get()), "r1")
        written = self.db.write(lambda txn: request_id.get())
        request_id.set("r2")
        self.assertEqual(await written, "r1")

    async def test_work_that_does_not_end_in_the_transaction_fails(self) -> None:
        def asynchronous(txn: Txn) -> Deferred[int]:
            return succeed(1)

        with self.assertRaises(TypeError):
            await self.db.read(asynchronous)
        with self.assertRaises(TypeError):
            await self.db.write(asynchronous)


@on_both_databases
class Restarting(TestCase):
    db: Database
    place: Place

    async def setUp(self) -> None:
        await self.db.write(make_notes)

    async def reopen(self) -> None:
        await self.db.close()
        self.db = self.place.open(schema=Schema(sequences={"notes": ("notes", "nid")}))

    async def test_ids_and_positions_go_on_after_a_restart(self) -> None:
        await self.reopen()
        self.assertEqual([self.db.next_id("notes"), self.db.next_id("notes")], [1, 2])
        last = await self.db.write(append_note, 41)
        await self.reopen()
        self.assertEqual(self.db.position, last)
        self.assertEqual([self.db.next_id("notes"), self.db.next_id("notes")], [42, 43])
        self.assertEqual(await self.db.write(append_note, 42), last + 1)

    async def test_a_second_process_may_not_write_meanwhile(self) -> None:
        with self.assertRaisesRegex(CannotOpen, "another process"):
            self.place.open()
        await self.reopen()
        self.assertEqual(await self.db.write(append_note, 1), 1)

    async def test_closing_finishes_what_was_handed_in(self) -> None:
        gate = Gate()
        gate.hold_writer(self.db)
        writes = [self.db.write(append_note, nid) for nid in range(500)]
        reads = [self.db.read(lambda txn: txn.one("SELECT 7")) for _ in range(20)]
        closings = [self.db.close(), self.db.close()]
        gate.open()
        for closing in closings:
            await closing
        self.assertEqual([await done for done in writes], list(range(1, 501)))
        self.assertEqual([await done for done in reads], [(7,)] * 20)

    async def test_what_is_closed_takes_nothing_more(self) -> None:
        await self.db.close()
        with self.assertRaises(StorageUnavailable):
            await self.db.write(append_note, 1)
        with self.assertRaises(StorageUnavailable):
            await self.db.read(load_nids)
        await self.db.close()


class OnTheDisk(TestCase):
    async def test_commits_are_durable_and_references_are_held(self) -> None:
        place = make_database("sqlite")
        self.addCleanup(place.remove)
        db = place.open()
        self.addCleanup(db.close)
        names = ("journal_mode", "synchronous", "foreign_keys")
        found = await db.write(lambda txn: [txn.one(f"PRAGMA {name}") for name in names])
        self.assertEqual(found, [("wal",), (2,), (1,)])

    async def test_nobody_else_on_the_machine_may_read_the_files(self) -> None:
        place = make_empty_sqlite()
        self.addCleanup(place.remove)
        db = place.open()
        self.addCleanup(db.close)
        await db.read(lambda txn: txn.one("SELECT 1"))
        for name in ("parta.db", "parta.db-wal", "parta.db-shm"):
            self.assertEqual(stat.S_IMODE((place.data_dir / name).stat().st_mode), 0o600, name)


class Inserts(SynchronousTestCase):
    def test_an_insert_has_the_shape_that_can_be_repeated(self) -> None:
        Insert("insert into notes (nid) values (?) on conflict do nothing")
        Insert("INSERT INTO notes (nid, author) VALUES (?, 'none (yet)') ON CONFLICT (nid) DO NOTHING")
        for spoiled in (
            "INSERT INTO notes SELECT 1",
            "INSERT INTO notes VALUES (?, ?)",
            "UPDATE notes SET nid = 1",
            "INSERT INTO notes (nid, seen) VALUES (?, 0) ON CONFLICT (nid) DO UPDATE SET seen = 1",
        ):
            with self.assertRaises(ValueError, msg=spoiled):
                Insert(spoiled)
