"""Attempts to turn a room's state back, by forks, by gaps, by what is told of the past.

Known from elsewhere as state resets: whoever may only speak makes others forget a ban, a topic or who has power.
"""

from collections.abc import Sequence

import msgspec

from federation.event import Event
from federation.ids import EventID, UserID
from tests.kit.elsewhere import Said
from tests.kit.hostile import HostileCase
from tests.kit.rooms import POWER_LEVELS

MADE_UP = EventID("$" + "x" * 43)
DEEP = 2**53 - 1


class Case(HostileCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """Something has happened that mallory would undo: eve was banned, mallory's power taken, the topic set."""
        await super().setUp()
        self.factory.join(self.eve)
        self.given = self.factory.set_levels(users={self.mallory: 50})
        before = [self.factory.events[each] for each in list(self.factory.events)[-2:]]
        self.old = self.factory.send("m.room.topic", {"topic": "old"}, sender=self.mallory, state_key="")
        self.ban = self.factory.ban(self.alice, self.eve)
        self.taken = self.factory.set_levels(users={self.mallory: 0})
        self.topic = self.factory.send("m.room.topic", {"topic": "new"}, sender=self.alice, state_key="")
        assert await self.tell(*before, self.old, self.ban, self.taken, self.topic, by=self.west) == {}
        self.state = self.factory.ids()

    async def assert_state_stays(self) -> None:
        """The state is what honest servers have, in memory and in storage."""
        for room in (await self.room(), await self.reloaded()):
            assert {key: held.event_id for key, held in room.shown.state.items()} == self.state
            assert room.membership(self.eve) == "ban"
        self.assert_no_errors()

    def say(self, text: str, after: Event | Sequence[Event], by: UserID | None = None) -> Event:  # type: ignore[override]
        """A message on a branch; the history of the honest goes on without it."""
        head = self.factory.head
        event = self.factory.build("m.room.message", {"body": text}, sender=by or self.mallory, after=after)
        self.factory.append(event, after)
        self.factory.head = head
        return event


class Forks(Case):
    """Branches from before."""

    async def test_many_branches_from_before_do_not_push_out_what_happened_since(self) -> None:
        for number in range(45):
            await self.tell(self.say(str(number), self.old))
        await self.assert_state_stays()
        assert len((await self.room()).head.extremities) <= 20
        await self.us.send(self.room_id, "ours")
        await self.assert_state_stays()

    async def test_many_branches_with_states_of_their_own_do_not_either(self) -> None:
        for number in range(45):
            head = self.factory.head
            event = self.factory.build_member(
                self.mallory, self.mallory, "join", after=self.old, content={"displayname": str(number)}
            )
            self.factory.append(event, self.old)
            self.factory.head = head
            await self.tell(event)
        for room in (await self.room(), await self.reloaded()):
            assert room.membership(self.eve) == "ban"
            assert room.state(*POWER_LEVELS) == self.taken
            assert room.state("m.room.topic") == self.topic
        assert len((await self.room()).head.extremities) <= 20
        await self.us.send(self.room_id, "ours")
        assert (await self.room()).membership(self.eve) == "ban"

    async def test_power_that_was_taken_since_is_not_used_from_before(self) -> None:
        for kind, content in (
            ("m.room.topic", {"topic": "mine"}),
            ("m.room.power_levels", {"users": {self.mallory: 50}, "ban": 0, "kick": 0}),
            ("m.room.join_rules", {"join_rule": "invite"}),
        ):
            event = self.factory.build(kind, content, sender=self.mallory, state_key="", after=self.old)
            self.factory.events[event.event_id] = event
            if event.event_id not in await self.tell(event):
                await self.assert_soft_failed(event)
        await self.assert_state_stays()

    async def test_a_ban_made_from_before_by_who_has_no_power_any_more_is_not_one(self) -> None:
        ban = self.factory.build_member(self.mallory, self.bob, "ban", after=self.old)
        self.factory.events[ban.event_id] = ban
        assert await self.tell(ban) == {}
        await self.assert_soft_failed(ban)
        await self.assert_state_stays()

    async def test_a_join_from_before_the_ban_does_not_bring_the_banned_back(self) -> None:
        again = self.factory.build_member(self.eve, self.eve, "join", after=self.old, content={"displayname": "e"})
        self.factory.append(again, self.old)
        assert await self.tell(again) == {}
        await self.assert_soft_failed(again)
        merge = self.factory.build("m.room.message", {"body": "x"}, sender=self.mallory, after=[self.topic, again])
        self.factory.append(merge, [self.topic, again])
        await self.tell(merge)
        room = await self.room()
        assert room.membership(self.eve) == "ban"
        assert room.state(*POWER_LEVELS) == self.taken

    async def test_branches_that_meet_and_part_again_and_again_end_where_the_rules_say(self) -> None:
        ends: list[Event] = [self.topic]
        for number in range(6):
            fork = self.say(f"fork {number}", self.old)
            merge = self.say(f"merge {number}", [ends[-1], fork])
            await self.tell(fork, merge)
            ends.append(merge)
        await self.assert_state_stays()


class Gaps(Case):
    """States that evil tells of, where it left a gap."""

    async def lie(self, state: Sequence[Event], event: Event) -> dict[str, str]:
        """Send an event that follows what nobody has, and tell that state of it."""
        chain = {each for event in state for each in event.auth_events}
        answer = {"pdu_ids": [each.event_id for each in state], "auth_chain_ids": list(chain)}
        self.evil.said["get_missing_events"] = Said(body=b'{"events": []}')
        self.evil.said["state_ids"] = Said(body=msgspec.json.encode(answer))
        self.factory.events[event.event_id] = event
        self.factory._states[event.event_id] = {}
        return await self.tell(event)

    async def test_an_old_state_told_of_behind_a_gap_brings_nothing_back(self) -> None:
        old = self.factory.state(self.old)
        hidden = self.say("hidden", self.old)
        event = self.factory.build(
            "m.room.message", {"body": "x"}, sender=self.mallory, after=hidden, prev_events=(MADE_UP,)
        )
        assert await self.lie(list(old.values()), event) == {}
        await self.assert_state_stays()
        await self.us.send(self.room_id, "ours")
        await self.assert_state_stays()

    async def test_the_banned_do_not_come_back_through_a_gap(self) -> None:
        old = self.factory.state(self.old)
        event = self.factory.build(
            "m.room.message", {"body": "x"}, sender=self.eve, after=self.old, prev_events=(MADE_UP,)
        )
        assert await self.lie(list(old.values()), event) == {}
        await self.assert_soft_failed(event)
        await self.assert_state_stays()

    async def test_power_does_not_come_back_through_a_gap(self) -> None:
        old = self.factory.state(self.old)
        event = self.factory.build(
            "m.room.topic", {"topic": "mine"}, sender=self.mallory, state_key="", after=self.old, prev_events=(MADE_UP,)
        )
        assert await self.lie(list(old.values()), event) == {}
        await self.assert_soft_failed(event)
        await self.assert_state_stays()

    async def test_a_state_of_almost_nothing_takes_nothing_away(self) -> None:
        some = [event for key, event in self.factory.state(self.old).items()
                if key in (("m.room.create", ""), ("m.room.member", self.mallory))]  # fmt: skip
        event = self.factory.build(
            "m.room.message", {"body": "x"}, sender=self.mallory, after=self.old, prev_events=(MADE_UP,)
        )
        assert await self.lie(some, event) == {}
        await self.assert_state_stays()

    async def test_what_lies_behind_a_gap_of_the_greatest_depth_does_not_make_honest_events_old(self) -> None:
        state = list(self.factory.state().values())
        deep = self.factory.build(
            "m.room.message",
            {"body": "x"},
            sender=self.mallory,
            after=self.topic,
            prev_events=(MADE_UP,),
            depth=2**53 - 1,
        )
        assert await self.lie(state, deep) == {}
        kick = self.factory.build_member(self.alice, self.mallory, "leave", after=self.topic)
        self.factory.append(kick, self.topic)
        self.evil.said["backfill"] = Said(body=msgspec.json.encode({"pdus": [kick.pdu()]}))
        await self.tell(kick)  # evil passes it on, and says that it is an old one
        await self.tell(kick, by=self.west)
        assert (await self.room()).membership(self.mallory) == "leave"
        assert (await self.reloaded()).membership(self.mallory) == "leave"
        assert kick.event_id in [held.event_id for held in (await self.room()).recent]

    async def test_the_banned_do_not_speak_as_if_that_were_from_long_ago(self) -> None:
        deep = self.factory.build(
            "m.room.message", {"body": "x"}, sender=self.mallory, after=self.topic, depth=DEEP, prev_events=(MADE_UP,)
        )
        assert await self.lie(list(self.factory.state().values()), deep) == {}
        evading = self.say("evading", self.old, by=self.eve)
        self.evil.said["backfill"] = Said(body=msgspec.json.encode({"pdus": [evading.pdu()]}))
        await self.tell(evading)
        assert evading.event_id not in [held.event_id for held in (await self.room()).recent]
        assert "evading" not in await self.us.texts(self.room_id)
        await self.assert_state_stays()


class GapsBefore12(Gaps):
    """The same with the resolution that rooms had before."""

    version = "10"


class ForksBefore12(Forks):
    """The same with the resolution that rooms had before."""

    version = "10"
