"""Syncs that wait: what wakes them, what does not, and what they cost while nothing happens."""

from typing import Any

from twisted.internet.defer import Deferred

from federation.ids import DeviceID, UserID
from homeserver.storage.changes import SessionsEnded, StateRewritten
from homeserver.storage.database import Txn
from homeserver.streams import streams as streams_module
from tests.kit.databases import on_both_databases
from tests.kit.syncs import SyncCase, bodies, ephemeral, joined, timeline

ONLY_MESSAGES = {
    "room": {"timeline": {"types": ["m.room.message"]}, "state": {"types": []}, "ephemeral": {"types": []}},
    "presence": {"types": []},
}


@on_both_databases
class Waiting(SyncCase):
    presence = False

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat")
        await self.bob.join(self.room)
        await self.alice.sync()
        await self.bob.sync()

    async def begin(self, **query: Any) -> Deferred[Any]:
        """A sync of Bob's that waits."""
        waiting = self.bob.wait(**query)
        await self.settle()
        assert not waiting.called
        return waiting

    def count_reads(self) -> list[str]:
        """The names of what is read from the tables from now on."""
        reads: list[str] = []
        read = self.db.read

        def noting(work: Any, *args: Any) -> Any:
            reads.append(work.__name__)
            return read(work, *args)

        self.patch(self.db, "read", noting)
        return reads

    async def test_nothing_new_reads_no_table(self) -> None:
        reads = self.count_reads()
        answer = await self.bob.sync()
        assert "rooms" not in answer
        assert reads == []

    async def test_a_message_is_delivered_without_reading_a_table(self) -> None:
        await self.alice.say(self.room)
        await self.bob.sync()
        waiting = await self.begin()
        reads = self.count_reads()
        await self.alice.say(self.room, "hi")
        assert bodies(await waiting, self.room) == ["hi"]
        assert reads == []

    async def test_all_who_wait_are_told_the_same_of_one_message(self) -> None:
        people = [self.person(f"p{at}") for at in range(8)]
        for person in people:
            await person.join(self.room)
        for person in people:
            await person.sync()
        waiting = [person.wait() for person in people]
        await self.settle()
        event_id = await self.alice.say(self.room, "hi")
        for each in waiting:
            assert [event["event_id"] for event in timeline(await each, self.room)] == [event_id]

    async def test_many_are_woken_some_at_a_time(self) -> None:
        self.patch(streams_module, "WOKEN_AT_ONCE", 2)
        people = [self.person(f"p{at}") for at in range(5)]
        for person in people:
            await person.join(self.room)
        for person in people:
            await person.sync()
        waiting = [person.wait() for person in people]
        await self.settle()
        await self.alice.say(self.room, "hi")
        await self.settle()
        for each in waiting:
            assert bodies(await each, self.room) == ["hi"]

    async def test_time_ends_a_sync_with_nothing(self) -> None:
        waiting = await self.begin(timeout=5000)
        self.clock.advance(5)
        answer = await waiting
        assert answer.keys() == {"next_batch", "device_one_time_keys_count", "device_unused_fallback_key_types"}

    async def test_nobody_waits_longer_than_the_bound(self) -> None:
        waiting = await self.begin(timeout=10**12)
        self.clock.advance(121)
        await waiting

    async def test_what_is_not_wanted_does_not_end_the_wait(self) -> None:
        waiting = await self.begin(filter=ONLY_MESSAGES)
        await self.alice.put(self.room, "m.room.topic", {"topic": "x"})
        await self.alice.type(self.room)
        await self.settle()
        assert not waiting.called
        await self.alice.say(self.room, "hi")
        assert bodies(await waiting, self.room) == ["hi"]

    async def test_a_room_one_is_not_in_does_not_end_the_wait(self) -> None:
        other = await self.alice.create(preset="public_chat")
        waiting = await self.begin()
        await self.alice.say(other)
        await self.settle()
        assert not waiting.called
        self.clock.advance(31)
        await waiting

    async def test_everything_of_ones_own_ends_the_wait(self) -> None:
        tablet = self.person("bob", "TABLET")
        event_id = await self.alice.say(self.room)
        await self.bob.sync()
        deeds = (
            lambda: tablet.set_data("org.example.x", {}),
            lambda: tablet.set_data("org.example.x", {}, self.room),
            lambda: tablet.read(self.room, event_id, "m.read.private"),
            lambda: tablet.ok("PUT", "/pushrules/global/content/x", {"pattern": "x", "actions": []}),
            lambda: tablet.ok("PUT", f"/rooms/{self.room}/typing/{tablet.user_id}", {"typing": True}),
            lambda: tablet.leave(self.room),
            lambda: self.alice.invite(self.room, self.bob),
            lambda: tablet.join(self.room),
        )
        for deed in deeds:
            waiting = await self.begin()
            await deed()
            assert len(await waiting) > 3

    async def test_receipts_in_a_large_room_gather(self) -> None:
        people = [self.person(f"p{at}") for at in range(streams_module.FEW + 1)]
        for person in people:
            await person.join(self.room)
            await person.sync()
        await self.bob.sync()
        event_id = await self.alice.say(self.room)
        await self.bob.sync()
        waiting = await self.begin()
        for person in people[:3]:
            await person.read(self.room, event_id)
        await self.settle()
        assert not waiting.called
        self.clock.advance(streams_module.GATHER_S)
        (content,) = ephemeral(await waiting, self.room, "m.receipt")
        assert content[event_id]["m.read"].keys() == {person.user_id for person in people[:3]}

    async def test_a_session_that_ends_is_told_nothing_any_more(self) -> None:
        waiting = await self.begin()
        ended = SessionsEnded(position=0, user_id=self.bob.user_id, device_id=self.bob.device_id)
        self.streams.advance(self.streams.position, [ended])
        await self.alice.say(self.room, "secret")
        assert "rooms" not in await waiting

    async def test_another_session_goes_on(self) -> None:
        waiting = await self.begin()
        ended = SessionsEnded(position=0, user_id=self.bob.user_id, device_id=DeviceID("OTHER"))
        self.streams.advance(self.streams.position, [ended])
        assert not waiting.called
        await self.alice.say(self.room, "hi")
        assert bodies(await waiting, self.room) == ["hi"]

    async def test_whoever_hangs_up_is_not_waited_for(self) -> None:
        gone: Deferred[None] = Deferred()
        with self.streams.listening(self.bob.user_id) as feed:
            waiting = self.streams.wait(feed, None, 30, gone)
            assert len(feed.waiters) == 1
            gone.callback(None)
            assert await waiting == "ended"
            assert not feed.waiters

    async def test_a_wait_that_is_cancelled_is_forgotten(self) -> None:
        with self.streams.listening(self.bob.user_id) as feed:
            waiting = self.streams.wait(feed, None, 30)
            waiting.addErrback(lambda failure: None)
            waiting.cancel()
            assert not feed.waiters

    async def test_when_the_streams_close_nobody_waits(self) -> None:
        waiting = await self.begin()
        self.streams.close()
        assert "rooms" not in await waiting
        assert "rooms" not in await self.bob.sync(timeout=30_000)
        self.presences.close()
        assert not self.clock.getDelayedCalls()

    async def test_a_feed_that_nobody_asks_for_is_dropped_and_begins_anew(self) -> None:
        assert self.streams.find_room(self.room) is not None
        self.clock.advance(streams_module.IDLE_S + 1)
        self.clock.advance(streams_module.SWEEP_S)
        assert self.streams.find_room(self.room) is None
        await self.alice.say(self.room, "hi")
        assert bodies(await self.bob.sync(), self.room) == ["hi"]

    async def test_a_feed_that_waits_is_kept(self) -> None:
        waiting = await self.begin(timeout=120_000)
        for _ in range(3):
            self.clock.advance(39)
        assert not waiting.called
        await self.alice.say(self.room, "hi")
        assert bodies(await waiting, self.room) == ["hi"]

    async def test_there_are_not_too_many_feeds(self) -> None:
        self.patch(streams_module, "MOST_FEEDS", 1)
        self.clock.advance(1)
        await self.alice.sync()
        self.clock.advance(streams_module.SWEEP_S)
        log = self.streams.find_room(self.room)
        assert log is not None
        assert [feed.user_id for feed in log.feeds] == [self.alice.user_id]

    async def test_an_absence_longer_than_the_log_is_read_from_the_tables(self) -> None:
        since = self.bob.since
        for at in range(230):
            await self.alice.say(self.room, str(at))
        await self.bob.sync()
        self.bob.since = since
        answer = await self.bob.sync(filter={"room": {"timeline": {"limit": 3}}})
        assert bodies(answer, self.room) == ["227", "228", "229"]
        self.bob.since = since
        assert len(bodies(await self.bob.sync(filter={"room": {"timeline": {"limit": 300}}}), self.room)) == 230

    async def test_state_that_was_rewritten_is_read_from_the_tables(self) -> None:
        log = self.streams.find_room(self.room)
        await self.alice.say(self.room, "hi")
        position = self.streams.position
        self.streams.advance(position, [StateRewritten(position=position, room_id=self.room)])  # type: ignore[arg-type]
        assert log is not None
        assert log.floor == position
        assert bodies(await self.bob.sync(), self.room) == ["hi"]

    async def test_a_database_that_fails_fails_the_sync_and_not_the_next(self) -> None:
        def fail(txn: Txn, *args: object) -> None:
            raise RuntimeError("no")

        self.patch(streams_module, "load_joined_rooms", fail)
        other = self.person("carol")
        assert (await other.call("GET", "/sync")).status == 500
        self.flushLoggedErrors(RuntimeError)
        self.patch(streams_module, "load_joined_rooms", lambda txn, user_id: [])
        assert (await other.call("GET", "/sync")).status == 200

    async def test_moves_while_a_feed_is_registered_count(self) -> None:
        carol = UserID(self.carol.user_id)
        with self.streams.listening(carol) as feed:
            joining = Deferred.fromCoroutine(self.carol.join(self.room))
            ready = Deferred.fromCoroutine(self.streams.ready(feed))
            await joining
            await ready
            assert self.room in feed.rooms
            await self.carol.leave(self.room)
            assert self.room not in feed.rooms

    async def test_joined_rooms_listen_at_once(self) -> None:
        other = await self.alice.create(preset="public_chat")
        await self.bob.join(other)
        await self.bob.sync()
        waiting = await self.begin()
        await self.alice.say(other, "hi")
        assert bodies(await waiting, other) == ["hi"]
        assert joined(await self.bob.sync(), other) == {}
