"""GET /timestamp_to_event."""

from urllib.parse import quote

from homeserver.policy import Hidden
from tests.kit.databases import on_both_databases
from tests.kit.houses import HouseCase, Person

NOT_FOUND = (404, "M_NOT_FOUND")


def path(room: str) -> str:
    return f"/_matrix/client/v1/rooms/{quote(room)}/timestamp_to_event"


@on_both_databases
class Finding(HouseCase):
    async def test_the_closest_event_in_a_direction_is_found(self) -> None:
        room = await self.alice.create()
        sent = []
        for _ in range(3):
            self.clock.advance(10)
            sent.append((await self.alice.say(room), self.now_ms()))
        for at, (event_id, ts) in enumerate(sent):
            exact = {"event_id": event_id, "origin_server_ts": ts}
            for way in "fb":
                self.assertEqual(await self.alice.ok("GET", path(room), ts=ts, dir=way), exact)
            if at:
                self.assertEqual(await self.alice.ok("GET", path(room), ts=sent[at - 1][1] + 1, dir="f"), exact)
            if at < 2:
                self.assertEqual(await self.alice.ok("GET", path(room), ts=sent[at + 1][1] - 1, dir="b"), exact)
        create = await self.alice.ok("GET", path(room), ts=0, dir="f")
        self.assertEqual((await self.alice.event(room, create["event_id"]))["type"], "m.room.create")
        self.assertEqual(await self.alice.refused("GET", path(room), ts=0, dir="b"), NOT_FOUND)
        self.assertEqual(await self.alice.refused("GET", path(room), ts=sent[2][1] + 1, dir="f"), NOT_FOUND)

    async def test_of_events_at_one_time_the_nearest_in_the_room_is_found(self) -> None:
        room = await self.alice.create()
        self.clock.advance(1)
        first, last = await self.alice.say(room), await self.alice.say(room)
        now = self.now_ms()
        self.assertEqual((await self.alice.ok("GET", path(room), ts=now, dir="f"))["event_id"], first)
        self.assertEqual((await self.alice.ok("GET", path(room), ts=now, dir="b"))["event_id"], last)

    async def test_only_what_one_may_see_is_found(self) -> None:
        rule = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
        room = await self.alice.create(preset="public_chat", initial_state=[rule])
        self.clock.advance(1)
        before = self.now_ms()
        for _ in range(60):
            await self.alice.say(room)
        self.clock.advance(1)
        await self.bob.join(room)
        found = await self.bob.ok("GET", path(room), ts=before, dir="f")
        event = await self.bob.event(room, found["event_id"])
        self.assertEqual((event["type"], event["state_key"]), ("m.room.member", self.bob.user_id))
        earlier = await self.bob.ok("GET", path(room), ts=self.now_ms() - 500, dir="b")
        self.assertLess(earlier["origin_server_ts"], before)


class NotFinding(HouseCase):
    async def test_a_stranger_learns_nothing(self) -> None:
        room = await self.alice.create()
        replies = [await self.bob.call("GET", path(each), ts=0, dir="f") for each in (room, "!none:parta.test")]
        expected = (403, {"errcode": "M_FORBIDDEN", "error": Hidden().why})
        self.assertEqual([(reply.status, reply.json) for reply in replies], [expected] * 2)

    async def test_bad_parameters_are_refused(self) -> None:
        room = await self.alice.create()
        await self.refuse(self.alice, room, "M_MISSING_PARAM", {"dir": "f"}, {"ts": 1})
        await self.refuse(
            self.alice, room, "M_INVALID_PARAM", {"ts": "x", "dir": "f"}, {"ts": 1, "dir": "x"}, {"ts": -1, "dir": "f"}
        )

    async def refuse(self, person: Person, room: str, errcode: str, *queries: dict[str, object]) -> None:
        for query in queries:
            self.assertEqual(await person.refused("GET", path(room), **query), (400, errcode), query)
