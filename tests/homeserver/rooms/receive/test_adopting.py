"""Rooms that come from another server."""

from federation.errors import BadAnswer, BadSignature
from federation.ids import UserID, server_of
from homeserver.storage.changes import EventAdded
from homeserver.storage.events import find_event
from homeserver.storage.members import load_memberships
from homeserver.storage.sync import load_state_at
from tests.kit.databases import on_both_databases
from tests.kit.receiving import US, ReceivingCase, ids
from tests.kit.rooms import ALICE, BOB, CAROL, spoil, versions


@on_both_databases
class Adopting(ReceivingCase):
    async def test_a_room_of_any_version_is_as_the_other_server_has_it(self) -> None:
        for version in versions(2):
            creator = UserID(f"@alice:one{version}.example")
            self.begin(version, creator=creator)
            room = await self.adopt()
            self.assertEqual(set(room.joined_members), {creator, BOB, CAROL, US})
            servers = {server_of(user_id): 1 for user_id in room.joined_members}
            self.assertEqual(dict(room.shown.servers), servers)
            await self.assert_state(self.factory.state())
            await self.assert_as_stored()
            self.assertEqual(await self.shown(), [self.factory.head.event_id])

    async def test_the_join_is_told_once_and_is_all_that_the_timeline_has(self) -> None:
        room = await self.adopt()
        await self.db.write(lambda txn: None)
        added = [change.event.event_id for change in self.told if isinstance(change, EventAdded)]
        self.assertEqual(added, [self.factory.head.event_id])
        self.assertIsNone(await self.db.read(find_event, room.record, self.factory.create.event_id))

    async def test_memberships_and_state_are_in_the_tables_from_that_position_on(self) -> None:
        room = await self.adopt()
        (stay,) = await self.db.read(load_memberships, US)
        self.assertEqual((stay.membership, stay.stream), ("join", room.recent[0].stream))
        self.assertEqual([each.room_id for each in await self.db.read(load_memberships, BOB)], [room.room_id])
        state = await self.db.read(load_state_at, room.record, stay.stream)
        self.assertEqual({key: held.event_id for key, held in state.items()}, self.factory.ids())
        self.assertEqual(await self.db.read(load_state_at, room.record, stay.stream - 1), {})

    async def test_ours_can_speak_at_once(self) -> None:
        await self.adopt()
        event = await self.say()
        self.assertIsNone(self.factory.rule_against(event, self.factory.events[event.prev_events[0]]))
        await self.assert_as_stored()

    async def test_what_is_not_signed_by_its_sender_is_left_out(self) -> None:
        state = list(self.factory.state().values())
        *good, spoilt = state
        join = self.factory.join(US)
        forged = spoil(spoilt, signatures={})
        room = await self.adoption.adopt(self.factory.version, [*good, forged], self.peer.chain(state), join)
        self.assertEqual(set(room.shown.state), {*[each.key for each in good], join.key})

    async def test_an_event_that_its_auth_events_do_not_allow_is_not_in_the_state(self) -> None:
        topic = self.factory.build("m.room.topic", {"topic": "mine"}, sender=BOB, state_key="")
        self.assertEqual(self.factory.rule_against(topic), "level")
        self.factory.append(topic)
        room = await self.adopt()
        self.assertNotIn(topic.key, room.shown.state)
        self.assertEqual(len(room.shown.state), len(self.factory.state()) - 1)

    async def test_a_join_without_signature_makes_no_room(self) -> None:
        state = list(self.factory.state().values())
        join = self.factory.join(US)
        adopting = self.adoption.adopt(self.factory.version, state, self.peer.chain(state), spoil(join, signatures={}))
        with self.assertRaises(BadSignature):
            await adopting
        self.assertIsNone(await self.rooms.load(join.room_id))

    async def test_a_state_without_its_create_event_makes_no_room(self) -> None:
        state = [event for event in self.factory.state().values() if event.type != "m.room.create"]
        join = self.factory.join(US)
        with self.assertRaises(BadAnswer):
            await self.adoption.adopt(self.factory.version, state, self.peer.chain([*state, join]), join)
        self.assertIsNone(await self.rooms.load(join.room_id))

    async def test_a_room_that_all_of_ours_left_is_known_anew_with_what_happened_meanwhile(self) -> None:
        await self.adopt()
        left = await self.put("m.room.member", {"membership": "leave"}, US)
        self.factory.send("m.room.topic", {"topic": "later"}, sender=ALICE, state_key="")
        self.factory.leave(CAROL)
        before = await self.shown()
        room = await self.adopt()
        self.assertIn(left.event_id, before)
        await self.assert_state(self.factory.state())
        await self.assert_as_stored()
        self.assertEqual(await self.shown(), [*before, self.factory.head.event_id])
        self.assertEqual(ids([held.event for held in room.shown.extremities]), [self.factory.head.event_id])

    async def test_a_second_adoption_of_the_same_join_changes_nothing(self) -> None:
        state = list(self.factory.state().values())
        join = self.factory.join(US)
        chain = self.peer.chain([*state, join])
        await self.adoption.adopt(self.factory.version, state, chain, join)
        self.restart()
        room = await self.adoption.adopt(self.factory.version, state, chain, join)
        self.assertEqual([held.event_id for held in room.recent], [join.event_id])
