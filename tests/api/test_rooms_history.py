"""Reading rooms: /messages, /context, /event, /members, /joined_members."""

from typing import Any
from urllib.parse import quote

from homeserver.policy import Hidden, SeeRoom
from tests.kit.databases import on_both_databases
from tests.kit.houses import HouseCase, Person, ids

FORBIDDEN = (403, "M_FORBIDDEN")
RULE = "m.room.history_visibility"


class HistoryCase(HouseCase):
    async def room(self, *others: Person, visibility: str = "shared", **more: Any) -> str:
        rule = {"type": RULE, "content": {"history_visibility": visibility}}
        room = await self.alice.create(preset="public_chat", initial_state=[rule], **more)
        for person in others:
            await person.join(room)
        return room

    async def whole(self, person: Person, room: str, direction: str, size: int = 3, **query: object) -> list[Any]:
        """All of a room's history, page by page."""
        events: list[Any] = []
        where: dict[str, object] = {}
        for _ in range(200):
            page = await person.messages(room, dir=direction, limit=size, **where, **query)
            self.assertLessEqual(len(page["chunk"]), size)
            events += page["chunk"]
            if "end" not in page:
                return events
            where = {"from": page["end"]}
        raise AssertionError("the pages have no end")

    async def assert_hidden(self, person: Person, path: str) -> None:
        reply = await person.call("GET", path)
        self.assertEqual((reply.status, reply.json), (403, {"errcode": "M_FORBIDDEN", "error": Hidden().why}), path)


@on_both_databases
class Pages(HistoryCase):
    async def test_pages_go_through_all_of_history_both_ways(self) -> None:
        room = await self.room(self.bob)
        for number in range(10):
            await self.alice.say(room, str(number))
        forwards = await self.whole(self.bob, room, "f")
        backwards = await self.whole(self.bob, room, "b")
        self.assertEqual(ids(forwards), ids(backwards)[::-1])
        self.assertEqual(forwards[0]["type"], "m.room.create")
        self.assertEqual([e["content"]["body"] for e in forwards[-10:]], [str(n) for n in range(10)])
        for size in (1, 7, 17, 18, 100):
            self.assertEqual(ids(await self.whole(self.bob, room, "f", size)), ids(forwards), size)
            self.assertEqual(ids(await self.whole(self.bob, room, "b", size)), ids(backwards), size)

    async def test_a_page_that_ends_with_the_first_event_is_the_last(self) -> None:
        room = await self.room()
        size = len(await self.whole(self.alice, room, "b"))
        self.assertNotIn("end", await self.alice.messages(room, limit=size))
        self.assertIn("end", await self.alice.messages(room, limit=size - 1))

    async def test_a_token_means_the_same_place_both_ways(self) -> None:
        room = await self.room()
        for number in range(6):
            await self.alice.say(room, str(number))
        page = await self.alice.messages(room, limit=2)
        self.assertEqual(await self.alice.bodies(room, **{"from": page["end"], "limit": 2}), ["3", "2"])
        again = await self.alice.messages(room, dir="f", limit=10, **{"from": page["end"]})
        self.assertEqual([e["content"]["body"] for e in again["chunk"]], ["4", "5"])
        nothing = await self.alice.messages(room, dir="f", **{"from": page["start"]})
        self.assertEqual(nothing["chunk"], [])
        self.assertNotIn("end", nothing)
        await self.alice.say(room, "new")
        more = await self.alice.messages(room, dir="f", **{"from": page["start"]})
        self.assertEqual([e["content"]["body"] for e in more["chunk"]], ["new"])

    async def test_a_page_stops_where_it_is_told(self) -> None:
        room = await self.room()
        for number in range(6):
            await self.alice.say(room, str(number))
        middle = (await self.alice.messages(room, limit=3))["end"]
        stopped = await self.alice.messages(room, limit=50, to=middle)
        self.assertEqual([e["content"]["body"] for e in stopped["chunk"]], ["5", "4", "3"])
        self.assertNotIn("end", stopped)
        ahead = await self.alice.messages(room, dir="f", limit=50, to=middle)
        self.assertEqual(ahead["chunk"][-1]["content"]["body"], "2")
        self.assertNotIn("end", ahead)

    async def test_a_syncs_token_is_a_place(self) -> None:
        room, other = await self.room(), await self.room()
        await self.alice.say(room, "one")
        token = f"s{self.db.position}_5"
        await self.alice.say(other, "x")
        await self.alice.say(room, "two")
        later = f"s{self.db.position}"
        self.assertEqual(await self.alice.bodies(room, **{"from": token}), ["one"])
        self.assertEqual(await self.alice.bodies(room, dir="f", **{"from": token}), ["two"])
        self.assertEqual(await self.alice.bodies(room, **{"from": later, "to": token}), ["two"])

    async def test_what_makes_no_sense_is_refused(self) -> None:
        room = await self.room()
        path = f"/rooms/{room}/messages"
        for query in (
            {"dir": "x"},
            {"from": "x"},
            {"to": "t1"},
            {"limit": "many"},
            {"limit": -1},
            {"filter": "{"},
            {"filter": '{"limit":0}'},
            {"filter": "[]"},
        ):
            found = await self.alice.refused("GET", path, **{"dir": "b", **query})
            self.assertEqual(found, (400, "M_INVALID_PARAM"), query)
        self.assertEqual(await self.alice.refused("GET", path), (400, "M_MISSING_PARAM"))

    async def test_filters_choose(self) -> None:
        room = await self.room(self.bob)
        await self.alice.say(room, "a")
        await self.bob.say(room, "b")
        await self.bob.send(room, "m.sticker", {"url": "mxc://x/y"})

        async def kinds(**wanted: object) -> list[str]:
            return [event["type"] for event in await self.whole(self.alice, room, "b", filter=wanted)]

        self.assertEqual(
            await kinds(types=["m.room.message", "m.sticker"]), ["m.sticker", "m.room.message", "m.room.message"]
        )
        self.assertEqual(await kinds(types=["m.st*"]), ["m.sticker"])
        self.assertEqual(
            await kinds(senders=[self.bob.user_id], not_types=["m.room.member"]), ["m.sticker", "m.room.message"]
        )
        self.assertEqual(await kinds(contains_url=True), ["m.sticker"])
        self.assertEqual(await kinds(types=[]), [])
        self.assertEqual(await kinds(not_rooms=[room]), [])
        self.assertEqual(await kinds(rooms=["!other"]), [])
        self.assertEqual(len(await kinds(rooms=[room])), 10)
        page = await self.alice.messages(room, limit=50, filter={"limit": 1})
        self.assertEqual(len(page["chunk"]), 1)

    async def test_a_filter_that_lets_little_pass_ends_a_page_before_it_is_full(self) -> None:
        room = await self.room()
        first = await self.alice.send(room, "org.rare", {})
        live = await self.doors.rooms.load(room)
        assert live is not None
        from homeserver.rooms.seal import Draft

        drafts = [Draft(type="m.x", sender=self.alice.user_id, content={}) for _ in range(2500)]
        await self.doors.rooms.commit([(live, drafts)])
        wanted = {"types": ["org.rare"]}
        page = await self.alice.messages(room, limit=5, filter=wanted)
        self.assertEqual(page["chunk"], [])
        page = await self.alice.messages(room, limit=5, filter=wanted, **{"from": page["end"]})
        self.assertEqual(ids(page["chunk"]), [first])

    async def test_lazily_loaded_members_are_those_who_speak(self) -> None:
        room = await self.room(self.bob, self.carol)
        await self.bob.say(room, "1")
        wanted = {"lazy_load_members": True, "types": ["m.room.message"]}
        page = await self.alice.messages(room, filter=wanted)
        self.assertEqual([event["state_key"] for event in page["state"]], [self.bob.user_id])
        self.assertNotIn("state", await self.alice.messages(room))
        await self.bob.put(room, "m.room.member", {"membership": "join", "displayname": "Later"}, self.bob.user_id)
        page = await self.alice.messages(room, filter=wanted)
        self.assertEqual(page["state"][0]["content"]["displayname"], "Bob")
        empty = await self.alice.messages(room, filter={"lazy_load_members": True, "types": ["x"]})
        self.assertEqual(empty["state"], [])


@on_both_databases
class Visibility(HistoryCase):
    """Who sees what: the rule of the room, what somebody was, and what they became."""

    async def story(self, visibility: str) -> str:
        """Bob hears: before, invited, joined, gone, back. Each message is called after what bob was."""
        room = await self.room(visibility=visibility)
        await self.alice.say(room, "before")
        await self.alice.invite(room, self.bob)
        await self.alice.say(room, "invited")
        await self.bob.join(room)
        await self.alice.say(room, "joined")
        return room

    async def test_the_joined_see_what_the_rule_says(self) -> None:
        for visibility, expected in [
            ("world_readable", ["before", "invited", "joined"]),
            ("shared", ["before", "invited", "joined"]),
            ("org.unknown", ["before", "invited", "joined"]),
            ("invited", ["invited", "joined"]),
            ("joined", ["joined"]),
        ]:
            room = await self.story(visibility)
            self.assertEqual(await self.bob.bodies(room, dir="f"), expected, visibility)
            self.assertEqual(await self.bob.bodies(room), expected[::-1], visibility)

    async def test_who_has_left_sees_up_to_their_leaving(self) -> None:
        for visibility, expected in [
            ("world_readable", ["before", "invited", "joined", "gone"]),
            ("shared", ["before", "invited", "joined"]),
            ("invited", ["invited", "joined"]),
            ("joined", ["joined"]),
        ]:
            room = await self.story(visibility)
            await self.bob.leave(room)
            await self.alice.say(room, "gone")
            self.assertEqual(await self.bob.bodies(room, dir="f"), expected, visibility)
            if visibility != "world_readable":
                self.assertEqual(await self.bob.bodies(room), expected[::-1], visibility)

    async def test_who_comes_back_sees_the_gap_where_history_is_shared(self) -> None:
        for visibility, expected in [
            ("shared", ["before", "invited", "joined", "gone", "back"]),
            ("invited", ["invited", "joined", "back"]),
            ("joined", ["joined", "back"]),
        ]:
            room = await self.story(visibility)
            await self.bob.leave(room)
            await self.alice.say(room, "gone")
            await self.bob.join(room)
            await self.alice.say(room, "back")
            self.assertEqual(await self.bob.bodies(room, dir="f"), expected, visibility)

    async def test_the_rule_of_the_time_counts(self) -> None:
        room = await self.room(visibility="joined")
        await self.alice.say(room, "closed")
        await self.alice.put(room, RULE, {"history_visibility": "shared"})
        await self.alice.say(room, "open")
        await self.alice.put(room, RULE, {"history_visibility": "joined"})
        await self.alice.say(room, "closed again")
        await self.bob.join(room)
        self.assertEqual(await self.bob.bodies(room), ["open"])
        rules = [
            e["content"][RULE.removeprefix("m.room.")]
            for e in await self.whole(self.bob, room, "f")
            if e["type"] == RULE
        ]
        # a change is seen by whom either side of it lets
        self.assertEqual(rules, ["joined", "shared", "joined"])

    async def test_without_a_rule_history_is_shared(self) -> None:
        room = await self.room(visibility="shared")
        await self.alice.put(room, RULE, {"history_visibility": "org.parta.unheard"})
        await self.alice.say(room, "seen")
        await self.bob.join(room)
        self.assertEqual(await self.bob.bodies(room), ["seen"])

    async def test_ones_own_coming_and_going_is_always_seen(self) -> None:
        room = await self.room(visibility="joined")
        await self.bob.join(room)
        await self.bob.leave(room)
        await self.alice.say(room, "gone")
        events = await self.whole(self.bob, room, "f")
        self.assertEqual(
            [event["content"]["membership"] for event in events if event["type"] == "m.room.member"][-2:],
            ["join", "leave"],
        )
        self.assertEqual(events[-1]["content"], {"membership": "leave"})

    async def test_who_never_joined_sees_nothing_unless_all_may(self) -> None:
        closed, opened = await self.room(visibility="invited"), await self.room(visibility="world_readable")
        for room in (closed, opened):
            await self.alice.say(room, "x")
            await self.alice.invite(room, self.bob)
            await self.alice.invite(room, self.carol)
            await self.carol.leave(room)
        for person in (self.bob, self.carol, self.dave):
            await self.assert_hidden(person, f"/rooms/{closed}/messages?dir=b")
            self.assertEqual(await person.bodies(opened), ["x"])

    async def test_one_reads_from_outside_only_what_was_open_then(self) -> None:
        room = await self.room(visibility="shared")
        await self.alice.say(room, "closed")
        await self.alice.put(room, RULE, {"history_visibility": "world_readable"})
        await self.alice.say(room, "open")
        self.assertEqual(await self.dave.bodies(room), ["open"])
        await self.alice.put(room, RULE, {"history_visibility": "shared"})
        await self.assert_hidden(self.dave, f"/rooms/{room}/messages?dir=b")

    async def test_what_was_replaced_is_told_only_to_who_may_see_it(self) -> None:
        room = await self.room(visibility="joined")
        secret = await self.alice.put(room, "m.room.topic", {"topic": "secret"})
        await self.bob.join(room)
        changed = await self.alice.put(room, "m.room.topic", {"topic": "fine"})
        for _ in range(2):
            unsigned = (await self.bob.event(room, changed))["unsigned"]
            self.assertEqual(unsigned["replaces_state"], secret)
            self.assertNotIn("prev_content", unsigned)
            unsigned = (await self.alice.event(room, changed))["unsigned"]
            self.assertEqual(
                (unsigned["prev_content"], unsigned["prev_sender"]), ({"topic": "secret"}, self.alice.user_id)
            )
            page = await self.bob.messages(room, limit=1)
            self.assertNotIn("prev_content", page["chunk"][0]["unsigned"])
            self.restart()

    async def test_events_say_what_the_reader_was(self) -> None:
        room = await self.story("shared")
        events = await self.whole(self.bob, room, "f")
        said = {e["content"]["body"]: e["unsigned"]["membership"] for e in events if e["type"] == "m.room.message"}
        self.assertEqual(said, {"before": "leave", "invited": "invite", "joined": "join"})

    async def test_a_forged_membership_in_the_past_opens_nothing(self) -> None:
        room = await self.room(visibility="joined")
        await self.bob.join(room)
        forged = {"membership": "leave", "x": {"membership": "join"}}
        await self.bob.put(room, "m.room.member", forged, self.bob.user_id)
        hidden = await self.alice.say(room, "hidden")
        await self.bob.join(room)
        self.assertEqual((await self.bob.call("GET", f"/rooms/{room}/event/{quote(hidden)}")).status, 404)
        self.assertEqual(await self.bob.bodies(room), [])

    async def test_the_policy_is_asked_about_rooms_one_is_not_in(self) -> None:
        room = await self.room(self.bob, visibility="world_readable")
        event_id = await self.alice.say(room)
        await self.bob.leave(room)
        self.policy.refuse(SeeRoom, because=Hidden())
        for person in (self.bob, self.carol):
            for path in (
                "messages?dir=b",
                f"context/{quote(event_id)}",
                f"event/{quote(event_id)}",
                "members",
                "state",
                "aliases",
            ):
                await self.assert_hidden(person, f"/rooms/{room}/{path}")
        self.assertEqual(await self.alice.bodies(room), ["hi"])


@on_both_databases
class Around(HistoryCase):
    async def context(self, person: Person, room: str, event_id: str, **query: object) -> Any:
        return await person.ok("GET", f"/rooms/{room}/context/{quote(event_id, safe='')}", **query)

    async def test_an_event_with_what_lies_around_it(self) -> None:
        room = await self.room(self.bob)
        sent = [await self.alice.say(room, str(number)) for number in range(9)]
        found = await self.context(self.bob, room, sent[4], limit=4)
        self.assertEqual(found["event"]["event_id"], sent[4])
        self.assertEqual(ids(found["events_before"]), [sent[3], sent[2]])
        self.assertEqual(ids(found["events_after"]), [sent[5], sent[6]])
        before = await self.bob.messages(room, limit=1, **{"from": found["start"]})
        after = await self.bob.messages(room, dir="f", limit=1, **{"from": found["end"]})
        self.assertEqual((ids(before["chunk"]), ids(after["chunk"])), ([sent[1]], [sent[7]]))

    async def test_limits_odd_none_and_at_the_ends(self) -> None:
        room = await self.room()
        sent = [await self.alice.say(room, str(number)) for number in range(3)]
        none = await self.context(self.alice, room, sent[1], limit=0)
        self.assertEqual((none["events_before"], none["events_after"]), ([], []))
        self.assertEqual((await self.alice.bodies(room, dir="f", **{"from": none["end"]})), ["2"])
        odd = await self.context(self.alice, room, sent[1], limit=1)
        self.assertEqual((ids(odd["events_before"]), ids(odd["events_after"])), ([], [sent[2]]))
        last = await self.context(self.alice, room, sent[2])
        self.assertEqual(last["events_after"], [])
        nothing = await self.alice.messages(room, dir="f", **{"from": last["end"]})
        self.assertEqual(nothing["chunk"], [])

    async def test_the_state_is_that_at_the_last_event(self) -> None:
        room = await self.room(name="one")
        first = await self.alice.say(room)
        await self.alice.put(room, "m.room.name", {"name": "two"})
        for limit, name in ((0, "one"), (1, "two"), (10, "two")):
            state = (await self.context(self.alice, room, first, limit=limit))["state"]
            names = [event["content"]["name"] for event in state if event["type"] == "m.room.name"]
            self.assertEqual(names, [name])

    async def test_a_filter_chooses_around_but_not_the_event_itself(self) -> None:
        room = await self.room(self.bob, self.carol)
        await self.bob.say(room, "x")
        event_id = await self.alice.send(room, "org.x", {})
        wanted = {"types": ["m.room.message", "m.room.member"], "lazy_load_members": True}
        found = await self.context(self.alice, room, event_id, filter=wanted)
        self.assertEqual(found["event"]["type"], "org.x")
        self.assertEqual({event["type"] for event in found["events_before"]}, {"m.room.message", "m.room.member"})
        found = await self.context(self.alice, room, event_id, limit=2, filter=wanted)
        members = {event["state_key"] for event in found["state"]}
        self.assertEqual(members, {self.alice.user_id, self.bob.user_id})

    async def test_what_one_may_not_see_is_not_there(self) -> None:
        room, other = await self.room(visibility="joined"), await self.room()
        hidden, elsewhere = await self.alice.say(room), await self.alice.say(other)
        await self.bob.join(room)
        for event_id in (hidden, elsewhere, "$nothing", "nonsense"):
            for what in ("context", "event"):
                path = f"/rooms/{room}/{what}/{quote(event_id, safe='')}"
                reply = await self.bob.call("GET", path)
                self.assertEqual(
                    (reply.status, reply.json), (404, {"errcode": "M_NOT_FOUND", "error": "Event not found"})
                )
        for where in (room, "!nowhere"):
            await self.assert_hidden(self.carol, f"/rooms/{where}/event/{quote(hidden)}")
            await self.assert_hidden(self.carol, f"/rooms/{where}/context/{quote(hidden)}")

    async def test_an_event_is_found_in_memory_and_in_the_tables(self) -> None:
        room = await self.room(self.bob)
        first = await self.alice.say(room, "first")
        for _ in range(2):
            self.assertEqual((await self.bob.event(room, first))["content"]["body"], "first")
            live = await self.doors.rooms.load(room)
            assert live is not None
            live.recent.clear()


@on_both_databases
class Members(HistoryCase):
    async def keys(self, person: Person, room: str, **query: object) -> set[str]:
        chunk = (await person.ok("GET", f"/rooms/{room}/members", **query))["chunk"]
        return {event["state_key"].partition(":")[0][1:] for event in chunk}

    async def test_members_of_each_kind(self) -> None:
        room = await self.room(self.bob, self.carol)
        await self.alice.invite(room, self.dave)
        await self.carol.leave(room)
        self.assertEqual(await self.keys(self.bob, room), {"alice", "bob", "carol", "dave"})
        self.assertEqual(await self.keys(self.bob, room, membership="join"), {"alice", "bob"})
        self.assertEqual(await self.keys(self.bob, room, not_membership="join"), {"carol", "dave"})
        self.assertEqual(await self.keys(self.bob, room, membership="join", not_membership="join"), set())
        self.assertEqual(
            await self.bob.refused("GET", f"/rooms/{room}/members", membership="x"), (400, "M_INVALID_PARAM")
        )

    async def test_members_at_a_point_of_history(self) -> None:
        room = await self.room(self.bob)
        then = f"s{self.db.position}"
        page = await self.alice.messages(room, limit=1)
        await self.carol.join(room)
        for at in (then, page["start"]):
            self.assertEqual(await self.keys(self.bob, room, at=at), {"alice", "bob"})
        self.assertEqual(await self.keys(self.bob, room, at=page["end"]), {"alice"})
        self.assertEqual(await self.keys(self.bob, room, at="s0"), set())
        self.assertEqual(await self.bob.refused("GET", f"/rooms/{room}/members", at="x"), (400, "M_INVALID_PARAM"))

    async def test_who_left_sees_who_was_there(self) -> None:
        room = await self.room(self.bob, self.carol)
        await self.bob.leave(room)
        await self.dave.join(room)
        now = f"s{self.db.position}"
        for query in ({}, {"at": now}):
            self.assertEqual(await self.keys(self.bob, room, membership="join", **query), {"alice", "carol"})
        await self.assert_hidden(self.bob, f"/rooms/{room}/joined_members")

    async def test_joined_members_with_what_they_show(self) -> None:
        room = await self.room(self.bob)
        content = {"membership": "join", "displayname": 7, "avatar_url": "mxc://x/y"}
        await self.bob.put(room, "m.room.member", content, self.bob.user_id)
        found = await self.alice.ok("GET", f"/rooms/{room}/joined_members")
        expected = {self.alice.user_id: {"display_name": "Alice"}, self.bob.user_id: {"avatar_url": "mxc://x/y"}}
        self.assertEqual(found, {"joined": expected})

    async def test_strangers_learn_nothing(self) -> None:
        room = await self.room()
        for where in (room, "!nowhere"):
            for what in ("members", "joined_members"):
                await self.assert_hidden(self.dave, f"/rooms/{where}/{what}")
