"""Events as they come back from the tables."""

from collections.abc import Iterable

import msgspec
from twisted.trial.unittest import TestCase

from federation.event import Event
from federation.ids import DeviceID, EventID
from federation.redaction import redact_event
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import (
    Origin,
    Replaced,
    RoomEvent,
    Standing,
    append_event,
    find_event,
    find_farthest,
    find_place,
    load_contents,
    load_events,
    load_page,
    load_recent,
    load_sent,
    set_redacted,
)
from homeserver.storage.rooms import RoomRecord, append_room, find_room
from tests.kit.databases import on_both_databases
from tests.kit.rooms import ALICE, BOB, RoomFactory


def write_all(txn: Txn, record: RoomRecord, events: Iterable[RoomEvent]) -> None:
    append_room(txn, record)
    for held in events:
        append_event(txn, held, held.stream)


@on_both_databases
class Events(TestCase):
    db: Database

    async def setUp(self) -> None:
        self.factory = RoomFactory()
        for body in ("one", "two", "three"):
            self.factory.message(ALICE, body)
        create = self.factory.create
        self.record = RoomRecord(nid=1, room_id=create.room_id, version=create.version, creator=ALICE, kind="pupils")
        self.events = [self._hold(number, event) for number, event in enumerate(self.factory.events.values(), 1)]
        await self.db.write(write_all, self.record, self.events)

    def _hold(self, number: int, event: Event) -> RoomEvent:
        return RoomEvent(event, nid=number + 10, room_nid=1, group=number, stream=number)

    async def _find(self, event_id: str) -> RoomEvent | None:
        return await self.db.read(find_event, self.record, event_id)

    async def test_a_room_comes_back_as_it_was_written(self) -> None:
        self.assertEqual(await self.db.read(find_room, self.record.room_id), self.record)
        self.assertIsNone(await self.db.read(find_room, "!nowhere"))

    async def test_an_event_comes_back_as_it_was_written(self) -> None:
        for held in self.events:
            found = await self._find(held.event_id)
            assert found is not None
            self.assertEqual(found.event.raw, held.event.raw)
            self.assertEqual(found.event.content, held.event.content)
            self.assertEqual(msgspec.json.decode(found.client), msgspec.json.decode(held.client))
            self.assertEqual(
                (found.nid, found.room_nid, found.stream, found.group, found.origin, found.replaced),
                (held.nid, 1, held.stream, held.group, None, None),
            )

    async def test_an_event_is_found_in_its_own_room_only(self) -> None:
        other = RoomRecord(nid=2, room_id=self.record.room_id, version=self.record.version, creator=ALICE)
        self.assertIsNone(await self.db.read(find_event, other, self.events[0].event_id))
        self.assertIsNone(await self._find("$nothing"))
        self.assertIsNone(await self._find("a\0b"))

    async def test_what_is_outside_the_timeline_is_not_found(self) -> None:
        outlier = self._hold(50, self.factory.message(ALICE, "outlier"))
        await self.db.write(append_event, outlier, None, Standing.OUTLIER)
        self.assertIsNone(await self._find(outlier.event_id))
        page = await self.db.read(lambda txn: load_page(txn, self.record, (99, 99), 99, backwards=True))
        self.assertNotIn(outlier.nid, [held.nid for held in page])
        self.assertIn(outlier.nid, await self.db.read(load_events, self.record, [outlier.nid]))

    async def test_recent_events_come_in_stream_order(self) -> None:
        streams = [held.stream for held in self.events]
        for after, upto, most, expected in [
            (0, None, 99, streams),
            (0, None, 2, streams[-2:]),
            (streams[1], None, 99, streams[2:]),
            (streams[1], streams[3], 99, streams[2:4]),
            (streams[1], streams[3], 1, streams[3:4]),
        ]:
            found = await self.db.read(
                lambda txn, a=after, u=upto, m=most: load_recent(txn, self.record, m, after=a, upto=u)
            )
            self.assertEqual([held.stream for held in found], expected)

    async def test_pages_go_by_depth_then_stream_both_ways(self) -> None:
        late = self._hold(
            60, self.factory.build("m.room.message", {"body": "branch"}, sender=ALICE, after=self.factory.create)
        )
        early = RoomEvent(late.event, nid=71, room_nid=1, group=1, stream=-5)
        await self.db.write(append_event, late, late.stream)
        places = sorted([held.place for held in self.events] + [late.place])
        self.assertEqual(late.place, (2, 60))

        async def page(start: tuple[int, int], most: int, *, backwards: bool) -> list[tuple[int, int]]:
            found = await self.db.read(lambda txn: load_page(txn, self.record, start, most, backwards=backwards))
            return [held.place for held in found]

        self.assertEqual(await page((99, 0), 99, backwards=True), places[::-1])
        self.assertEqual(await page((0, -1), 99, backwards=False), places)
        self.assertEqual(await page(places[2], 2, backwards=True), places[2:0:-1])
        self.assertEqual(await page(places[2], 2, backwards=False), places[3:5])
        self.assertEqual(early.place, (2, -5))

    async def test_pages_go_over_gaps_in_depth(self) -> None:
        deep = [
            self._hold(60 + n, self.factory.send("m.room.message", {}, sender=ALICE, depth=depth))
            for n, depth in enumerate((1_000, 2_000, 2**53 - 1))
        ]
        for held in deep:
            await self.db.write(append_event, held, held.stream)
        places = [held.place for held in (*self.events, *deep)]

        async def page(start: tuple[int, int], most: int, *, backwards: bool) -> list[tuple[int, int]]:
            found = await self.db.read(lambda txn: load_page(txn, self.record, start, most, backwards=backwards))
            return [held.place for held in found]

        for most in (1, 2, 5, 99):
            self.assertEqual(await page((2**63 - 1, 0), most, backwards=True), places[::-1][:most])
            self.assertEqual(await page((0, -1), most, backwards=False), places[:most])
        self.assertEqual(await page((1_999, 0), 2, backwards=True), places[-3:-5:-1])
        self.assertEqual(await page((1_001, 0), 2, backwards=False), places[-2:])

    async def test_the_place_at_a_position(self) -> None:
        last = self.events[-1]
        self.assertEqual(await self.db.read(find_place, 1, last.stream + 100), last.place)
        self.assertEqual(await self.db.read(find_place, 1, self.events[1].stream), self.events[1].place)
        self.assertIsNone(await self.db.read(find_place, 1, 0))
        self.assertIsNone(await self.db.read(find_place, 2, 99))

    async def test_what_comes_late_of_a_fork_is_last_but_not_farthest(self) -> None:
        ahead = self.events[-1]
        late = self._hold(60, self.factory.send("m.room.message", {}, sender=ALICE, depth=ahead.place[0] - 1))
        after = self._hold(61, self.factory.send("m.room.message", {}, sender=ALICE, depth=ahead.place[0] + 5))
        for held in (late, after):
            await self.db.write(append_event, held, held.stream)
        self.assertEqual(await self.db.read(find_place, 1, late.stream), late.place)
        for stream, farthest in ((ahead.stream, ahead), (late.stream, ahead), (after.stream, after), (None, after)):
            self.assertEqual(await self.db.read(find_farthest, 1, stream), farthest.place)
        for stream in (0, None):
            self.assertIsNone(await self.db.read(find_farthest, 1 if stream == 0 else 2, stream))

    async def test_a_redacted_event_comes_back_pruned_with_its_reason(self) -> None:
        target = self.events[-1]
        redaction = self._hold(40, self.factory.send("m.room.redaction", {"redacts": target.event_id}, sender=ALICE))
        await self.db.write(append_event, redaction, redaction.stream)
        await self.db.write(set_redacted, target.nid, redact_event(target.event).raw, redaction.nid)
        found = await self._find(target.event_id)
        assert found is not None
        self.assertEqual(found.event.content, {})
        self.assertEqual(found.redacted_because, redaction.client)
        await self.db.write(set_redacted, target.nid, b"{}", 999)
        again = await self._find(target.event_id)
        assert again is not None
        self.assertEqual(again.redacted_because, redaction.client, "the first redaction is the one that counts")

    async def test_what_a_state_event_replaced_comes_back_with_it(self) -> None:
        first = self._hold(30, self.factory.send("org.note", {"a": 1}, sender=ALICE, state_key=""))
        second = self._hold(31, self.factory.send("org.note", {"a": 2}, sender=ALICE, state_key=""))
        second.replaced = first.as_replaced()
        for held in (first, second):
            await self.db.write(append_event, held, held.stream)
        found = await self._find(second.event_id)
        assert found is not None
        replaced = found.replaced
        assert isinstance(replaced, Replaced)
        self.assertEqual(
            (replaced.event_id, replaced.nid, replaced.stream, replaced.group, replaced.sender, replaced.content),
            (first.event_id, first.nid, first.stream, first.group, ALICE, b'{"a":1}'),
        )
        self.assertEqual(found.replaces, first.event_id)
        plain = (await self.db.read(load_events, self.record, [second.nid]))[second.nid]
        self.assertIsNone(plain.replaced)

    async def test_what_a_device_sent_is_known_by_its_requests(self) -> None:
        phone, tablet = DeviceID("PHONE"), None
        for number, (device, txn_id) in enumerate([(phone, "a"), (phone, "b"), (tablet, "c"), (phone, "d\0é")], 80):
            held = self._hold(number, self.factory.message(ALICE, str(number)))
            held.origin = Origin(ALICE, device, txn_id)
            await self.db.write(append_event, held, held.stream)
        sent = await self.db.read(load_sent, ALICE, phone, 99)
        self.assertEqual([each.txn_id for each in sent], ["d\ufffdé", "b", "a"])
        self.assertEqual(
            {(each.room_id, each.type, each.redacts) for each in sent}, {(self.record.room_id, "m.room.message", None)}
        )
        self.assertEqual([each.txn_id for each in await self.db.read(load_sent, ALICE, None, 99)], ["c"])
        self.assertEqual([each.txn_id for each in await self.db.read(load_sent, ALICE, phone, 1)], ["d\ufffdé"])
        self.assertEqual(await self.db.read(load_sent, BOB, phone, 99), [])
        found = await self._find(EventID(sent[1].event_id))
        assert found is not None
        self.assertEqual(found.origin, Origin(ALICE, phone, "b"))

    async def test_contents_are_read_alone(self) -> None:
        contents = await self.db.read(load_contents, [held.nid for held in self.events])
        self.assertEqual(contents, {held.nid: held.event.content for held in self.events})
