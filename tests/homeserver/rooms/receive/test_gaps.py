"""What is missing is fetched, as far as bounds allow; who lies about it changes nothing."""

from dataclasses import replace
from itertools import cycle
from typing import Any

from federation.errors import PeerRefused
from federation.event import Event
from federation.ids import EventID, UserID
from homeserver.rooms.backfill import Backfill
from homeserver.storage.database import Txn
from homeserver.storage.events import Standing, load_page
from homeserver.storage.received import find_known
from homeserver.sync.filters import parse_filter
from homeserver.sync.stored import choose_stored
from homeserver.sync.views import Ask
from tests.kit.databases import on_both_databases
from tests.kit.receiving import US, ReceivingCase, ids
from tests.kit.rooms import ALICE, BOB, CAROL


class Case(ReceivingCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.before = [self.factory.message(BOB, f"before {number}") for number in range(5)]
        await self.adopt()
        self.begun = await self.shown()

    async def new(self) -> list[str]:
        return [event_id for event_id in await self.shown() if event_id not in self.begun]

    async def standings(self, *events: Event) -> list[Standing | None]:
        known = await self.db.read(find_known, ids(events))  # type: ignore[arg-type]  # they are event IDs
        return [known[each.event_id].standing if each.event_id in known else None for each in events]

    def messages(self, count: int) -> list[Event]:
        return [self.factory.message(BOB, str(number)) for number in range(count)]

    async def paged(self) -> list[str]:
        """All of the timeline, the newest first, as /messages has it."""
        room = await self.room()

        def read(txn: Txn) -> list[str]:
            return [held.event_id for held in load_page(txn, room.record, (2**62, 2**62), 1000, backwards=True)]

        return await self.db.read(read)


def refuse(true: Any) -> Any:
    """No answer: the server does not know what it is asked."""
    raise PeerRefused(404, "M_UNRECOGNIZED", "what?", {})


@on_both_databases
class Missing(Case):
    async def test_missing_events_are_fetched_and_shown_in_order(self) -> None:
        events = self.messages(5)
        self.assertEqual(await self.receive(events[-1]), {})
        self.assertEqual(await self.new(), ids(events))
        self.assertEqual(self.peer.asked["state_ids"], 0)
        await self.assert_as_stored()

    async def test_state_among_the_missing_counts(self) -> None:
        topic = self.factory.send("m.room.topic", {"topic": "x"}, sender=ALICE, state_key="")
        left = self.factory.leave(CAROL)
        last = self.factory.message(BOB)
        self.assertEqual(await self.receive(last), {})
        self.assertEqual(await self.new(), ids([topic, left, last]))
        await self.assert_state(self.factory.state())
        await self.assert_as_stored()

    async def test_a_gap_too_long_to_fetch_is_left_and_the_state_behind_it_is_asked_for(self) -> None:
        self.factory.send("m.room.topic", {"topic": "x"}, sender=ALICE, state_key="")
        self.factory.join(UserID("@dave:four.example"))
        events = self.messages(5)
        self.peer.lies["get_missing_events"] = lambda true: {"events": true["events"][-2:]}
        self.assertEqual(await self.receive(events[-1]), {})
        new = await self.new()
        self.assertEqual(new[-1], events[-1].event_id)
        self.assertEqual(self.peer.asked["state_ids"], 0)  # in rounds, it came all the same
        await self.assert_state(self.factory.state())
        await self.assert_as_stored()

    async def test_without_events_between_the_state_is_enough(self) -> None:
        self.factory.send("m.room.topic", {"topic": "x"}, sender=ALICE, state_key="")
        self.factory.join(UserID("@dave:four.example"))
        events = self.messages(3)
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        self.assertEqual(await self.receive(events[-1]), {})
        self.assertEqual(await self.new(), [events[-1].event_id])
        self.assertEqual(self.peer.asked["state_ids"], 1)
        await self.assert_state(self.factory.state())
        await self.assert_as_stored()

    async def test_a_large_unknown_state_is_asked_for_as_a_whole(self) -> None:
        self.factory.join(*[UserID(f"@pupil{number}:four.example") for number in range(60)])
        last = self.factory.message(BOB)
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        self.assertEqual(await self.receive(last), {})
        self.assertEqual((self.peer.asked["state"], self.peer.asked["event"]), (1, 0))
        await self.assert_state(self.factory.state())

    async def test_of_a_server_that_tells_no_ids_the_state_is_asked_for_as_a_whole(self) -> None:
        self.factory.send("m.room.topic", {"topic": "x"}, sender=ALICE, state_key="")
        self.factory.join(UserID("@dave:four.example"))
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        for lie in (refuse, lambda true: {"pdu_ids": [1] * 3}):
            self.peer.lies["state_ids"] = lie
            self.peer.asked.clear()
            self.assertEqual(await self.receive(self.messages(3)[-1]), {})
            self.assertEqual([self.peer.asked[name] for name in ("state_ids", "state", "event")], [1, 1, 0])
            await self.assert_state(self.factory.state())
        await self.assert_as_stored()

    async def test_of_a_server_that_knows_only_what_came_before_the_state_after_that_is_made(self) -> None:
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        for text, rule in (("x", None), ("y", "invite")):
            if rule is not None:
                self.factory.set_join_rule(rule)
            self.factory.send("m.room.topic", {"topic": text}, sender=ALICE, state_key="")  # that is what is missing
            last = self.factory.message(BOB)
            answers = iter([refuse, lambda true: true])
            self.peer.lies["state_ids"] = lambda true, answers=answers: next(answers)(true)
            self.peer.lies["state"] = refuse
            self.assertEqual(await self.receive(last), {})
            await self.assert_state(self.factory.state())
        await self.assert_as_stored()

    async def test_of_a_server_that_knows_only_what_came_before_no_state_is_made_without_that(self) -> None:
        self.peer.lies |= {"get_missing_events": lambda true: {"events": []}, "state": refuse}
        self.factory.send("m.room.topic", {"topic": "x"}, sender=ALICE, state_key="")
        last = self.factory.message(BOB)
        answers = cycle([refuse, lambda true: true])
        self.peer.lies |= {"state_ids": lambda true: next(answers)(true), "event": refuse}
        self.assertIn(last.event_id, await self.receive(last))

    async def test_a_whole_state_of_which_not_all_can_be_had_is_not_taken(self) -> None:
        last = self.messages(3)[-1]
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        self.peer.lies["state_ids"] = refuse
        forged = {**self.factory.state()["m.room.join_rules", ""].pdu(), "content": {}, "signatures": {}}
        for spoiled in ({}, forged, None):
            self.peer.lies["state"] = lambda true, more=spoiled: {**true, "pdus": [*true["pdus"], more]}
            self.assertIn(last.event_id, await self.receive(last))
        del self.peer.lies["state"]
        self.assertEqual(await self.receive(last), {})

    async def test_what_comes_late_fills_the_gap_and_is_shown(self) -> None:
        events = self.messages(3)
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        await self.receive(events[-1])
        self.assertEqual(await self.receive(*events[:-1]), {})
        self.assertEqual(set(await self.new()), set(ids(events)))
        room = await self.room()
        self.assertEqual(ids([held.event for held in room.head.extremities]), [events[-1].event_id])
        await self.assert_as_stored()

    async def be_away(self) -> tuple[list[Event], Event]:
        """Ours goes, Carol speaks and leaves, and ours comes back: what is not heard here, and the coming back."""
        await self.put("m.room.member", {"membership": "leave"}, US)
        unheard = [self.factory.message(CAROL), self.factory.leave(CAROL)]
        await self.adopt()
        back = self.factory.head
        assert back is not None
        return unheard, back

    async def test_what_somebody_who_has_left_since_said_comes_late_and_is_history(self) -> None:
        for is_at_once in (True, False):
            unheard, back = await self.be_away()
            for events in [unheard] if is_at_once else [[each] for each in unheard]:
                self.assertEqual(await self.receive(*events), {})
            self.assertEqual((await self.paged())[:3], ids([back, *reversed(unheard)]))
            self.assertTrue(set(await self.new()).isdisjoint(ids(unheard)))
            await self.assert_state(self.factory.state())
            await self.assert_as_stored()
            self.assertEqual(await self.receive(self.factory.join(CAROL)), {})

    async def test_what_somebody_who_has_left_says_as_if_it_had_been_before_is_no_history(self) -> None:
        before = self.factory.head
        assert before is not None
        _, back = await self.be_away()
        evading = self.factory.message(CAROL, "still here", after=before)
        self.peer.lies["backfill"] = lambda true: {"pdus": [*true["pdus"], evading.pdu()]}
        self.assertIn(evading.event_id, await self.receive(evading))
        self.assertEqual(await self.standings(evading), [Standing.SOFT_FAILED])
        paged = await self.paged()
        self.assertEqual(paged[0], back.event_id)
        self.assertNotIn(evading.event_id, paged)

    async def test_with_nobody_to_ask_the_event_is_not_taken_and_comes_with_the_next(self) -> None:
        events = self.messages(3)
        factory, self.peer.factory = self.peer.factory, type(self.factory)("11")
        self.assertIn(events[-1].event_id, await self.receive(events[-1]))
        self.assertEqual(await self.standings(*events), [None, None, None])
        self.assertEqual(await self.new(), [])
        self.peer.factory = factory
        events.append(self.factory.message(CAROL))
        self.assertEqual(await self.receive(events[-1]), {})
        self.assertEqual(await self.new(), ids(events))

    async def test_a_sync_says_where_events_are_missing(self) -> None:
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        events = self.messages(4)
        await self.receive(events[2])
        await self.receive(events[3])
        self.restart()
        room = await self.room()
        self.assertEqual(room.gap_at, room.recent[-2].stream)
        ask = Ask(
            room_id=room.room_id, user_id=US, filter=parse_filter(b"{}"), since=None, upto=self.db.position, whole=True
        )
        for since in (None, room.recent[0].stream):
            chosen, limited = await self.db.read(choose_stored, room.record, replace(ask, since=since))
            self.assertEqual([seen.held.event_id for seen in chosen], ids(events[2:]))
            self.assertTrue(limited)
        after = replace(ask, since=room.recent[-2].stream)
        chosen, limited = await self.db.read(choose_stored, room.record, after)
        self.assertEqual(([seen.held.event_id for seen in chosen], limited), (ids(events[3:]), False))

    async def test_an_unknown_auth_event_is_fetched(self) -> None:
        before = self.factory.head
        dave = UserID("@dave:four.example")
        join = self.factory.join(dave, after=before)
        message = self.factory.message(dave)
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        self.assertEqual(await self.receive(message), {})
        self.assertEqual(await self.standings(join, message), [Standing.OUTLIER, Standing.ACCEPTED])
        await self.assert_state(self.factory.state())

    async def test_an_outlier_that_comes_at_last_gets_its_place(self) -> None:
        join = self.factory.join(UserID("@dave:four.example"))
        message = self.factory.message(UserID("@dave:four.example"))
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        await self.receive(message)
        self.assertEqual(await self.receive(join), {})
        self.assertEqual(await self.standings(join), [Standing.ACCEPTED])
        self.assertIn(join.event_id, await self.new())
        await self.assert_as_stored()


@on_both_databases
class Lying(Case):
    async def asked_in_vain(self, name: str, lie: Any, event: Event | None = None) -> None:
        """With that lie the event is not taken, and the room is what it was."""
        state = {key: held.event for key, held in (await self.room()).shown.state.items()}
        events = self.messages(3)
        self.peer.lies.setdefault("get_missing_events", lambda true: {"events": []})
        self.peer.lies[name] = lie
        self.assertIn(events[-1].event_id, await self.receive(events[-1]))
        self.assertEqual(await self.new(), [])
        await self.assert_state(state)
        await self.assert_as_stored()

    async def test_a_state_without_create_event(self) -> None:
        create = self.factory.create.event_id
        await self.asked_in_vain(
            "state_ids", lambda true: {**true, "pdu_ids": [e for e in true["pdu_ids"] if e != create]}
        )

    async def test_a_state_with_events_that_there_are_not(self) -> None:
        made_up = EventID("$" + "x" * 43)
        await self.asked_in_vain("state_ids", lambda true: {**true, "pdu_ids": [*true["pdu_ids"], made_up]})

    async def test_a_state_with_two_events_for_one_key(self) -> None:
        one = self.factory.send("m.room.topic", {"topic": "1"}, sender=ALICE, state_key="")
        two = self.factory.send("m.room.topic", {"topic": "2"}, sender=ALICE, state_key="")
        await self.receive(one)
        await self.receive(two)
        self.begun = await self.shown()
        await self.asked_in_vain("state_ids", lambda true: {**true, "pdu_ids": [*true["pdu_ids"], one.event_id]})

    async def test_a_state_that_is_no_list(self) -> None:
        for nonsense in ({}, {"pdu_ids": 1, "auth_chain_ids": []}, {"pdu_ids": [1], "auth_chain_ids": []}):
            self.peer.lies["state_ids"] = lambda true, answer=nonsense: answer
            await self.asked_in_vain("state", lambda true: {**true, "pdus": {}})

    async def test_missing_events_of_another_room_or_of_none_are_not_taken(self) -> None:
        other = type(self.factory)("12", creator=UserID("@mallory:evil.example"))
        events = self.messages(3)
        lie = {"events": [other.create.pdu(), other.message(UserID("@mallory:evil.example")).pdu(), 1, None, {}]}
        self.peer.lies["get_missing_events"] = lambda true: lie
        self.assertEqual(await self.receive(events[-1]), {})
        self.assertEqual(await self.new(), [events[-1].event_id])
        self.assertEqual(self.peer.asked["get_missing_events"], 3)  # of three servers

    async def test_a_gap_before_an_event_of_boundless_depth_makes_no_work_for_those_that_follow(self) -> None:
        self.messages(2)
        deep = self.factory.append(self.factory.build("m.room.message", {}, sender=BOB, depth=2**53 - 1))
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        self.assertEqual(await self.receive(deep), {})
        asked = self.peer.asked.copy()
        for _ in range(3):
            following = self.factory.build("m.room.message", {}, sender=CAROL, depth=2**53 - 1)
            self.assertEqual(await self.receive(self.factory.append(following)), {})
        self.assertEqual(self.peer.asked, asked)
        await self.say()
        await self.assert_as_stored()

    async def test_endless_missing_events_end(self) -> None:
        events = self.messages(60)
        self.peer.lies["get_missing_events"] = lambda true: {"events": true["events"][-1:]}
        self.assertEqual(await self.receive(events[-1]), {})
        self.assertLessEqual(self.peer.asked["get_missing_events"], 10)
        self.assertEqual((await self.new())[-1], events[-1].event_id)

    async def test_a_forged_membership_in_a_fetched_state_is_left_out(self) -> None:
        mallory = UserID("@mallory:evil.example")
        self.factory.set_join_rule("invite")
        await self.receive(self.factory.head)  # type: ignore[arg-type]  # there is one
        self.begun = await self.shown()
        forged = self.factory.build_member(mallory, mallory, "join")
        self.factory.events[forged.event_id] = forged
        last = self.messages(3)[-1]
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        self.peer.lies["state_ids"] = lambda true: {**true, "pdu_ids": [*true["pdu_ids"], forged.event_id]}
        self.assertEqual(await self.receive(last), {})
        self.assertEqual(await self.standings(forged), [Standing.REJECTED])
        self.assertIsNone((await self.room()).membership(mallory))


@on_both_databases
class Backfilling(Case):
    async def fetch(self) -> bool | None:
        room = await self.room()
        return await Backfill(self.world).fetch(room, (0, 2**62))

    async def test_history_from_before_the_join_comes_in_its_order(self) -> None:
        self.assertEqual(await self.fetch(), True)
        order = [*self.factory.events]
        self.assertEqual(await self.paged(), order[::-1])
        self.assertEqual(await self.shown(), self.begun)
        self.assertEqual(await self.fetch(), False)
        await self.assert_as_stored()
        await self.assert_state(self.factory.state())

    async def test_nothing_more_is_told_to_syncs(self) -> None:
        position = self.db.position
        await self.fetch()
        self.assertEqual(self.db.position, position)

    async def test_piece_by_piece(self) -> None:
        self.peer.lies["backfill"] = lambda true: {"pdus": true["pdus"][:3]}
        rounds = 0
        while await self.fetch():
            rounds += 1
        self.assertGreater(rounds, 2)
        self.assertEqual(await self.paged(), [*self.factory.events][::-1])

    async def test_servers_that_give_nothing_are_left_alone_for_a_while(self) -> None:
        self.peer.lies["backfill"] = lambda true: {"pdus": []}
        backfill = Backfill(self.world)
        self.assertIsNone(await backfill.fetch(await self.room(), (0, 2**62)))
        asked = self.peer.asked["backfill"]
        self.assertIsNone(await backfill.fetch(await self.room(), (0, 2**62)))
        self.assertEqual(self.peer.asked["backfill"], asked)

    async def test_a_bomb_is_cut_off(self) -> None:
        def bomb(true: dict[str, Any]) -> dict[str, Any]:
            return {"pdus": [*true["pdus"], *[event.pdu() for event in self.messages(300)]]}

        self.peer.lies["backfill"] = bomb
        await self.fetch()
        self.assertLessEqual(len(await self.paged()), 110)
