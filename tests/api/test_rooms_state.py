"""GET and PUT of /state."""

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import ensureDeferred

from homeserver.policy import Hidden, SeeRoom, SetState
from tests.kit.databases import on_both_databases
from tests.kit.houses import SERVER, HouseCase, Person, state_path

FORBIDDEN = (403, "M_FORBIDDEN")
ALIAS = "m.room.canonical_alias"


class StateCase(HouseCase):
    async def room(self, *others: Person, visibility: str = "shared", **more: Any) -> str:
        rule = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
        room = await self.alice.create(preset="public_chat", initial_state=[rule], **more)
        for person in others:
            await person.join(room)
        return room

    async def assert_hidden(self, person: Person, method: str, path: str, json: object = None) -> None:
        reply = await person.call(method, path, json)
        self.assertEqual((reply.status, reply.json), (403, {"errcode": "M_FORBIDDEN", "error": Hidden().why}), path)


@on_both_databases
class Getting(StateCase):
    async def test_all_state_is_that_of_now(self) -> None:
        room = await self.room(self.bob, name="one")
        await self.alice.put(room, "m.room.name", {"name": "two"})
        for _ in range(2):
            events = await self.bob.ok("GET", f"/rooms/{room}/state")
            keys = [(event["type"], event["state_key"]) for event in events]
            self.assertEqual(len(keys), len(set(keys)))
            by_key = dict(zip(keys, events, strict=True))
            self.assertEqual(by_key["m.room.name", ""]["content"], {"name": "two"})
            self.assertEqual(by_key["m.room.member", self.bob.user_id]["sender"], self.bob.user_id)
            self.assertEqual({event["room_id"] for event in events}, {room})
            self.restart()

    async def test_one_is_its_content_or_the_event(self) -> None:
        room = await self.room(self.bob)
        event_id = await self.alice.put(room, "org.note", {"n": 1}, "a/b c?ё")
        path = state_path(room, "org.note", "a/b c?ё")
        self.assertEqual(await self.bob.ok("GET", path), {"n": 1})
        self.assertEqual(await self.bob.ok("GET", path, format="content"), {"n": 1})
        event = await self.bob.ok("GET", path, format="event")
        self.assertEqual((event["event_id"], event["content"], event["state_key"]), (event_id, {"n": 1}, "a/b c?ё"))
        self.assertEqual(await self.bob.refused("GET", path, format="xml"), (400, "M_INVALID_PARAM"))

    async def test_an_empty_key_may_be_left_out_with_or_without_its_slash(self) -> None:
        room = await self.room()
        await self.alice.ok("PUT", f"/rooms/{room}/state/org.note", {"n": 1})
        await self.alice.ok("PUT", f"/rooms/{room}/state/org.other/", {"n": 2})
        for path, content in [("org.note", 1), ("org.note/", 1), ("org.other", 2), ("org.other/", 2)]:
            self.assertEqual(await self.alice.ok("GET", f"/rooms/{room}/state/{path}"), {"n": content})

    async def test_what_there_is_not_is_not_found(self) -> None:
        room = await self.room()
        for path in ("org.note", "org.note/x", "m.room.name/x"):
            self.assertEqual(await self.alice.refused("GET", f"/rooms/{room}/state/{path}"), (404, "M_NOT_FOUND"))

    async def test_who_left_sees_what_was_when_they_left(self) -> None:
        room = await self.room(self.bob, self.carol, name="before")
        await self.bob.leave(room)
        await self.alice.act("ban", room, self.carol)
        await self.alice.put(room, "m.room.name", {"name": "after"})
        await self.dave.join(room)
        for person, membership in ((self.bob, "leave"), (self.carol, "ban")):
            self.assertEqual(await person.state(room, "m.room.name"), {"name": "before"})
            own = await person.state(room, "m.room.member", person.user_id)
            self.assertEqual(own["membership"], membership)
            missing = await person.refused("GET", state_path(room, "m.room.member", self.dave.user_id))
            self.assertEqual(missing, (404, "M_NOT_FOUND"))
            names = [
                e["content"]["name"]
                for e in await person.ok("GET", f"/rooms/{room}/state")
                if e["type"] == "m.room.name"
            ]
            self.assertEqual(names, ["before"])

    async def test_who_never_was_there_sees_nothing(self) -> None:
        room = await self.room(name="secret")
        await self.alice.invite(room, self.bob)
        await self.alice.invite(room, self.carol)
        await self.carol.leave(room)
        for person in (self.bob, self.carol, self.dave):
            for where in (room, "!nowhere"):
                await self.assert_hidden(person, "GET", f"/rooms/{where}/state")
                await self.assert_hidden(person, "GET", state_path(where, "m.room.name"))

    async def test_a_world_readable_room_is_seen_from_outside_if_the_policy_lets(self) -> None:
        room = await self.room(visibility="world_readable", name="open")
        self.assertEqual(await self.dave.state(room, "m.room.name"), {"name": "open"})
        self.policy.refuse(SeeRoom, because=Hidden())
        await self.assert_hidden(self.dave, "GET", state_path(room, "m.room.name"))
        self.assertEqual(await self.alice.state(room, "m.room.name"), {"name": "open"})


@on_both_databases
class Putting(StateCase):
    async def test_the_same_state_again_is_the_same_event(self) -> None:
        room = await self.room()
        first = await self.alice.put(room, "org.note", {"a": 1, "b": [True]})
        self.assertEqual(await self.alice.put(room, "org.note", {"b": [True], "a": 1}), first)
        for other in ({"a": 1, "b": [1]}, {"a": True, "b": [True]}, {"a": 1}, {}):
            again = await self.alice.put(room, "org.note", other)
            self.assertNotEqual(again, first)
            first = again

    async def test_the_same_state_at_once_is_answered_when_it_is_committed(self) -> None:
        room = await self.room()
        path = state_path(room, "org.note")
        putting = [ensureDeferred(self.alice.call("PUT", path, {"n": 1})) for _ in range(3)]
        self.assertEqual(len({(await each).body for each in putting}), 1)

    async def test_state_needs_power_even_where_nothing_would_change(self) -> None:
        room = await self.room(self.bob, name="x")
        for content in ({"name": "y"}, {"name": "x"}):
            self.assertEqual(await self.bob.refused("PUT", state_path(room, "m.room.name"), content), FORBIDDEN)
        levels = await self.alice.state(room, "m.room.power_levels")
        await self.alice.put(room, "m.room.power_levels", {**levels, "users": {self.bob.user_id: 50}})
        await self.bob.put(room, "m.room.name", {"name": "y"})
        taken = {**levels, "users": {self.bob.user_id: 100}}
        self.assertEqual(await self.bob.refused("PUT", state_path(room, "m.room.power_levels"), taken), FORBIDDEN)

    async def test_nobody_sets_state_for_another_person(self) -> None:
        room = await self.room(power_level_content_override={"state_default": 0})
        await self.bob.join(room)
        await self.bob.put(room, "org.note", {}, self.bob.user_id)
        found = await self.bob.refused("PUT", state_path(room, "org.note", self.alice.user_id), {})
        self.assertEqual(found, FORBIDDEN)

    async def test_a_room_has_one_create_event(self) -> None:
        room = await self.room()
        self.assertEqual(await self.alice.refused("PUT", state_path(room, "m.room.create"), {}), FORBIDDEN)

    async def test_who_is_not_joined_sets_nothing_and_learns_nothing(self) -> None:
        room = await self.room(self.bob)
        await self.bob.leave(room)
        for person in (self.bob, self.carol):
            for where in (room, "!nowhere"):
                await self.assert_hidden(person, "PUT", state_path(where, "m.room.name"), {"name": "x"})

    async def test_what_cannot_be_state_is_refused(self) -> None:
        room = await self.room()
        for kind, key, content, expected in [
            ("m.x", "", [], (400, "M_BAD_JSON")),
            ("m.x", "", b"{", (400, "M_NOT_JSON")),
            ("m.x", "", {"n": 1.5}, (400, "M_BAD_JSON")),
            ("m.x", "k" * 256, {}, (413, "M_TOO_LARGE")),
            ("m.room.power_levels", "", {"users": {"bob": 1}}, (400, "M_BAD_JSON")),
            ("m.room.power_levels", "", {"ban": "50"}, (400, "M_BAD_JSON")),
            ("m.room.power_levels", "", {"events": []}, (400, "M_BAD_JSON")),
            ("m.room.power_levels", "", {"users": {self.alice.user_id: 1}}, (400, "M_BAD_JSON")),
            ("m.room.join_rules", "", {}, (400, "M_BAD_JSON")),
            ("m.room.join_rules", "", {"join_rule": ["public"]}, (400, "M_BAD_JSON")),
            ("m.room.history_visibility", "", {"history_visibility": None}, (400, "M_BAD_JSON")),
            ("m.room.guest_access", "", {"guest_access": True}, (400, "M_BAD_JSON")),
            ("m.room.encryption", "", {"algorithm": 1}, (400, "M_BAD_JSON")),
            ("m.room.member", self.alice.user_id, {"membership": 1}, (400, "M_BAD_JSON")),
            ("m.room.member", self.alice.user_id, {"membership": "away"}, (400, "M_BAD_JSON")),
            ("m.room.member", "alice", {"membership": "join"}, (400, "M_INVALID_PARAM")),
            (ALIAS, "", {"alias": 1}, (400, "M_INVALID_PARAM")),
            (ALIAS, "", {"alias": "#x"}, (400, "M_INVALID_PARAM")),
        ]:
            found = await self.alice.refused("PUT", state_path(room, kind, key), content)
            self.assertEqual(found, expected, (kind, content))
        for kind, content in (("m.room.join_rules", {"join_rule": "org.x"}), ("m.room.canonical_alias", {})):
            await self.alice.put(room, kind, content)

    async def test_who_has_no_power_is_told_so_whatever_they_set(self) -> None:
        room = await self.room(self.bob)
        for content in ({"ban": "50"}, {"users": {self.bob.user_id: 100}}):
            found = await self.bob.refused("PUT", state_path(room, "m.room.power_levels"), content)
            self.assertEqual(found, FORBIDDEN)

    async def test_the_policy_is_asked_before_anything_happens(self) -> None:
        room = await self.room()
        self.policy.refuse(SetState)
        position = self.db.position
        self.assertEqual(await self.alice.refused("PUT", state_path(room, "org.note", "k"), {"n": 1}), FORBIDDEN)
        asked = self.policy.asked[-1]
        assert isinstance(asked, SetState)
        self.assertEqual((asked.type, asked.state_key, asked.content), ("org.note", "k", {"n": 1}))
        self.assertEqual(self.db.position, position)


class CanonicalAlias(StateCase):
    async def test_a_canonical_alias_must_lead_to_the_room(self) -> None:
        room, other = await self.room(), await self.room()
        here, there = f"#here:{SERVER}", f"#there:{SERVER}"
        for alias, where in ((here, room), (there, other)):
            await self.alice.ok("PUT", f"/directory/room/{quote(alias)}", {"room_id": where})
        path = state_path(room, ALIAS)
        for content, errcode in [
            ({"alias": there}, "M_BAD_ALIAS"),
            ({"alias": f"#nowhere:{SERVER}"}, "M_BAD_ALIAS"),
            ({"alias": here, "alt_aliases": [there]}, "M_BAD_ALIAS"),
            ({"alias": "#x:elsewhere.test"}, "M_BAD_ALIAS"),
            ({"alias": "here"}, "M_INVALID_PARAM"),
            ({"alias": 7}, "M_INVALID_PARAM"),
            ({"alt_aliases": [None]}, "M_INVALID_PARAM"),
            ({"alt_aliases": ["@a:b"]}, "M_INVALID_PARAM"),
            ({"alt_aliases": here}, "M_INVALID_PARAM"),
        ]:
            self.assertEqual(await self.alice.refused("PUT", path, content), (400, errcode), content)
        await self.alice.put(room, ALIAS, {"alias": here, "alt_aliases": [here]})
        await self.alice.put(room, ALIAS, {"alias": None, "alt_aliases": []})
        await self.alice.put(room, ALIAS, {"alias": ""})
        await self.alice.put(room, ALIAS, {})

    async def test_an_alias_that_was_named_before_may_stay(self) -> None:
        room = await self.room()
        alias = f"#gone:{SERVER}"
        await self.alice.ok("PUT", f"/directory/room/{quote(alias)}", {"room_id": room})
        await self.alice.put(room, ALIAS, {"alias": alias})
        await self.db.write(lambda txn: txn.run("DELETE FROM aliases"))
        await self.alice.put(room, ALIAS, {"alias": None, "alt_aliases": [alias]})
        await self.alice.put(room, ALIAS, {})
        self.assertEqual(
            await self.alice.refused("PUT", state_path(room, ALIAS), {"alias": alias}), (400, "M_BAD_ALIAS")
        )
