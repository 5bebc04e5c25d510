"""Live rooms: what memory says of a room is what the tables say, whatever fails."""

import threading
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import TestCase

from federation.ed25519 import SigningKey
from federation.errors import Refused
from federation.ids import ServerName, UserID
from federation.versions import ROOM_VERSIONS
from homeserver.policy import Invalid
from homeserver.rooms.room import MOST_RECENT, Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft, Seal
from homeserver.storage.changes import EventAdded
from homeserver.storage.database import Change, Database, StorageUnavailable, Txn
from homeserver.storage.events import RoomEvent
from tests.kit.databases import on_both_databases
from tests.kit.notes import PATIENCE_S, Gate, Refusal
from tests.kit.sketches import sketch

SERVER = ServerName("parta.test")
ALICE, BOB = UserID("@alice:parta.test"), UserID("@bob:parta.test")


def message(body: str = "hi", sender: UserID = ALICE) -> Draft:
    return Draft(type="m.room.message", sender=sender, content={"body": body})


def state(kind: str, content: Mapping[str, object], key: str = "", sender: UserID = ALICE) -> Draft:
    return Draft(type=kind, sender=sender, content=content, state_key=key)


def member(person: UserID, membership: str, sender: UserID | None = None, **more: object) -> Draft:
    return state("m.room.member", {"membership": membership, **more}, person, sender or person)


def refuse(txn: Txn) -> None:
    raise Refusal


def spoil_commit(txn: Txn) -> None:
    """Leave behind what the database finds out at the commit only, so that the whole batch fails."""
    txn.run("CREATE TABLE IF NOT EXISTS deeds (nid BIGINT PRIMARY KEY)")
    reference = "REFERENCES deeds (nid) DEFERRABLE INITIALLY DEFERRED"
    txn.run(f"CREATE TABLE IF NOT EXISTS signatures (nid BIGINT NOT NULL {reference})")
    txn.run("INSERT INTO signatures (nid) VALUES (404)")


class LiveCase(TestCase):
    db: Database
    capacity = 50_000

    async def setUp(self) -> None:
        self.told: list[Change] = []
        self.db.on_commit = lambda position, changes: self.told.extend(changes)
        self.seal = Seal(
            server=SERVER,
            key=SigningKey("a_1", bytes(32)),
            now_ms=lambda: 1_700_000_000_000,
            token_bytes=Random(1).randbytes,
            next_id=self.db.next_id,
        )
        self.rooms = self.fresh()

    def fresh(self) -> Rooms:
        return Rooms(self.db, self.seal, capacity=self.capacity)

    async def create(self, version: str = "12", **more: Any) -> Room:
        chosen = ROOM_VERSIONS[version]
        content = {"room_version": version, **({} if chosen.implicit_creator else {"creator": ALICE})}
        drafts = [
            state("m.room.create", content),
            member(ALICE, "join"),
            state("m.room.join_rules", {"join_rule": "public"}),
        ]
        return await self.rooms.create(chosen, drafts, **more)

    async def tell(self) -> None:
        """Wait until all commits so far were told."""
        await self.db.write(lambda txn: None)

    async def reloaded(self, room: Room) -> Room:
        found = await self.fresh().load(room.room_id)
        assert found is not None
        return found

    async def assert_as_stored(self, room: Room) -> None:
        self.assertIs(room.head, room.shown)
        self.assertEqual(sketch(room), sketch(await self.reloaded(room)))

    def send(self, room: Room, *drafts: Draft, also: Sequence[Any] = ()) -> Deferred[list[list[RoomEvent]]]:
        """Begin to send, without waiting."""
        return ensureDeferred(self.rooms.commit([(room, drafts)], also))


@on_both_databases
class Living(LiveCase):
    async def test_a_room_begins_with_all_its_events_in_one_commit(self) -> None:
        batches: list[int] = []
        self.db.on_batch = lambda units, seconds: batches.append(units)
        room = await self.create()
        await self.tell()
        self.assertEqual(batches[:1], [1])
        self.assertEqual([held.stream for held in room.recent], [1, 2, 3])
        self.assertEqual([change.position for change in self.told], [1, 2, 3])
        self.assertIs(await self.rooms.load(room.room_id), room)
        await self.assert_as_stored(room)

    async def test_a_room_of_every_version_lives_and_comes_back(self) -> None:
        for version in ROOM_VERSIONS:
            room = await self.create(version)
            await self.rooms.append(room, message())
            await self.rooms.append(room, member(BOB, "join"))
            await self.assert_as_stored(room)
            again = await self.reloaded(room)
            self.rooms = self.fresh()
            await self.rooms.append(again, message(sender=BOB))

    async def test_an_event_is_built_on_at_once_and_shown_after_its_commit(self) -> None:
        room = await self.create()
        gate = Gate()
        held_up = gate.hold_writer(self.db)
        sending = self.send(room, message("one"))
        waiting = self.send(room, message("two"))
        self.assertEqual(room.head.depth, 5)
        self.assertEqual((room.shown.depth, len(room.recent)), (3, 3))
        gate.open()
        await held_up
        ((one,),), ((two,),) = await sending, await waiting
        self.assertEqual(two.event.prev_events, (one.event_id,))
        self.assertEqual([one.stream, two.stream], [4, 5])
        await self.assert_as_stored(room)

    async def test_what_is_told_is_in_order_and_shown_before_it_is_told(self) -> None:
        room = await self.create()
        await self.tell()
        shown: list[bool] = []

        def look(position: int, changes: Sequence[Change]) -> None:
            for change in changes:
                if isinstance(change, EventAdded):
                    shown.append(change.event is room.recent[-1] and change.position == change.event.stream)

        self.db.on_commit = look
        for body in "abc":
            await self.rooms.append(room, message(body))
        await self.tell()
        self.assertEqual(shown, [True, True, True])

    async def test_a_refused_event_changes_nothing(self) -> None:
        room = await self.create()
        before = room.head
        for drafts in (
            [message(sender=BOB)],
            [message(), message(sender=BOB)],
            [message(), state("m.room.create", {})],
        ):
            with self.assertRaises(Refused):
                await self.rooms.commit([(room, drafts)])
            self.assertIs(room.head, before)
        with self.assertRaises(Invalid):
            await self.rooms.append(room, Draft(type="m.x", sender=ALICE, content={"a": 0.5}))
        await self.rooms.append(room, message())
        await self.assert_as_stored(room)

    async def test_several_rooms_change_together_or_not_at_all(self) -> None:
        one, two = await self.create(), await self.create("11")
        heads = one.head, two.head
        with self.assertRaises(Refused):
            await self.rooms.commit([(one, [member(BOB, "join")]), (two, [message(sender=BOB)])])
        self.assertEqual((one.head, two.head), heads)
        ((joined,), (left, said)) = await self.rooms.commit(
            [(one, [member(BOB, "join")]), (two, [member(BOB, "join"), message(sender=BOB)])],
            [lambda txn: txn.run("CREATE TABLE deeds (nid BIGINT)")],
        )
        self.assertEqual([joined.stream, left.stream, said.stream], [7, 8, 9])
        self.assertEqual(await self.db.read(lambda txn: txn.all("SELECT * FROM deeds")), [])
        await self.assert_as_stored(one)
        await self.assert_as_stored(two)

    async def test_a_room_among_changes_may_stay_as_it_is(self) -> None:
        room = await self.create()
        before = room.head
        self.assertEqual(await self.rooms.commit([(room, [])], [lambda txn: None]), [[]])
        self.assertEqual(await self.rooms.commit([]), [])
        self.assertIs(room.head, before)
        self.assertTrue(room.is_settled)

    async def test_a_kind_and_a_place_in_the_directory_come_back(self) -> None:
        room = await self.create(kind="pupils", published=True)
        again = await self.reloaded(room)
        self.assertEqual((again.record.kind, again.published), ("pupils", True))

    async def test_a_room_that_there_is_not_is_none(self) -> None:
        for room_id in ("!nowhere", "", "a\0b", "#alias:x"):
            self.assertIsNone(await self.rooms.load(room_id))


@on_both_databases
class Failing(LiveCase):
    async def test_a_failed_write_drops_the_room_and_leaves_nothing(self) -> None:
        room = await self.create()
        with self.assertRaises(Refusal):
            await self.send(room, member(BOB, "join"), also=[refuse])
        self.assertFalse(room.live)
        again = await self.rooms.load(room.room_id)
        assert again is not None
        self.assertIsNot(again, room)
        self.assertIsNone(again.membership(BOB))
        await self.assert_as_stored(again)

    async def test_what_was_built_on_a_failed_write_is_built_again(self) -> None:
        room = await self.create()
        failing = self.send(room, message("lost"), also=[refuse])
        followers = [self.send(room, message(str(number))) for number in range(5)]
        with self.assertRaises(Refusal):
            await failing
        sent = [(await follower)[0][0] for follower in followers]
        again = await self.rooms.load(room.room_id)
        assert again is not None
        self.assertEqual(
            {held.event_id for held in again.recent} & {held.event_id for held in sent},
            {held.event_id for held in sent},
        )
        self.assertNotIn("lost", [held.event.content.get("body") for held in again.recent])
        await self.assert_chained(again)

    async def assert_chained(self, room: Room) -> None:
        """Each event names the one before it."""
        await self.assert_as_stored(room)
        for earlier, later in zip(room.recent, list(room.recent)[1:], strict=False):
            self.assertEqual(later.event.prev_events, (earlier.event_id,))

    async def test_a_dropped_room_is_loaded_when_its_last_write_has_failed(self) -> None:
        room = await self.create()
        gate = Gate()
        held_up = gate.hold_writer(self.db)
        failing = self.send(room, message("lost"), also=[refuse])
        follower = self.send(room, message("kept"))
        gate.open()
        await held_up
        with self.assertRaises(Refusal):
            await failing
        ((kept,),) = await follower
        again = await self.rooms.load(room.room_id)
        assert again is not None
        self.assertEqual(again.recent[-1].event_id, kept.event_id)
        await self.assert_chained(again)

    async def test_a_failed_commit_takes_along_what_the_next_one_built_on_it(self) -> None:
        room = await self.create()
        inside, go, done = threading.Event(), threading.Event(), threading.Event()

        def hold(txn: Txn) -> None:
            inside.set()
            go.wait(PATIENCE_S)

        gate = Gate()
        held_up = gate.hold_writer(self.db)
        failing = [self.db.write(hold), self.db.write(spoil_commit), self.send(room, message("lost"))]
        gate.open()
        await held_up
        self.assertTrue(inside.wait(PATIENCE_S))
        # this one is built on the event that is about to fail, and written before we hear of that
        follower = self.send(room, message("kept"))
        marked = self.db.write(lambda txn: done.set())
        go.set()
        self.assertTrue(done.wait(PATIENCE_S))
        for each in failing:
            with self.assertRaises(StorageUnavailable):
                await each
        ((kept,),) = await follower
        await marked
        again = await self.rooms.load(room.room_id)
        assert again is not None
        self.assertEqual([held.event.content.get("body") for held in again.recent][3:], ["kept"])
        self.assertEqual(again.recent[-1].event_id, kept.event_id)
        await self.assert_chained(again)

    async def test_a_unit_that_fails_by_itself_takes_only_its_own_rooms_along(self) -> None:
        one, two = await self.create(), await self.create()
        gate = Gate()
        held_up = gate.hold_writer(self.db)
        failing = self.send(one, message("lost"), also=[refuse])
        other = self.send(two, message("kept"))
        gate.open()
        await held_up
        with self.assertRaises(Refusal):
            await failing
        await other
        self.assertTrue(two.live)
        await self.assert_as_stored(two)

    async def test_what_is_redacted_meanwhile_is_not_told_by_what_replaces_it(self) -> None:
        room = await self.create()
        secret = await self.rooms.append(room, state("m.room.topic", {"topic": "secret"}))
        gate = Gate()
        held_up = gate.hold_writer(self.db)
        redaction = Draft(type="m.room.redaction", sender=ALICE, content={}, redacts=secret.event_id, target=secret)
        sending = [self.send(room, redaction), self.send(room, state("m.room.topic", {"topic": "fine"}))]
        gate.open()
        await held_up
        for each in sending:
            await each
        replaced = room.recent[-1].replaced
        assert replaced is not None
        self.assertEqual((replaced.content, replaced.stream), (b"{}", secret.stream))

    async def test_redacted_power_levels_count_for_what_is_under_way_too(self) -> None:
        room = await self.create("10")
        levels = {"users": {ALICE: 100, BOB: 60}, "invite": 60, "notifications": {"room": 90}}
        target = await self.rooms.append(room, state("m.room.power_levels", levels))
        gate = Gate()
        held_up = gate.hold_writer(self.db)
        redaction = Draft(type="m.room.redaction", sender=ALICE, content={}, redacts=target.event_id, target=target)
        sending = [self.send(room, redaction, message()), self.send(room, message()), self.send(room, message())]
        gate.open()
        await held_up
        for each in sending:
            await each
        self.assertEqual((room.head.levels.invite, room.head.levels.users), (0, {ALICE: 100, BOB: 60}))
        await self.assert_as_stored(room)

    async def test_nothing_is_added_to_a_closed_database(self) -> None:
        room = await self.create()
        await self.db.close()
        with self.assertRaises(StorageUnavailable):
            await self.send(room, message())
        self.assertFalse(room.live)

    async def test_who_goes_away_while_waiting_does_not_hurt_the_room(self) -> None:
        room = await self.create()
        gate = Gate()
        held_up = gate.hold_writer(self.db)
        going = self.send(room, message("one"))
        staying = self.send(room, message("two"))
        going.addErrback(lambda failure: None)
        going.cancel()
        gate.open()
        await held_up
        await staying
        self.assertTrue(room.live)
        self.assertEqual([held.event.content.get("body") for held in room.recent][3:], ["one", "two"])
        await self.assert_as_stored(room)


@on_both_databases
class Remembering(LiveCase):
    capacity = 40

    async def test_only_so_much_is_kept_in_memory_and_the_rest_comes_back(self) -> None:
        rooms = [await self.create() for _ in range(12)]
        live = [room for room in rooms if self.rooms.find(room.room_id)]
        self.assertEqual(live, rooms[-len(live) :])
        self.assertLess(len(live), 8)
        for room in rooms:
            found = await self.rooms.load(room.room_id)
            assert found is not None
            await self.rooms.append(found, message())
            await self.assert_as_stored(found)

    async def test_a_room_that_was_let_go_is_loaded_anew_by_who_still_holds_it(self) -> None:
        first = await self.create()
        for _ in range(12):
            await self.create()
        self.assertFalse(first.live)
        held = await self.rooms.append(first, message())
        again = await self.rooms.load(first.room_id)
        assert again is not None
        self.assertEqual(again.recent[-1].event_id, held.event_id)

    async def test_a_room_that_is_written_to_is_not_let_go(self) -> None:
        room = await self.create()
        gate = Gate()
        held_up = gate.hold_writer(self.db)
        sending = self.send(room, message())
        creating = [ensureDeferred(self.create()) for _ in range(12)]
        self.assertIs(self.rooms.find(room.room_id), room)
        gate.open()
        await held_up
        await sending
        for each in creating:
            await each

    async def test_who_asks_at_the_same_time_gets_the_same_room(self) -> None:
        room_id = (await self.create()).room_id
        rooms = self.fresh()
        asking = [ensureDeferred(rooms.load(room_id)) for _ in range(5)]
        found = {id(await each) for each in asking}
        self.assertEqual(len(found), 1)

    async def test_recent_events_are_bounded_and_complete_above_their_floor(self) -> None:
        room = await self.create()
        for _ in range(3):
            await self.send(room, *[message(str(number)) for number in range(50)])
        self.assertEqual(len(room.recent), MOST_RECENT)
        self.assertEqual(room.recent_floor, room.recent[0].stream - 1)
        await self.assert_as_stored(room)


@on_both_databases
class Law(LiveCase):
    """Whatever happens in a room, memory and tables say the same."""

    async def test_the_law(self) -> None:
        chance = Random(7)
        for version in ("3", "10", "12"):
            room = await self.create(version, published=True)
            for _ in range(60):
                await self._happen(room, chance)
            await self.assert_as_stored(room)

    async def _happen(self, room: Room, chance: Random) -> None:
        person = UserID(f"@p{chance.randrange(6)}:parta.test")
        joined = [user for user in room.head.joined if user != ALICE]
        speaker = chance.choice([ALICE, *joined])
        what = chance.randrange(8)
        drafts = {
            0: lambda: [message(sender=speaker)],
            1: lambda: [member(person, "join", displayname=str(chance.random()))],
            2: lambda: [member(chance.choice(joined), "leave")] if joined else [],
            3: lambda: [member(person, "ban", ALICE)],
            4: lambda: [state("org.note", {"n": chance.randrange(9)}, str(chance.randrange(30)))],
            5: lambda: [state("m.room.name", {"name": str(chance.random())}), message()],
            6: lambda: [self._redaction(room, chance)],
            7: lambda: [
                state("m.room.power_levels", {"users": self._users(room, joined), "notifications": {"room": 20}})
            ],
        }[what]()
        try:
            await self.rooms.commit([(room, drafts)])
        except Refused:
            await self.assert_as_stored(room)

    def _users(self, room: Room, joined: Sequence[UserID]) -> dict[str, int]:
        mine: dict[str, int] = {} if room.version.creators_are_supreme else {ALICE: 100}
        return mine | dict.fromkeys(joined[:2], 10)

    def _redaction(self, room: Room, chance: Random) -> Draft:
        target = chance.choice(list(room.recent))
        return Draft(type="m.room.redaction", sender=ALICE, content={}, redacts=target.event_id, target=target)
