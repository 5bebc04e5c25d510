"""GET /hierarchy and /room_summary."""

from typing import Any
from urllib.parse import quote

from homeserver.policy import Hidden, SeeRoom
from homeserver.rooms import spaces
from tests.kit.databases import on_both_databases
from tests.kit.houses import SERVER, HouseCase, Person

V1 = "/_matrix/client/v1"
SPACE = {"creation_content": {"type": "m.space"}}
CHILD = "m.space.child"


def path(room: str) -> str:
    return f"{V1}/rooms/{quote(room)}/hierarchy"


class SpaceCase(HouseCase):
    async def space(self, *children: str, **more: Any) -> str:
        """A public space that holds these rooms, one second apart."""
        space = await self.alice.create(preset="public_chat", **SPACE, **more)
        for child in children:
            await self.add(space, child)
        return space

    async def room(self, name: str = "room", preset: str = "public_chat", **more: Any) -> str:
        return await self.alice.create(preset=preset, name=name, **more)

    async def add(self, space: str, child: str, **content: object) -> None:
        self.clock.advance(1)
        await self.alice.put(space, CHILD, {"via": [SERVER], **content}, child)

    async def walk(self, person: Person, space: str, **query: object) -> list[str]:
        """The IDs of all rooms of a hierarchy, all pages."""
        found: list[str] = []
        while True:
            page = await person.ok("GET", path(space), **query)
            found += [room["room_id"] for room in page["rooms"]]
            if "next_batch" not in page:
                return found
            query["from"] = page["next_batch"]


@on_both_databases
class Hierarchy(SpaceCase):
    async def test_a_tree_is_walked_depth_first(self) -> None:
        leaves = [await self.room(name) for name in "abc"]
        inner = await self.space(leaves[0], leaves[1])
        space = await self.space(inner, leaves[2])
        expected = [space, inner, leaves[0], leaves[1], leaves[2]]
        self.assertEqual(await self.walk(self.bob, space), expected)
        for limit in (1, 2, 3, 5, 50):
            self.assertEqual(await self.walk(self.bob, space, limit=limit), expected)
        self.restart()
        self.assertEqual(await self.walk(self.bob, space), expected)

    async def test_a_room_is_summed_up_with_its_children(self) -> None:
        room = await self.room("Lessons", topic="7Б", room_version="11")
        space = await self.space(room)
        shown, child = (await self.bob.ok("GET", path(space)))["rooms"]
        (event,) = shown["children_state"]
        self.assertEqual(set(event), {"type", "state_key", "content", "sender", "origin_server_ts"})
        self.assertEqual((event["state_key"], event["content"]), (room, {"via": [SERVER]}))
        self.assertEqual((shown["room_type"], shown["num_joined_members"]), ("m.space", 1))
        expected = {
            "room_id": room,
            "name": "Lessons",
            "topic": "7Б",
            "join_rule": "public",
            "num_joined_members": 1,
            "world_readable": False,
            "guest_can_join": False,
            "room_version": "11",
            "children_state": [],
        }
        self.assertEqual(child, expected)


class Order(SpaceCase):
    async def test_children_with_an_order_come_first(self) -> None:
        last, first, plain, wrong, second = [await self.room() for _ in range(5)]
        space = await self.space()
        await self.add(space, plain)
        await self.add(space, wrong, order="ж")
        for room, order in ((last, "b"), (second, "aa"), (first, " ")):
            await self.add(space, room, order=order)
        self.assertEqual(await self.walk(self.bob, space), [space, first, second, last, plain, wrong])

    async def test_equal_ones_are_ordered_by_time_and_then_by_id(self) -> None:
        rooms = sorted([await self.room() for _ in range(3)])
        space = await self.space()
        for room in reversed(rooms[1:]):
            await self.alice.put(space, CHILD, {"via": [SERVER], "order": "x"}, room)
        await self.add(space, rooms[0], order="x")
        self.assertEqual(await self.walk(self.bob, space), [space, rooms[1], rooms[2], rooms[0]])


class Bounds(SpaceCase):
    async def test_circles_end(self) -> None:
        one, two = await self.space(), await self.space()
        await self.add(one, two)
        await self.add(two, one)
        await self.add(one, one)
        self.assertEqual(await self.walk(self.bob, one, limit=1), [one, two])

    async def test_depth_is_limited(self) -> None:
        room = await self.room()
        inner = await self.space(room)
        space = await self.space(inner)
        for depth, expected in ((0, [space]), (1, [space, inner]), (2, [space, inner, room])):
            self.assertEqual(await self.walk(self.bob, space, max_depth=depth), expected)

    async def test_only_suggested_rooms_where_that_is_wanted(self) -> None:
        rooms = [await self.room() for _ in range(3)]
        space = await self.space(rooms[0])
        await self.add(space, rooms[1], suggested=True)
        await self.add(space, rooms[2], suggested="yes")
        self.assertEqual(await self.walk(self.bob, space, suggested_only=True), [space, rooms[1]])
        page = await self.bob.ok("GET", path(space), suggested_only=True)
        self.assertEqual([event["state_key"] for event in page["rooms"][0]["children_state"]], [rooms[1]])

    async def test_what_is_no_child_is_passed_over(self) -> None:
        room, plain = await self.room(), await self.room()
        space = await self.space(plain, "!nowhere:parta.test", "nonsense")
        for content in ({}, {"via": []}, {"via": "parta.test"}, {"via": [1]}):
            await self.alice.put(space, CHILD, content, room)
        await self.alice.put(plain, CHILD, {"via": [SERVER]}, room)
        self.assertEqual(await self.walk(self.bob, space), [space, plain])

    async def test_a_plain_room_is_all_there_is_of_it(self) -> None:
        room = await self.room()
        self.assertEqual(await self.walk(self.bob, room), [room])

    async def test_a_walk_goes_on_as_it_began(self) -> None:
        space = await self.space(await self.room(), await self.room())
        token = (await self.bob.ok("GET", path(space), limit=1, suggested_only=False))["next_batch"]
        again = [await self.bob.ok("GET", path(space), limit=1, **{"from": token}) for _ in range(2)]
        self.assertEqual(again[0]["rooms"], again[1]["rooms"])
        for wrong in ({"suggested_only": True}, {"max_depth": 1}):
            refused = await self.bob.refused("GET", path(space), **{"from": token, **wrong})
            self.assertEqual(refused, (400, "M_INVALID_PARAM"))

    async def test_a_token_is_good_for_who_got_it_only(self) -> None:
        space = await self.space(await self.room(), await self.room())
        other = await self.space()
        token = (await self.bob.ok("GET", path(space), limit=1))["next_batch"]
        for person, room, given in ((self.carol, space, token), (self.bob, other, token), (self.bob, space, "x")):
            refused = await person.refused("GET", path(room), **{"from": given})
            self.assertEqual(refused, (400, "M_INVALID_PARAM"))

    async def test_bad_parameters_are_refused(self) -> None:
        space = await self.space()
        for query in ({"limit": 0}, {"limit": "x"}, {"max_depth": -1}, {"suggested_only": "maybe"}):
            self.assertEqual(await self.bob.refused("GET", path(space), **query), (400, "M_INVALID_PARAM"))

    async def test_a_page_ends_where_too_much_was_looked_at(self) -> None:
        self.patch(spaces, "MOST_LOOKED_AT", 3)
        rooms = [await self.room(preset="private_chat") for _ in range(5)]
        last = await self.room()
        space = await self.space(*rooms, last)
        page = await self.bob.ok("GET", path(space))
        self.assertEqual((len(page["rooms"]), "next_batch" in page), (1, True))
        self.assertEqual(await self.walk(self.bob, space), [space, last])


class WhoLearns(SpaceCase):
    async def room_with(self, rule: object, visibility: str = "shared", version: str = "12") -> str:
        content = {"join_rule": rule} if isinstance(rule, str) else rule
        state = [
            {"type": "m.room.join_rules", "content": content},
            {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}},
        ]
        return await self.alice.create(initial_state=state, room_version=version)

    async def learns(self, person: Person, room: str) -> bool:
        """Whether somebody learns of a room; the three doors agree, and refuse as for a room that there is not."""
        space = await self.space(room)
        listed = room in await self.walk(person, space)
        summary = await person.call("GET", f"{V1}/room_summary/{quote(room)}")
        root = await person.call("GET", path(room))
        self.assertEqual([summary.status == 200, root.status == 200], [listed, listed])
        if not listed:
            none = await person.call("GET", f"{V1}/room_summary/!none:parta.test")
            self.assertEqual((summary.status, summary.json), (404, none.json))
            self.assertEqual((root.status, root.json), (403, {"errcode": "M_FORBIDDEN", "error": Hidden().why}))
        return listed

    async def test_rooms_that_one_may_join_knock_at_or_look_into(self) -> None:
        for rule, visibility in (("public", "shared"), ("knock", "shared"), ("invite", "world_readable")):
            self.assertTrue(await self.learns(self.bob, await self.room_with(rule, visibility)), rule)

    async def test_rooms_that_are_closed(self) -> None:
        for rule, version in (
            ("invite", "12"),
            ("private", "12"),
            ("knock", "6"),
            ("knock_restricted", "9"),
            ({}, "12"),
        ):
            self.assertFalse(await self.learns(self.bob, await self.room_with(rule, version=version)), rule)

    async def test_members_and_the_invited_learn_of_closed_rooms(self) -> None:
        room = await self.room_with("invite")
        await self.alice.invite(room, self.bob)
        self.assertTrue(await self.learns(self.bob, room))
        await self.bob.join(room)
        self.assertTrue(await self.learns(self.bob, room))
        await self.bob.leave(room)
        self.assertFalse(await self.learns(self.bob, room))

    async def test_the_banned_do_not(self) -> None:
        room = await self.room_with("public")
        await self.alice.act("ban", room, self.bob)
        self.assertFalse(await self.learns(self.bob, room))

    async def test_members_of_the_allowing_room_learn_of_a_restricted_one(self) -> None:
        door = await self.alice.create(preset="public_chat")
        allow = [{"type": "m.room_membership", "room_id": door}]
        room = await self.room_with({"join_rule": "restricted", "allow": allow})
        self.assertFalse(await self.learns(self.bob, room))
        await self.bob.join(door)
        self.assertTrue(await self.learns(self.bob, room))
        summary = await self.bob.ok("GET", f"{V1}/room_summary/{quote(room)}")
        self.assertEqual((summary["join_rule"], summary["allowed_room_ids"]), ("restricted", [door]))

    async def test_what_the_policy_hides_is_not_there(self) -> None:
        room = await self.room()
        space = await self.space(room)
        self.policy.refuse(SeeRoom, because=Hidden())
        refused = await self.bob.call("GET", path(space))
        self.assertEqual((refused.status, refused.json["error"]), (403, Hidden().why))
        self.assertEqual((await self.bob.call("GET", f"{V1}/room_summary/{quote(room)}")).status, 404)


class Summary(SpaceCase):
    async def test_a_summary_says_what_one_is_in_the_room(self) -> None:
        encryption = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        room = await self.room(initial_state=[encryption], room_alias_name="lessons")
        for name in (quote(room), "%23lessons%3Aparta.test"):
            summary = await self.bob.ok("GET", f"{V1}/room_summary/{name}")
            self.assertEqual((summary["room_id"], summary["encryption"]), (room, "m.megolm.v1.aes-sha2"))
            self.assertNotIn("membership", summary)
        await self.alice.invite(room, self.bob)
        summary = await self.bob.ok("GET", f"{V1}/room_summary/{quote(room)}", via="elsewhere.test")
        self.assertEqual(summary["membership"], "invite")

    async def test_the_names_it_had_as_a_proposal_answer_too(self) -> None:
        encryption = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        room, proposed = await self.room(initial_state=[encryption]), "/_matrix/client/unstable/im.nheko.summary"
        for path in (f"/summary/{quote(room)}", f"/rooms/{quote(room)}/summary"):
            summary = await self.bob.ok("GET", f"{proposed}{path}")
            self.assertEqual(summary["im.nheko.summary.room_version"], summary["room_version"])
            self.assertEqual(summary["im.nheko.summary.encryption"], "m.megolm.v1.aes-sha2")
        plain = await self.room()
        self.assertNotIn("im.nheko.summary.encryption", await self.bob.ok("GET", f"{proposed}/summary/{quote(plain)}"))
        hidden = await self.room(preset="private_chat")
        for path in (f"/summary/{quote(hidden)}", f"/rooms/{quote(hidden)}/summary"):
            self.assertEqual(await self.bob.refused("GET", f"{proposed}{path}"), (404, "M_NOT_FOUND"))

    async def test_an_alias_that_leads_nowhere_is_not_found(self) -> None:
        for name in ("%23none%3Aparta.test", "!none%3Aparta.test", "none"):
            refused = await self.bob.refused("GET", f"{V1}/room_summary/{name}")
            self.assertEqual(refused, (404, "M_NOT_FOUND"))
        self.assertEqual(await self.bob.refused("GET", f"{V1}/room_summary/%23x"), (400, "M_INVALID_PARAM"))
