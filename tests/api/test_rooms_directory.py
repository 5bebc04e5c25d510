"""The room directory: /publicRooms and /directory/list/room."""

from typing import Any

from homeserver.policy import Hidden, PublishRoom, SeeRoom
from tests.kit.databases import on_both_databases
from tests.kit.houses import SERVER, HouseCase

FORBIDDEN, NOT_FOUND = (403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")


def listed(room: str) -> str:
    return f"/directory/list/room/{room}"


@on_both_databases
class Directory(HouseCase):
    async def find(self, **wanted: Any) -> list[str]:
        found = await self.dave.ok("POST", "/publicRooms", wanted)
        return [room["room_id"] for room in found["chunk"]]

    async def test_a_published_room_shows_what_strangers_may_know(self) -> None:
        room = await self.alice.create(
            visibility="public",
            name="Кружок",
            topic="Роботы",
            room_alias_name="robots",
            creation_content={"type": "org.club"},
            initial_state=[
                {"type": "m.room.avatar", "content": {"url": "mxc://parta.test/r"}},
                {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}},
                {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
            ],
        )
        await self.bob.join(room)
        expected = {
            "room_id": room,
            "name": "Кружок",
            "topic": "Роботы",
            "canonical_alias": f"#robots:{SERVER}",
            "avatar_url": "mxc://parta.test/r",
            "num_joined_members": 2,
            "world_readable": True,
            "guest_can_join": True,
            "join_rule": "public",
            "room_type": "org.club",
        }
        for _ in range(2):
            found = await self.dave.ok("GET", "/publicRooms")
            self.assertEqual(found, {"chunk": [expected], "total_room_count_estimate": 1})
            self.restart()

    async def test_what_is_listed_follows_the_room(self) -> None:
        room = await self.alice.create(visibility="public", name="old")
        await self.bob.join(room)
        await self.alice.put(room, "m.room.name", {"name": "new"})
        self.restart()
        await self.bob.leave(room)
        (entry,) = (await self.dave.ok("GET", "/publicRooms"))["chunk"]
        self.assertEqual((entry["name"], entry["num_joined_members"]), ("new", 1))
        self.assertEqual(await self.find(filter={"generic_search_term": "old"}), [])
        self.assertEqual(await self.find(filter={"generic_search_term": "NEW"}), [room])

    async def test_broken_state_is_left_out(self) -> None:
        room = await self.alice.create(visibility="public")
        for kind in ("m.room.name", "m.room.topic", "m.room.avatar"):
            await self.alice.put(room, kind, {"name": 7, "topic": [], "url": {}})
        (entry,) = (await self.dave.ok("GET", "/publicRooms"))["chunk"]
        self.assertEqual(set(entry), {"room_id", "num_joined_members", "world_readable", "guest_can_join", "join_rule"})

    async def test_a_room_is_listed_by_who_may_name_it_and_taken_out(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        self.assertEqual(await self.dave.ok("GET", listed(room)), {"visibility": "private"})
        self.assertEqual(await self.bob.refused("PUT", listed(room), {"visibility": "public"}), FORBIDDEN)
        self.assertEqual(await self.carol.refused("PUT", listed(room), {}), FORBIDDEN)
        self.policy.refuse(SeeRoom)
        self.assertEqual(await self.carol.refused("PUT", listed(room), {}), NOT_FOUND)
        self.policy.refused.clear()
        await self.alice.ok("PUT", listed(room), {})
        self.assertEqual(await self.find(), [room])
        reply = await self.call("GET", listed(room))
        self.assertEqual(reply.json, {"visibility": "public"})
        await self.alice.ok("PUT", listed(room), {"visibility": "private"})
        await self.alice.put(room, "m.room.name", {"name": "hidden"})
        self.assertEqual(await self.find(), [])
        self.assertEqual(await self.dave.ok("GET", listed(room)), {"visibility": "private"})

    async def test_a_room_that_there_is_not_is_not_found(self) -> None:
        self.assertEqual(await self.alice.refused("GET", listed("!nowhere")), NOT_FOUND)
        self.assertEqual(await self.alice.refused("PUT", listed("!nowhere"), {}), NOT_FOUND)
        room = await self.alice.create()
        self.assertEqual(await self.alice.refused("PUT", listed(room), {"visibility": "x"}), (400, "M_BAD_JSON"))

    async def test_pages_go_both_ways_with_most_members_first(self) -> None:
        rooms = [await self.alice.create(visibility="public", name=str(number)) for number in range(5)]
        for person, joined in ((self.bob, (1, 3)), (self.carol, (3,))):
            for number in joined:
                await person.join(rooms[number])
        expected = [rooms[3], rooms[1], rooms[4], rooms[2], rooms[0]]
        self.assertEqual(await self.find(), expected)
        pages, since = [], None
        for _ in range(3):
            query = {"limit": 2} if since is None else {"limit": 2, "since": since}
            page = await self.dave.ok("GET", "/publicRooms", **query)
            pages.append([room["room_id"] for room in page["chunk"]])
            since = page.get("next_batch")
        self.assertEqual(pages, [expected[:2], expected[2:4], expected[4:]])
        self.assertIsNone(since)
        back = await self.dave.ok("GET", "/publicRooms", limit=2, since=page["prev_batch"])
        self.assertEqual([room["room_id"] for room in back["chunk"]], expected[2:4])
        first = await self.dave.ok("POST", "/publicRooms", {"limit": 2, "since": back["prev_batch"]})
        self.assertEqual([room["room_id"] for room in first["chunk"]], expected[:2])
        self.assertNotIn("prev_batch", first)
        again = await self.dave.ok("POST", "/publicRooms", {"limit": 2, "since": first["next_batch"]})
        self.assertEqual([room["room_id"] for room in again["chunk"]], expected[2:4])

    async def test_rooms_are_found_by_words_and_types(self) -> None:
        space = await self.alice.create(visibility="public", name="Школа №5", creation_content={"type": "m.space"})
        plain = await self.alice.create(visibility="public", topic="100% физика", room_alias_name="physics")
        for wanted, expected in [
            ({"generic_search_term": "школа"}, [space]),
            ({"generic_search_term": "ФИЗИ"}, [plain]),
            ({"generic_search_term": "#physics"}, [plain]),
            ({"generic_search_term": "0%"}, [plain]),
            ({"generic_search_term": "_"}, []),
            ({"generic_search_term": ""}, [plain, space]),
            ({"room_types": ["m.space"]}, [space]),
            ({"room_types": [None]}, [plain]),
            ({"room_types": []}, []),
            ({"room_types": ["m.space", None]}, [plain, space]),
            ({"generic_search_term": "школа", "room_types": [None]}, []),
        ]:
            self.assertEqual(await self.find(filter=wanted), expected, wanted)

    async def test_what_the_policy_hides_is_left_out(self) -> None:
        room = await self.alice.create(visibility="public")
        self.policy.refuse(SeeRoom, because=Hidden())
        self.assertEqual(await self.find(), [])
        absent = await self.bob.call("GET", listed("!nowhere"))
        hidden = await self.bob.call("GET", listed(room))
        self.assertEqual((hidden.status, hidden.json), (absent.status, absent.json))

    async def test_what_could_not_be_written_is_not_listed(self) -> None:
        room = await self.alice.create()
        await self.db.close()
        self.assertGreaterEqual((await self.alice.refused("PUT", listed(room), {}))[0], 500)
        live = self.doors.rooms.find(room)
        assert live is not None
        self.assertFalse(live.published)

    async def test_the_policy_is_asked_before_anything_is_listed(self) -> None:
        room = await self.alice.create()
        self.policy.refuse(PublishRoom)
        self.assertEqual(await self.alice.refused("PUT", listed(room), {}), FORBIDDEN)
        self.policy.refuse(PublishRoom, because=Hidden())
        self.assertEqual(await self.alice.refused("PUT", listed(room), {}), NOT_FOUND)
        self.assertEqual(await self.find(), [])

    async def test_what_makes_no_sense_is_refused(self) -> None:
        for query in ({"since": "x"}, {"limit": "many"}):
            self.assertEqual(await self.alice.refused("GET", "/publicRooms", **query), (400, "M_INVALID_PARAM"), query)
        for body in ({"limit": "1"}, {"filter": []}, {"filter": {"room_types": [7]}}, {"since": 5}):
            self.assertEqual(await self.alice.refused("POST", "/publicRooms", body), (400, "M_BAD_JSON"), body)
        self.assertEqual(await self.alice.refused("GET", "/publicRooms", server="elsewhere.test"), NOT_FOUND)
        self.assertEqual((await self.alice.ok("GET", "/publicRooms", server=SERVER))["chunk"], [])
        self.assertEqual((await self.alice.ok("POST", "/publicRooms"))["chunk"], [])
