"""The event stream of old: /initialSync, /events, and looking into rooms."""

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from homeserver.sync import events
from tests.kit.people import Person
from tests.kit.server import ServerCase

FORBIDDEN, INVALID = (403, "M_FORBIDDEN"), (400, "M_INVALID_PARAM")
READABLE = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}


def bodies(chunk: Any) -> list[str]:
    return [event["content"]["body"] for event in chunk if event["type"] == "m.room.message"]


class EventsCase(ServerCase):
    configuration: dict[str, Any] = {"registration": {"mode": "open", "guests": True}}

    async def setUp(self) -> None:
        await super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")

    async def guest(self) -> Person:
        return self._person(await self.call("POST", "/_matrix/client/v3/register?kind=guest", {}))


class Beginning(EventsCase):
    async def test_all_rooms_are_told_at_once(self) -> None:
        room, left = [await self.alice.create_room(preset="public_chat") for _ in range(2)]
        invited = await self.alice.create_room(invite=[self.bob.user_id])
        for place in (room, left):
            await self.bob.join(place)
        for text in ("one", "two", "three"):
            await self.alice.send(room, text)
        await self.bob.leave(left)
        await self.bob.ok("PUT", f"/user/{self.bob.user_id}/account_data/org.note", {"n": 1})
        await self.bob.ok("PUT", f"/user/{self.bob.user_id}/rooms/{room}/account_data/org.note", {"n": 2})
        for archived, expected in ((False, {room, invited}), (True, {room, invited, left})):
            answer = await self.bob.ok("GET", "/initialSync", limit=2, archived=archived)
            rooms = {each["room_id"]: each for each in answer["rooms"]}
            self.assertEqual(set(rooms), expected)
        self.assertIn({"type": "org.note", "content": {"n": 1}}, answer["account_data"])
        self.assertIsInstance(answer["presence"], list)
        shown = rooms[room]
        self.assertEqual((shown["membership"], bodies(shown["messages"]["chunk"])), ("join", ["two", "three"]))
        self.assertEqual(shown["account_data"], [{"type": "org.note", "content": {"n": 2}}])
        self.assertIn("m.room.create", [event["type"] for event in shown["state"]])
        self.assertEqual(rooms[left]["membership"], "leave")
        invitation = rooms[invited]["invite"]
        self.assertEqual((invitation["state_key"], invitation["content"]["membership"]), (self.bob.user_id, "invite"))
        page = await self.bob.ok("GET", f"/rooms/{room}/messages", dir="b", **{"from": shown["messages"]["start"]})
        self.assertEqual(bodies(page["chunk"]), ["one"])

    async def test_messages_to_the_device_wait_for_a_sync(self) -> None:
        token = (await self.bob.ok("GET", "/initialSync"))["end"]
        message = {"messages": {self.bob.user_id: {self.bob.device_id: {"n": 1}}}}
        await self.alice.ok("PUT", "/sendToDevice/org.note/1", message)
        token = (await self.bob.ok("GET", "/events", **{"from": token}))["end"]
        self.bob.since = (await self.bob.ok("GET", "/events", **{"from": token}))["end"]
        told = await self.bob.sync()
        self.assertEqual([event["content"] for event in told["to_device"]["events"]], [{"n": 1}])


class Listening(EventsCase):
    async def test_events_come_as_they_happen(self) -> None:
        room = await self.alice.create_room(preset="public_chat")
        await self.bob.join(room)
        token = (await self.bob.ok("GET", "/initialSync"))["end"]
        waiting = Deferred.fromCoroutine(self.bob.ok("GET", "/events", timeout=30_000, **{"from": token}))
        event_id = await self.alice.send(room, "hi")
        answer = await waiting
        (event,) = [each for each in answer["chunk"] if each["type"] == "m.room.message"]
        self.assertEqual((event["event_id"], event["room_id"], answer["start"]), (event_id, room, token))
        again = await self.bob.ok("GET", "/events", **{"from": answer["end"]})
        self.assertEqual(bodies(again["chunk"]), [])

    async def test_invitations_and_typing_are_told(self) -> None:
        room = await self.alice.create_room(preset="public_chat")
        await self.bob.join(room)
        token = (await self.bob.ok("GET", "/initialSync"))["end"]
        invited = await self.alice.create_room(invite=[self.bob.user_id])
        await self.alice.ok("PUT", f"/rooms/{room}/typing/{self.alice.user_id}", {"typing": True, "timeout": 9000})
        chunk = (await self.bob.ok("GET", "/events", **{"from": token}))["chunk"]
        told = {(event["type"], event.get("room_id")) for event in chunk}
        self.assertLessEqual({("m.typing", room), ("m.room.member", invited)}, told)

    async def test_without_a_token_it_begins_now(self) -> None:
        room = await self.alice.create_room()
        await self.alice.send(room, "before")
        self.assertEqual(bodies((await self.alice.ok("GET", "/events"))["chunk"]), [])

    async def test_bad_questions_are_refused(self) -> None:
        for query in ({"from": "x"}, {"from": "s999999999_1"}, {"timeout": "soon"}):
            self.assertEqual(await self.alice.refused("GET", "/events", **query), INVALID)
        self.assertEqual(await self.alice.refused("GET", "/initialSync", limit="x"), INVALID)

    async def test_one_event_is_found_wherever_it_is(self) -> None:
        room = await self.alice.create_room()
        event_id = await self.alice.send(room, "hi")
        path = f"/events/{quote(event_id, safe='')}"
        self.assertEqual((await self.alice.ok("GET", path))["content"]["body"], "hi")
        for person, where in ((self.bob, path), (self.alice, "/events/%24none")):
            self.assertEqual(await person.refused("GET", where), (404, "M_NOT_FOUND"))


class Peeking(EventsCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.patch(events, "LOOK_S", 0.01)
        self.room = await self.alice.create_room(initial_state=[READABLE], visibility="public")
        await self.alice.send(self.room, "before")

    async def test_anybody_looks_into_a_readable_room_and_is_told_what_comes(self) -> None:
        for person in (self.bob, await self.guest(), self.alice):
            shown = await person.ok("GET", f"/rooms/{self.room}/initialSync", limit=3)
            self.assertEqual((shown["room_id"], shown["visibility"]), (self.room, "public"))
            self.assertEqual(shown.get("membership"), "join" if person is self.alice else None)
            self.assertEqual(bodies(shown["messages"]["chunk"])[-1:], ["before"] if person is self.bob else ["now"])
            token = shown["messages"]["end"]
            query = {"room_id": self.room, "timeout": 20_000, "from": token}
            waiting = Deferred.fromCoroutine(person.ok("GET", "/events", **query))
            await self.alice.send(self.room, "now")
            answer = await waiting
            self.assertEqual(bodies(answer["chunk"]), ["now"])
            again = await person.ok("GET", "/events", room_id=self.room, **{"from": answer["end"]})
            self.assertEqual(again["chunk"], [])

    async def test_what_lies_far_back_is_read_from_the_tables(self) -> None:
        token = (await self.bob.ok("GET", f"/rooms/{self.room}/initialSync"))["messages"]["end"]
        await self.alice.send(self.room, "one")
        await self.restart()
        answer = await self.bob.ok("GET", "/events", room_id=self.room, **{"from": token})
        self.assertEqual(bodies(answer["chunk"]), ["one"])

    async def test_a_room_that_closes_is_closed_to_who_listens(self) -> None:
        token = (await self.bob.ok("GET", f"/rooms/{self.room}/initialSync"))["messages"]["end"]
        waiting = Deferred.fromCoroutine(
            self.bob.refused("GET", "/events", room_id=self.room, timeout=20_000, **{"from": token})
        )
        await self.alice.set_state(self.room, "m.room.history_visibility", {"history_visibility": "shared"})
        self.assertEqual(await waiting, FORBIDDEN)

    async def test_closed_rooms_are_as_none(self) -> None:
        closed = await self.alice.create_room(preset="public_chat")
        for room in (closed, "!none:parta.test"):
            for person in (self.bob, await self.guest()):
                self.assertEqual(await person.refused("GET", f"/rooms/{room}/initialSync"), FORBIDDEN)
                self.assertEqual(await person.refused("GET", "/events", room_id=room), FORBIDDEN)

    async def test_who_left_sees_the_room_as_it_was(self) -> None:
        room = await self.alice.create_room(preset="public_chat", name="then")
        await self.bob.join(room)
        await self.alice.send(room, "then")
        await self.bob.leave(room)
        await self.alice.send(room, "later")
        await self.alice.set_state(room, "m.room.name", {"name": "later"})
        shown = await self.bob.ok("GET", f"/rooms/{room}/initialSync")
        self.assertEqual((shown["membership"], bodies(shown["messages"]["chunk"])), ("leave", ["then"]))
        names = [event["content"]["name"] for event in shown["state"] if event["type"] == "m.room.name"]
        self.assertEqual(names, ["then"])
        self.assertEqual((await self.bob.ok("GET", "/events", room_id=room))["chunk"], [])


class PeekingOnPostgreSQL(Peeking):
    dialect = "postgresql"
