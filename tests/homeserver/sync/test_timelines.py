"""Timelines and state of rooms one is in: limits, tokens, filters, visibility, lazily loaded members."""

from typing import Any

from tests.kit.databases import on_both_databases
from tests.kit.houses import ids
from tests.kit.syncs import LAZY, SyncCase, Syncer, bodies, joined, timeline


def limit(number: int, **room: Any) -> dict[str, Any]:
    return {"room": {"timeline": {"limit": number}, **room}}


def members(answer: Any, room: str, section: str = "state") -> set[str]:
    """Whose memberships an answer's state tells."""
    events = joined(answer, room).get(section, {}).get("events", [])
    return {event["state_key"] for event in events if event["type"] == "m.room.member"}


def state(answer: Any, room: str, section: str = "state") -> dict[str, Any]:
    """What an answer's state tells, but for members, by type."""
    events = joined(answer, room).get(section, {}).get("events", [])
    return {event["type"]: event["content"] for event in events if event["type"] != "m.room.member"}


@on_both_databases
class Timelines(SyncCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat")
        await self.bob.join(self.room)

    async def fresh(self, who: Syncer, **query: Any) -> Any:
        """A first sync, on a device of its own."""
        return await self.person(who.user_id[1:].partition(":")[0], "FRESH").sync(**query)

    async def name_room(self) -> None:
        """Give the room a name, and let the last to be heard be Bob: then nobody's membership is told for a hero's."""
        await self.alice.put(self.room, "m.room.name", {"name": "One"})
        await self.bob.say(self.room)

    async def test_a_timeline_holds_the_last_events_and_says_where_to_go_on(self) -> None:
        for at in range(5):
            await self.alice.say(self.room, str(at))
        answer = await self.bob.sync(filter=limit(2))
        assert bodies(answer, self.room) == ["3", "4"]
        told = joined(answer, self.room)["timeline"]
        assert told["limited"] is True
        earlier = await self.bob.bodies(self.room, **{"from": told["prev_batch"]})
        assert earlier == ["2", "1", "0"]

    async def test_a_gap_is_closed_between_two_tokens(self) -> None:
        await self.bob.sync()
        since = self.bob.since
        for at in range(5):
            await self.alice.say(self.room, str(at))
        told = joined(await self.bob.sync(filter=limit(2)), self.room)["timeline"]
        assert told["limited"] is True
        assert await self.bob.bodies(self.room, **{"from": told["prev_batch"], "to": since}) == ["2", "1", "0"]

    async def test_a_timeline_that_fits_is_not_limited(self) -> None:
        await self.bob.sync()
        for at in range(2):
            await self.alice.say(self.room, str(at))
        assert joined(await self.bob.sync(filter=limit(2)), self.room)["timeline"]["limited"] is False
        whole = joined(await self.fresh(self.bob, filter=limit(100)), self.room)
        assert whole["timeline"]["limited"] is False
        assert "state" not in whole

    async def test_state_changed_in_a_gap_is_told(self) -> None:
        await self.bob.sync()
        await self.alice.put(self.room, "m.room.name", {"name": "One"})
        await self.alice.put(self.room, "m.room.name", {"name": "Two"})
        await self.alice.put(self.room, "m.room.topic", {"topic": "x"})
        await self.alice.say(self.room)
        answer = await self.bob.sync(filter=limit(2))
        assert state(answer, self.room) == {"m.room.name": {"name": "Two"}}
        assert [event["type"] for event in timeline(answer, self.room)] == ["m.room.topic", "m.room.message"]

    async def test_the_state_is_that_before_the_timeline(self) -> None:
        await self.alice.put(self.room, "m.room.name", {"name": "One"})
        await self.alice.say(self.room)
        await self.alice.put(self.room, "m.room.name", {"name": "Two"})
        answer = await self.fresh(self.bob, filter=limit(2))
        assert state(answer, self.room)["m.room.name"] == {"name": "One"}

    async def test_the_state_after_is_that_behind_the_timeline(self) -> None:
        await self.alice.put(self.room, "m.room.name", {"name": "One"})
        await self.alice.say(self.room)
        await self.alice.put(self.room, "m.room.name", {"name": "Two"})
        answer = await self.bob.sync(filter=limit(2), use_state_after=True)
        assert state(answer, self.room, "state_after")["m.room.name"] == {"name": "Two"}
        assert "state" not in joined(answer, self.room)
        await self.alice.say(self.room)
        answer = await self.bob.sync(filter=limit(2), use_state_after=True)
        assert joined(answer, self.room)["state_after"] == {"events": []}
        await self.alice.put(self.room, "m.room.name", {"name": "Three"})
        answer = await self.bob.sync(filter=limit(2), use_state_after=True)
        assert state(answer, self.room, "state_after") == {"m.room.name": {"name": "Three"}}

    async def test_state_that_the_filter_keeps_out_of_the_timeline_is_told_as_state(self) -> None:
        await self.bob.sync()
        await self.alice.put(self.room, "m.room.name", {"name": "One"})
        answer = await self.bob.sync(filter={"room": {"timeline": {"types": ["m.room.message"]}}})
        assert state(answer, self.room) == {"m.room.name": {"name": "One"}}
        assert "timeline" not in joined(answer, self.room)

    async def test_full_state_is_all_state_and_only_new_events(self) -> None:
        await self.alice.put(self.room, "m.room.name", {"name": "One"})
        await self.bob.sync()
        event_id = await self.alice.say(self.room)
        answer = await self.bob.sync(full_state=True, timeout=30_000)
        assert {"m.room.create", "m.room.name"} <= set(state(answer, self.room))
        assert ids(timeline(answer, self.room)) == [event_id]
        again = await self.bob.sync(full_state=True)
        assert "m.room.create" in state(again, self.room)

    async def test_a_room_is_told_whole_to_who_comes_into_it(self) -> None:
        await self.carol.sync()
        await self.carol.join(self.room)
        answer = await self.carol.sync(filter=limit(1))
        assert joined(answer, self.room)["timeline"]["limited"] is True
        assert "m.room.create" in state(answer, self.room)

    async def test_rooms_are_left_out_as_the_filter_says(self) -> None:
        other = await self.alice.create(preset="public_chat", name="Other")
        await self.bob.join(other)
        for wanted in ({"rooms": [other]}, {"not_rooms": [self.room]}):
            answer = await self.fresh(self.bob, filter={"room": wanted})
            assert set(answer["rooms"]["join"]) == {other}
        answer = await self.fresh(self.bob, filter={"room": {"timeline": {"not_rooms": [other]}}})
        assert timeline(answer, other) == []
        assert timeline(answer, self.room) != []
        assert state(answer, other) != {}

    async def test_events_are_chosen_by_type_and_sender(self) -> None:
        await self.alice.say(self.room, "a")
        await self.bob.say(self.room, "b")
        await self.alice.send(self.room, "org.example.x", {"url": "mxc://x/y"})
        for part, expected in (
            ({"types": ["m.room.message"]}, ["a", "b"]),
            ({"types": ["m.room.mess*"], "senders": [self.bob.user_id]}, ["b"]),
            ({"types": ["m.room.message"], "not_senders": [self.bob.user_id]}, ["a"]),
            ({"contains_url": True}, [""]),
        ):
            answer = await self.fresh(self.bob, filter={"room": {"timeline": part}})
            assert [event["content"].get("body", "") for event in timeline(answer, self.room)] == expected

    async def test_a_rare_type_is_searched_for_behind_the_others(self) -> None:
        await self.alice.send(self.room, "org.example.x", {})
        for _ in range(120):
            await self.alice.say(self.room)
        answer = await self.bob.sync(filter={"room": {"timeline": {"types": ["org.example.x"]}}})
        assert [event["type"] for event in timeline(answer, self.room)] == ["org.example.x"]

    async def test_who_joined_sees_nothing_from_before_where_history_is_for_members(self) -> None:
        await self.alice.put(self.room, "m.room.history_visibility", {"history_visibility": "joined"})
        await self.alice.say(self.room, "before")
        await self.carol.join(self.room)
        await self.alice.say(self.room, "after")
        for answer in (await self.carol.sync(), await self.carol.sync(full_state=True)):
            assert "before" not in bodies(answer, self.room)
        assert bodies(await self.fresh(self.carol), self.room) == ["after"]
        self.restart()
        assert bodies(await self.fresh(self.carol), self.room) == ["after"]
        assert bodies(await self.fresh(self.bob), self.room) == ["before", "after"]

    async def test_who_was_invited_sees_from_then_on_where_history_is_for_the_invited(self) -> None:
        await self.alice.put(self.room, "m.room.history_visibility", {"history_visibility": "invited"})
        await self.alice.say(self.room, "before")
        await self.alice.invite(self.room, self.carol)
        await self.alice.say(self.room, "between")
        await self.carol.join(self.room)
        assert bodies(await self.fresh(self.carol), self.room) == ["between"]

    async def test_messages_of_the_ignored_are_left_out_and_their_state_is_not(self) -> None:
        await self.carol.join(self.room)
        await self.bob.sync()
        await self.bob.ignore(self.carol)
        await self.bob.sync()
        await self.carol.say(self.room, "you!")
        name = await self.carol.rename(self.room, "Caro")
        answer = await self.bob.sync()
        assert ids(timeline(answer, self.room)) == [name]
        assert bodies(await self.fresh(self.bob), self.room) == []
        await self.bob.ignore()
        await self.carol.say(self.room, "again")
        assert bodies(await self.bob.sync(), self.room) == ["again"]

    async def test_a_redaction_comes_and_what_it_redacts_is_bare(self) -> None:
        event_id = await self.alice.say(self.room, "secret")
        await self.bob.sync()
        redaction = await self.alice.redact(self.room, event_id, reason="oops")
        (event,) = timeline(await self.bob.sync(), self.room)
        assert (event["event_id"], event["redacts"]) == (redaction, event_id)
        for again in (False, True):
            if again:
                self.restart()
            bare = next(e for e in timeline(await self.fresh(self.bob), self.room) if e["event_id"] == event_id)
            assert bare["content"] == {}
            assert bare["unsigned"]["redacted_because"]["event_id"] == redaction

    async def test_what_is_redacted_in_a_room_loaded_anew_is_not_shown_from_the_log(self) -> None:
        event_id = await self.alice.say(self.room, "secret")
        first = await self.bob.sync(filter=limit(1))
        await self.alice.say(self.room, "more")
        self.doors.rooms._forget(self.doors.rooms._live[self.room])  # as another room would make it do
        await self.alice.redact(self.room, event_id)
        self.bob.since = None
        await self.bob.sync()
        self.bob.since = f"s{int(first['next_batch'][1:].partition('_')[0]) - 1}"
        answer = await self.bob.sync(filter=limit(10))
        assert "secret" not in bodies(answer, self.room)

    async def test_a_transaction_id_is_for_the_device_that_sent(self) -> None:
        await self.bob.sync()
        tablet = self.person("alice", "TABLET")
        await self.alice.sync()
        await tablet.sync()
        await self.alice.say(self.room, txn="mine")
        for who, expected in ((self.alice, "mine"), (tablet, None), (self.bob, None)):
            (event,) = timeline(await who.sync(), self.room)
            assert event["unsigned"].get("transaction_id") == expected

    async def test_unsigned_tells_age_membership_and_what_was_replaced(self) -> None:
        await self.alice.put(self.room, "m.room.name", {"name": "One"})
        await self.bob.sync()
        before = await self.alice.put(self.room, "m.room.name", {"name": "Two"})
        after = await self.alice.put(self.room, "m.room.name", {"name": "Three"})
        self.clock.advance(2)
        event = timeline(await self.bob.sync(), self.room)[-1]
        assert event["event_id"] == after
        assert event["unsigned"]["age"] == 2000
        assert event["unsigned"]["membership"] == "join"
        assert event["unsigned"]["replaces_state"] == before
        assert event["unsigned"]["prev_content"] == {"name": "Two"}

    async def test_what_was_replaced_is_told_to_who_joined_later_where_that_may_be_seen(self) -> None:
        rule = "m.room.history_visibility"
        for first, second, expected in (
            ("shared", None, {"name": "One"}),
            ("joined", None, None),
            ("joined", "shared", None),
            ("shared", "joined", {"name": "One"}),
        ):
            room = await self.alice.create(preset="public_chat")
            await self.alice.put(room, rule, {"history_visibility": first})
            await self.alice.put(room, "m.room.name", {"name": "One"})
            if second is not None:
                await self.alice.put(room, rule, {"history_visibility": second})
            await self.carol.join(room)
            await self.carol.sync()
            changed = await self.alice.put(room, "m.room.name", {"name": "Two"})
            event = timeline(await self.carol.sync(), room)[-1]
            assert event["event_id"] == changed
            found = await self.carol.event(room, changed)
            for unsigned in (event["unsigned"], found["unsigned"]):
                assert unsigned.get("prev_content") == expected, (first, second)

    async def test_the_membership_is_that_at_the_event(self) -> None:
        await self.alice.say(self.room, "before")
        await self.alice.invite(self.room, self.carol)
        await self.alice.say(self.room, "invited")
        await self.carol.join(self.room)
        await self.alice.say(self.room, "there")
        for again in (False, True):
            if again:
                self.restart()
            told = {e["content"].get("body"): e["unsigned"] for e in timeline(await self.fresh(self.carol), self.room)}
            assert [told[body]["membership"] for body in ("before", "invited", "there")] == ["leave", "invite", "join"]

    async def test_events_take_the_form_that_is_asked_for(self) -> None:
        await self.alice.say(self.room, "hi")
        answer = await self.bob.sync(filter={"event_fields": ["content.body", "type"], **limit(1)})
        assert timeline(answer, self.room) == [{"content": {"body": "hi"}, "type": "m.room.message"}]
        answer = await self.fresh(self.bob, filter={"event_format": "federation", **limit(1)})
        assert {"auth_events", "hashes", "signatures", "unsigned"} <= timeline(answer, self.room)[0].keys()

    async def test_members_are_counted_and_name_a_room_without_name(self) -> None:
        await self.alice.invite(self.room, self.carol)
        told = joined(await self.bob.sync(), self.room)["summary"]
        assert told["m.joined_member_count"] == 2
        assert told["m.invited_member_count"] == 1
        assert told["m.heroes"] == [self.alice.user_id, self.carol.user_id]
        await self.alice.say(self.room)
        assert "summary" not in joined(await self.bob.sync(), self.room)
        await self.alice.put(self.room, "m.room.name", {"name": "One"})
        assert "m.heroes" not in joined(await self.bob.sync(), self.room)["summary"]

    async def test_those_who_left_name_a_room_where_nobody_else_is(self) -> None:
        await self.alice.leave(self.room)
        for again in (False, True):
            if again:
                self.restart()
            told = joined(await self.fresh(self.bob), self.room)["summary"]
            assert (told["m.joined_member_count"], told["m.heroes"]) == (1, [self.alice.user_id])

    async def test_only_members_who_matter_are_loaded_lazily(self) -> None:
        await self.alice.put(self.room, "m.room.name", {"name": "One"})
        for person in (self.carol, self.dave):
            await person.join(self.room)
        await self.carol.say(self.room)
        answer = await self.bob.sync(filter={"room": {"timeline": {"limit": 1}, **LAZY["room"]}})
        assert members(answer, self.room) == {self.bob.user_id, self.carol.user_id}

    async def test_a_member_who_was_sent_is_not_sent_again_unless_asked_for(self) -> None:
        await self.name_room()
        wanted = {"room": {"timeline": {"limit": 1}, **LAZY["room"]}}
        await self.bob.sync(filter=wanted)
        await self.alice.say(self.room)
        assert members(await self.bob.sync(filter=wanted), self.room) == {self.alice.user_id}
        await self.alice.say(self.room)
        assert members(await self.bob.sync(filter=wanted), self.room) == set()
        redundant = {"room": {**wanted["room"], "state": {**LAZY["room"]["state"], "include_redundant_members": True}}}
        await self.alice.say(self.room)
        assert members(await self.bob.sync(filter=redundant), self.room) == {self.alice.user_id}

    async def test_a_member_is_sent_again_when_the_answer_was_lost(self) -> None:
        await self.name_room()
        wanted = {"room": {"timeline": {"limit": 1}, **LAZY["room"]}}
        await self.bob.sync(filter=wanted)
        since = self.bob.since
        await self.alice.say(self.room)
        for _ in range(2):
            self.bob.since = since
            assert members(await self.bob.sync(filter=wanted), self.room) == {self.alice.user_id}

    async def test_a_gap_tells_of_members_who_changed_in_it(self) -> None:
        await self.name_room()
        wanted = {"room": {"timeline": {"limit": 1}, **LAZY["room"]}}
        await self.carol.join(self.room)
        await self.bob.sync(filter=wanted)
        await self.carol.rename(self.room, "Caro")
        await self.dave.join(self.room)
        await self.alice.say(self.room)
        answer = await self.bob.sync(filter=wanted)
        assert members(answer, self.room) == {self.alice.user_id, self.carol.user_id, self.dave.user_id}

    async def test_old_tokens_outlive_a_restart(self) -> None:
        await self.bob.sync()
        event_id = await self.alice.say(self.room)
        self.restart()
        assert ids(timeline(await self.bob.sync(), self.room)) == [event_id]
        await self.alice.say(self.room, "more")
        assert bodies(await self.bob.sync(), self.room) == ["more"]

    async def test_a_token_of_the_future_or_of_nobody_is_refused(self) -> None:
        for since in ("s999999_1", "s1_1_999999", "x", "s", "s-1", "t1-1", "s1_2_3_4"):
            assert await self.bob.refused("GET", "/sync", since=since) == (400, "M_INVALID_PARAM")
        assert await self.bob.refused("GET", "/sync", filter="{") == (400, "M_INVALID_PARAM")
        assert await self.bob.refused("GET", "/sync", filter="7") == (404, "M_NOT_FOUND")
        assert await self.bob.refused("GET", "/sync", set_presence="away") == (400, "M_INVALID_PARAM")
        assert await self.bob.refused("GET", "/sync", timeout="soon") == (400, "M_INVALID_PARAM")

    async def test_a_stored_filter_is_used_by_its_id(self) -> None:
        await self.alice.say(self.room)
        path = f"/user/{self.bob.user_id}/filter"
        filter_id = (await self.bob.ok("POST", path, limit(1)))["filter_id"]
        for _ in range(2):
            assert len(timeline(await self.fresh(self.bob, filter=filter_id), self.room)) == 1
