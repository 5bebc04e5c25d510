"""Events of other servers: accepted, rejected, soft-failed or dropped, and what people are shown of it."""

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from federation.ed25519 import SigningKey
from federation.event import Event
from federation.ids import ServerName, UserID
from federation.signatures import sign_event
from homeserver.policy import Expel, Invite, Join, Leave, SendEvent, SetState
from homeserver.rooms.receive.intake import Turns
from homeserver.storage.changes import EventAdded, StateRewritten
from homeserver.storage.events import Standing
from homeserver.storage.received import find_known
from homeserver.storage.sync import load_state_at
from tests.kit.databases import on_both_databases
from tests.kit.receiving import US, ReceivingCase, ids
from tests.kit.rooms import ALICE, BOB, CAROL, POWER_LEVELS, versions

TOPIC = ("m.room.topic", "")


class Case(ReceivingCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.adopt()
        self.begun = await self.shown()

    async def new(self) -> list[str]:
        """What is shown since the room is known."""
        return [event_id for event_id in await self.shown() if event_id not in self.begun]

    async def standing(self, event: Event) -> Standing | None:
        known = await self.db.read(find_known, [event.event_id])
        return known[event.event_id].standing if known else None

    def topic(self, text: str, **more: Any) -> Event:
        return self.factory.send("m.room.topic", {"topic": text}, sender=ALICE, state_key="", **more)


@on_both_databases
class Following(Case):
    async def test_messages_and_state_that_follow_are_shown_in_order_and_stored(self) -> None:
        events = [self.factory.message(BOB), self.topic("one"), self.factory.message(CAROL)]
        self.assertEqual(await self.receive(*events), {})
        self.assertEqual(await self.new(), ids(events))
        await self.assert_state(self.factory.state())
        await self.assert_as_stored()

    async def test_a_transaction_is_one_commit(self) -> None:
        events = [self.factory.message(BOB, str(number)) for number in range(50)]
        commits: list[int] = []
        self.db.on_batch = lambda units, seconds: commits.append(units)
        self.assertEqual(await self.receive(*events), {})
        await self.db.write(lambda txn: None)
        self.assertEqual(len(commits), 2)
        self.assertEqual(await self.new(), ids(events))

    async def test_what_came_already_is_taken_and_not_shown_again(self) -> None:
        message = self.factory.message(BOB)
        self.assertEqual(await self.receive(message), {})
        self.assertEqual(await self.receive(message), {})
        self.restart()
        self.assertEqual(await self.receive(message), {})
        self.assertEqual(await self.new(), [message.event_id])

    async def test_ours_and_theirs_follow_each_other(self) -> None:
        said = [self.factory.message(BOB)]
        await self.receive(said[0])
        for number in range(3):
            said.append(await self.say())
            said.append(self.factory.message(CAROL, str(number)))
            self.assertEqual(await self.receive(said[-1]), {})
        self.assertEqual(await self.new(), ids(said))
        await self.assert_as_stored()

    async def test_memberships_change_who_is_there(self) -> None:
        dave = UserID("@dave:four.example")
        await self.receive(self.factory.join(dave), self.factory.leave(CAROL))
        room = await self.room()
        self.assertEqual(set(room.joined_members), {ALICE, BOB, US, dave})
        self.assertEqual(set(room.shown.servers), {"one.example", "two.example", "four.example", "parta.test"})
        await self.assert_as_stored()

    async def test_every_room_version_receives(self) -> None:
        for version in versions(2):
            self.begin(version, creator=UserID(f"@alice:one{version}.example"))
            await self.adopt()
            message = self.factory.message(BOB)
            self.assertEqual(await self.receive(message), {})
            self.assertIn(message.event_id, await self.shown())


@on_both_databases
class Judging(Case):
    async def test_an_event_that_the_rules_forbid_is_rejected_kept_and_not_shown(self) -> None:
        topic = self.factory.build("m.room.topic", {"topic": "mine"}, sender=BOB, state_key="")
        self.assertEqual(self.factory.rule_against(topic), "level")
        self.assertIn(topic.event_id, await self.receive(topic))
        self.assertEqual(await self.standing(topic), Standing.REJECTED)
        self.assertEqual(await self.new(), [])
        await self.assert_as_stored()

    async def test_what_follows_a_rejected_event_is_judged_without_it(self) -> None:
        kept = self.factory.state()
        topic = self.factory.build("m.room.topic", {"topic": "mine"}, sender=BOB, state_key="")
        self.factory.append(topic)
        self.factory._states[topic.event_id] = kept  # what honest servers have there
        message = self.factory.message(CAROL)
        outcomes = await self.receive(topic, message)
        self.assertEqual(set(outcomes), {topic.event_id})
        self.assertEqual(await self.new(), [message.event_id])
        room = await self.room()
        self.assertEqual(ids([held.event for held in room.head.extremities]), [message.event_id])
        await self.assert_state(kept)
        await self.assert_as_stored()

    async def test_an_event_whose_signature_is_wrong_is_dropped(self) -> None:
        good, message = self.factory.message(BOB), self.factory.message(BOB)
        forged = {**message.pdu(), "signatures": good.pdu()["signatures"]}
        outcomes = await self.receiver.receive_all(BOB.partition(":")[2], [good.pdu(), forged])  # type: ignore[arg-type]
        self.assertIsNone(outcomes[good.event_id])
        self.assertIsNotNone(outcomes[message.event_id])
        self.assertIsNone(await self.standing(message))
        self.assertEqual(await self.new(), [good.event_id])

    async def test_an_event_whose_hash_is_wrong_is_taken_redacted(self) -> None:
        message = self.factory.message(BOB, "before")
        changed = {**message.pdu(), "content": {"msgtype": "m.text", "body": "after"}}
        outcomes = await self.receiver.receive_all(message.origin, [changed])
        self.assertEqual(outcomes, {message.event_id: None})
        self.assertEqual(await self.new(), [message.event_id])
        self.assertEqual((await self.room()).recent[-1].event.content, {})

    async def test_an_event_that_evades_a_ban_is_soft_failed(self) -> None:
        before = self.factory.head
        ban = self.factory.ban(ALICE, BOB)
        await self.receive(ban)
        evading = self.factory.message(BOB, after=before)
        self.assertIn(evading.event_id, await self.receive(evading))
        self.assertEqual(await self.standing(evading), Standing.SOFT_FAILED)
        self.assertEqual(await self.new(), [ban.event_id])
        ours = await self.say()
        self.assertEqual(ours.prev_events, (ban.event_id,))
        await self.assert_as_stored()

    async def test_what_the_policy_does_not_want_is_soft_failed(self) -> None:
        self.policy.refuse(SendEvent)
        message = self.factory.message(BOB)
        topic = self.topic("allowed", after=message)
        self.assertEqual(set(await self.receive(message, topic)), {message.event_id})
        self.assertEqual(await self.standing(message), Standing.SOFT_FAILED)
        self.assertEqual(await self.new(), [topic.event_id])
        asked = [(type(act), act.by) for act in self.policy.asked if act.by is not None]
        self.assertEqual(asked, [(SendEvent, BOB), (SetState, ALICE)])
        await self.assert_as_stored()

    async def test_every_move_is_asked_for_as_what_it_is(self) -> None:
        dave, eve = UserID("@dave:four.example"), UserID("@eve:four.example")
        factory = self.factory
        events = [
            factory.join(dave),
            factory.kick(ALICE, dave),
            factory.invite(ALICE, eve),
            factory.leave(eve),
            factory.ban(ALICE, eve),
            factory.kick(ALICE, eve),
        ]
        self.assertEqual(await self.receive(*events), {})
        kinds = [type(act) for act in self.policy.asked if act.by is not None]
        self.assertEqual(kinds, [Join, Join, Expel, Invite, Leave, Expel, Expel])  # a newcomer is asked about ahead

    async def test_of_two_events_with_one_id_the_first_counts(self) -> None:
        self.begin("2", creator=UserID("@alice:one2.example"))
        await self.adopt()
        first = self.factory.build("m.room.message", {"body": "first"}, sender=BOB, opaque="same")
        second = self.factory.build("m.room.message", {"body": "second"}, sender=BOB, opaque="same")
        self.assertEqual(first.event_id, second.event_id)
        await self.receive(first, second)
        await self.receive(second)
        self.assertEqual((await self.room()).recent[-1].event.content, {"body": "first"})

    async def test_the_rooms_policy_server_is_heeded(self) -> None:
        key = SigningKey("policy_server", b"p" * 32)
        content = {"via": "three.example", "public_keys": {"ed25519": key.verify_key.encode()}}
        policy = self.factory.send("m.room.policy", content, sender=ALICE, state_key="")
        self.assertEqual(await self.receive(policy), {})
        signed = sign_event(self.factory.message(BOB), ServerName("three.example"), key)
        self.assertEqual(await self.receive(signed), {})
        self.peer.signs = key
        asked = self.factory.message(BOB)
        self.assertEqual(await self.receive(asked), {})
        self.peer.signs = SigningKey("policy_server", b"q" * 32)
        unsigned = self.factory.message(BOB)
        self.assertIn(unsigned.event_id, await self.receive(unsigned))
        self.assertEqual(await self.standing(unsigned), Standing.SOFT_FAILED)
        self.assertEqual(await self.new(), ids([policy, signed, asked]))

    async def test_soft_failed_events_may_be_followed(self) -> None:
        before = self.factory.head
        ban = self.factory.ban(ALICE, BOB)
        await self.receive(ban)
        evading = self.factory.message(BOB, after=before)
        await self.receive(evading)
        merge = self.factory.message(CAROL, after=[ban, evading])
        self.assertEqual(await self.receive(merge), {})
        self.assertEqual(await self.new(), ids([ban, merge]))
        await self.assert_state(self.factory.state())
        await self.assert_as_stored()

    async def test_another_create_event_is_not_taken(self) -> None:
        other = type(self.factory)("11", creator=UserID("@mallory:one.example"))
        pdu = {**other.create.pdu(), "room_id": self.factory.room_id}
        self.assertNotEqual(await self.receiver.receive_all(other.create.origin, [pdu]), {"": None})
        self.assertEqual(await self.new(), [])

    async def test_nonsense_is_not_taken_and_harms_nothing_beside_it(self) -> None:
        message = self.factory.message(BOB)
        nonsense: list[Any] = [
            None,
            1,
            "x",
            [],
            {},
            {"room_id": 1},
            {"room_id": "!no:where"},
            {"room_id": message.room_id},
        ]
        outcomes = await self.receiver.receive_all(message.origin, [*nonsense, message.pdu()])
        self.assertEqual(outcomes, {message.event_id: None})


@on_both_databases
class Forking(Case):
    async def test_two_branches_of_messages_are_two_ends_until_one_of_ours_joins_them(self) -> None:
        before = self.factory.head
        one, two = (self.factory.message(who, after=before) for who in (BOB, CAROL))
        self.assertEqual(await self.receive(one), {})
        self.assertEqual(await self.receive(two), {})
        await self.assert_as_stored()
        self.restart()
        ours = await self.say()
        self.assertEqual(set(ours.prev_events), {one.event_id, two.event_id})
        await self.assert_as_stored()

    async def test_state_of_two_branches_is_resolved_as_others_do(self) -> None:
        before = self.factory.head
        one = self.topic("one", after=before)
        name = self.factory.send("m.room.name", {"name": "x"}, sender=ALICE, state_key="", after=before)
        two = self.topic("two", after=name)
        for event in (one, name, two):
            self.assertEqual(await self.receive(event), {})
        await self.assert_state(self.factory.state([one, two]))
        await self.assert_as_stored()
        merge = self.factory.message(BOB, after=[one, two])
        self.assertEqual(await self.receive(merge), {})
        await self.assert_state(self.factory.state())
        await self.assert_as_stored()

    async def test_what_resolution_changes_is_told_and_logged(self) -> None:
        before = self.factory.head
        first = self.topic("first", after=before)
        await self.receive(first)
        later = self.topic("later", after=before)
        await self.db.write(lambda txn: None)
        self.told.clear()
        await self.receive(later)
        await self.db.write(lambda txn: None)
        winner = self.factory.state([first, later])[TOPIC]
        rewritten = [change for change in self.told if isinstance(change, StateRewritten)]
        self.assertEqual(len(rewritten), int(winner.event_id == first.event_id))
        room = await self.room()
        state = await self.db.read(load_state_at, room.record, self.db.position)
        self.assertEqual(state[TOPIC].event_id, winner.event_id)

    async def test_one_of_ours_who_is_put_out_on_another_branch_is_out(self) -> None:
        before = self.factory.head
        message = self.factory.message(BOB, after=before)
        await self.receive(message)
        kick = self.factory.kick(ALICE, US, after=before)
        await self.db.write(lambda txn: None)
        self.told.clear()
        self.assertEqual(await self.receive(kick), {})
        await self.db.write(lambda txn: None)
        self.assertNotIn(US, (await self.room()).joined_members)
        self.assertEqual([c.event.event_id for c in self.told if isinstance(c, EventAdded)], [kick.event_id])
        await self.assert_as_stored()

    async def test_power_that_was_taken_on_one_branch_is_not_used_on_another(self) -> None:
        levels = self.factory.set_levels(users={BOB: 50})
        await self.receive(levels)
        taken = self.factory.set_levels(users={BOB: 0}, after=levels)
        abused = self.factory.send("m.room.topic", {"topic": "mine"}, sender=BOB, state_key="", after=levels)
        await self.receive(taken)
        self.assertIn(abused.event_id, await self.receive(abused))
        self.assertEqual(await self.standing(abused), Standing.SOFT_FAILED)
        merge = self.factory.message(CAROL, after=[taken, abused])
        self.assertEqual(await self.receive(merge), {})
        await self.assert_state(self.factory.state())
        self.assertEqual((await self.room()).state(*POWER_LEVELS), taken)

    async def test_events_of_ours_meanwhile_do_no_harm(self) -> None:
        before = self.factory.head
        one = self.topic("one", after=before)
        two = self.topic("two", after=before)
        await self.receive(one)
        receiving = self.receiver.receive_all(two.origin, [two.pdu()])
        waiting: Deferred[Any] = ensureDeferred(receiving)
        ours = await self.say()
        await waiting
        again = await self.say("again")
        self.assertEqual(await self.standing(ours), Standing.ACCEPTED)
        self.assertIn(ours.event_id, {*again.prev_events, ours.event_id})
        await self.assert_as_stored()


class Waiting(ReceivingCase):
    async def test_a_turn_is_given_on(self) -> None:
        turns = Turns()
        room_id = self.factory.create.room_id
        async with turns.of(room_id):
            pass
        async with turns.of(room_id):
            pass
        self.assertEqual(turns.taken, 0)
