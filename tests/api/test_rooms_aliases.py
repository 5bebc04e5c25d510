"""Aliases: /directory/room and /rooms/{roomId}/aliases."""

from typing import Any
from urllib.parse import quote

from homeserver.policy import Hidden, SeeRoom, SetAlias
from tests.kit.databases import on_both_databases
from tests.kit.houses import SERVER, HouseCase, Person, Reply

FORBIDDEN, NOT_FOUND = (403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")
CANONICAL = "m.room.canonical_alias"


def door(localpart: str, server: str = SERVER) -> str:
    return f"/directory/room/{quote(f'#{localpart}:{server}', safe='')}"


@on_both_databases
class Aliases(HouseCase):
    async def public(self, *others: Person, **more: Any) -> str:
        room = await self.alice.create(preset="public_chat", **more)
        for person in others:
            await person.join(room)
        return room

    async def test_an_alias_leads_to_its_room_for_everybody(self) -> None:
        room = await self.public()
        await self.alice.ok("PUT", door("класс 5А"), {"room_id": room})
        for _ in range(2):
            for token in (self.dave.token, None):
                reply = await self.call("GET", door("класс 5А"), token=token)
                self.assertEqual((reply.status, reply.json), (200, {"room_id": room, "servers": [SERVER]}))
            self.restart()

    async def test_every_member_may_name_a_room_and_nobody_else(self) -> None:
        room = await self.public(self.bob)
        await self.bob.ok("PUT", door("bobs"), {"room_id": room})
        for where in (room, "!nowhere"):
            reply = await self.carol.call("PUT", door("carols"), {"room_id": where})
            self.assertEqual((reply.status, reply.json["error"]), (403, Hidden().why))
        self.assertEqual(await self.carol.refused("GET", door("carols")), NOT_FOUND)

    async def test_a_taken_alias_stays_where_it_is(self) -> None:
        room, other = await self.public(), await self.public()
        await self.alice.ok("PUT", door("one"), {"room_id": room})
        for where in (room, other):
            self.assertEqual(await self.alice.refused("PUT", door("one"), {"room_id": where}), (409, "M_UNKNOWN"))
        self.assertEqual((await self.alice.ok("GET", door("one")))["room_id"], room)

    async def test_what_is_no_alias_of_ours_is_refused(self) -> None:
        room = await self.public()
        for path, expected in [
            (door("a", "elsewhere.test"), (400, "M_INVALID_PARAM")),
            ("/directory/room/one", (400, "M_INVALID_PARAM")),
            (door(""), (400, "M_INVALID_PARAM")),
            (door("x" * 300), (400, "M_INVALID_PARAM")),
        ]:
            self.assertEqual(await self.alice.refused("PUT", path, {"room_id": room}), expected, path)
        for body in ({}, {"room_id": 7}, []):
            self.assertEqual(await self.alice.refused("PUT", door("x"), body), (400, "M_BAD_JSON"))
        for path in ("/directory/room/one", door("")):
            self.assertEqual(await self.alice.refused("GET", path), (400, "M_INVALID_PARAM"))
            self.assertEqual(await self.alice.refused("DELETE", path), (400, "M_INVALID_PARAM"))
        for method in ("GET", "DELETE"):
            self.assertEqual(await self.alice.refused(method, door("nowhere")), NOT_FOUND)
            self.assertEqual(await self.alice.refused(method, door("a", "elsewhere.test")), NOT_FOUND)

    async def test_who_made_it_who_names_the_room_and_the_operator_remove_it(self) -> None:
        room = await self.public(self.bob, self.carol)
        operator = self.person("operator", admin=True)
        for remover in (self.bob, self.alice, operator):
            await self.bob.ok("PUT", door("one"), {"room_id": room})
            self.assertEqual(await self.carol.refused("DELETE", door("one")), FORBIDDEN)
            await remover.ok("DELETE", door("one"))
            self.assertEqual(await self.bob.refused("GET", door("one")), NOT_FOUND)

    async def test_a_removed_alias_is_dropped_from_the_canonical_ones(self) -> None:
        room = await self.public(self.bob)
        for name in ("one", "two"):
            await self.bob.ok("PUT", door(name), {"room_id": room})
        one, two = f"#one:{SERVER}", f"#two:{SERVER}"
        await self.alice.put(room, CANONICAL, {"alias": one, "alt_aliases": [one, two]})
        await self.alice.ok("DELETE", door("one"))
        self.assertEqual(await self.alice.state(room, CANONICAL), {"alt_aliases": [two]})
        await self.bob.ok("DELETE", door("two"))
        self.assertEqual(await self.alice.state(room, CANONICAL), {"alt_aliases": [two]}, "bob may not change that")
        self.assertEqual(await self.bob.refused("GET", door("two")), NOT_FOUND)

    async def test_aliases_of_a_room_for_those_who_are_in_it(self) -> None:
        room = await self.public(self.bob)
        for name in ("two", "one"):
            await self.alice.ok("PUT", door(name), {"room_id": room})
        found = await self.bob.ok("GET", f"/rooms/{room}/aliases")
        self.assertEqual(found, {"aliases": [f"#one:{SERVER}", f"#two:{SERVER}"]})
        await self.bob.leave(room)
        for person in (self.bob, self.carol):
            for where in (room, "!nowhere"):
                self.assertEqual(await person.refused("GET", f"/rooms/{where}/aliases"), FORBIDDEN)
        await self.alice.put(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
        self.assertEqual(await self.carol.ok("GET", f"/rooms/{room}/aliases"), found)

    async def test_where_the_policy_hides_a_room_its_alias_is_not_there(self) -> None:
        room = await self.public()
        await self.alice.ok("PUT", door("one"), {"room_id": room})
        absent: Reply = await self.bob.call("GET", door("nowhere"))
        self.policy.refuse(SeeRoom, because=Hidden())
        for method in ("GET", "DELETE"):
            reply = await self.bob.call(method, door("one"))
            self.assertEqual((reply.status, reply.json), (absent.status, absent.json))

    async def test_the_policy_is_asked_before_anything_happens(self) -> None:
        room = await self.public()
        await self.alice.ok("PUT", door("one"), {"room_id": room})
        self.policy.refuse(SetAlias)
        self.assertEqual(await self.alice.refused("PUT", door("two"), {"room_id": room}), FORBIDDEN)
        self.assertEqual(await self.alice.refused("DELETE", door("one")), FORBIDDEN)
        asked = [(act.alias, act.removed) for act in self.policy.asked if isinstance(act, SetAlias)]
        self.assertEqual(asked[-2:], [(f"#two:{SERVER}", False), (f"#one:{SERVER}", True)])
        self.policy.refused.clear()
        await self.alice.ok("GET", door("one"))
        self.assertEqual(await self.alice.refused("GET", door("two")), NOT_FOUND)
