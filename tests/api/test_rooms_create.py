"""POST /createRoom."""

from typing import Any
from urllib.parse import quote

from federation.errors import Refused
from federation.versions import ROOM_VERSIONS
from homeserver.policy import CreateRoom, Hidden
from tests.kit.houses import SERVER, HouseCase, Person

HUNDRED = {"content": "x" * 70_000}


class CreateCase(HouseCase):
    async def history(self, room: str, person: Person | None = None) -> list[dict[str, Any]]:
        """All events of a room, the first one first."""
        page = await (person or self.alice).messages(room, dir="f", limit=100)
        events: list[dict[str, Any]] = page["chunk"]
        return events

    async def kinds(self, room: str) -> list[str]:
        return [event["type"].removeprefix("m.room.") for event in await self.history(room)]


class Creating(CreateCase):
    async def test_a_room_begins_with_what_was_asked_for_in_the_order_of_the_specification(self) -> None:
        room = await self.alice.create(
            preset="private_chat",
            room_alias_name="class",
            name="5А",
            topic="Математика",
            initial_state=[
                {"type": "org.second", "state_key": "x", "content": {"n": 1}},
                {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            ],
            invite=[self.bob.user_id],
        )
        self.assertEqual(
            await self.kinds(room),
            [
                "create", "member", "power_levels", "canonical_alias", "join_rules", "history_visibility",
                "guest_access", "org.second", "encryption", "name", "topic", "member",
            ],
        )  # fmt: skip
        self.assertEqual(await self.alice.state(room, "m.room.name"), {"name": "5А"})
        self.assertEqual((await self.alice.state(room, "m.room.topic"))["topic"], "Математика")
        self.assertEqual(await self.alice.state(room, "m.room.canonical_alias"), {"alias": f"#class:{SERVER}"})
        self.assertEqual(await self.alice.state(room, "org.second", "x"), {"n": 1})
        invite = await self.alice.state(room, "m.room.member", self.bob.user_id)
        self.assertEqual(invite, {"membership": "invite", "displayname": "Bob"})

    async def test_each_preset_sets_its_rules(self) -> None:
        for preset, rule, access in [
            ("private_chat", "invite", "can_join"),
            ("trusted_private_chat", "invite", "can_join"),
            ("public_chat", "public", "forbidden"),
        ]:
            room = await self.alice.create(preset=preset)
            self.assertEqual(await self.alice.state(room, "m.room.join_rules"), {"join_rule": rule})
            self.assertEqual(await self.alice.state(room, "m.room.guest_access"), {"guest_access": access})
            visibility = await self.alice.state(room, "m.room.history_visibility")
            self.assertEqual(visibility, {"history_visibility": "shared"})

    async def test_without_a_preset_the_visibility_chooses(self) -> None:
        for visibility, rule in [
            ({}, "invite"),
            ({"visibility": "private"}, "invite"),
            ({"visibility": "public"}, "public"),
        ]:
            room = await self.alice.create(**visibility)
            self.assertEqual(await self.alice.state(room, "m.room.join_rules"), {"join_rule": rule})

    async def test_initial_state_comes_before_the_preset_and_after_name_and_topic(self) -> None:
        room = await self.alice.create(
            preset="public_chat",
            name="real",
            initial_state=[
                {"type": "m.room.join_rules", "content": {"join_rule": "knock"}},
                {"type": "m.room.name", "content": {"name": "other"}},
                {"type": "m.room.topic", "content": {"topic": "kept"}},
            ],
        )
        self.assertEqual(await self.alice.state(room, "m.room.join_rules"), {"join_rule": "knock"})
        self.assertEqual(await self.alice.state(room, "m.room.name"), {"name": "real"})
        self.assertEqual(await self.alice.state(room, "m.room.topic"), {"topic": "kept"})
        kinds = await self.kinds(room)
        self.assertEqual([kinds.count(kind) for kind in ("join_rules", "name", "topic")], [1, 1, 1])

    async def test_a_direct_chat_marks_its_invitations(self) -> None:
        room = await self.alice.create(is_direct=True, invite=[self.bob.user_id])
        self.assertIs((await self.alice.state(room, "m.room.member", self.bob.user_id))["is_direct"], True)
        self.assertNotIn("is_direct", await self.alice.state(room, "m.room.member", self.alice.user_id))

    async def test_the_creator_shows_their_profile(self) -> None:
        room = await self.alice.create()
        member = await self.alice.state(room, "m.room.member", self.alice.user_id)
        self.assertEqual(member, {"membership": "join", "displayname": "Alice"})

    async def test_people_are_invited_once(self) -> None:
        room = await self.alice.create(invite=[self.bob.user_id, self.bob.user_id, self.carol.user_id])
        self.assertEqual((await self.kinds(room)).count("member"), 3)

    async def test_two_rooms_asked_for_at_the_same_moment_are_two(self) -> None:
        rooms = {await self.alice.create() for _ in range(3)}
        self.assertEqual(len(rooms), 3)

    async def test_a_room_is_there_after_a_restart(self) -> None:
        room = await self.alice.create(name="kept", visibility="public", room_alias_name="kept")
        self.restart()
        self.assertEqual(await self.alice.state(room, "m.room.name"), {"name": "kept"})
        await self.bob.join(f"#kept:{SERVER}")


class Versions(CreateCase):
    async def test_every_stable_version_can_be_had(self) -> None:
        for version in ROOM_VERSIONS:
            room = await self.alice.create(room_version=version, preset="public_chat", invite=[self.carol.user_id])
            create = await self.alice.state(room, "m.room.create")
            self.assertEqual(create["room_version"], version)
            self.assertEqual(create.get("creator"), None if int(version) > 10 else self.alice.user_id)
            await self.bob.join(room)
            await self.bob.say(room)

    async def test_the_default_is_version_12_whose_id_has_no_domain(self) -> None:
        room = await self.alice.create()
        self.assertEqual((await self.alice.state(room, "m.room.create"))["room_version"], "12")
        self.assertNotIn(":", room)
        first = (await self.history(room))[0]
        self.assertEqual(first["event_id"][1:], room[1:])

    async def test_what_the_client_says_of_creator_and_version_is_overwritten(self) -> None:
        content = {"creator": "@eve:evil", "room_version": "1", "m.federate": False, "type": "m.space"}
        for version, creator in [("10", self.alice.user_id), ("12", None)]:
            room = await self.alice.create(room_version=version, creation_content=content)
            create = await self.alice.state(room, "m.room.create")
            self.assertEqual((create["room_version"], create.get("creator")), (version, creator))
            self.assertEqual((create["m.federate"], create["type"]), (False, "m.space"))

    async def test_an_unknown_version_is_refused(self) -> None:
        for version in ("0", "13", "org.example", "twelve", ""):
            found = await self.alice.refused("POST", "/createRoom", {"room_version": version or "?"})
            self.assertEqual(found, (400, "M_UNSUPPORTED_ROOM_VERSION"))


class Powers(CreateCase):
    async def levels(self, **wanted: object) -> dict[str, Any]:
        room = await self.alice.create(**wanted)
        content: dict[str, Any] = await self.alice.state(room, "m.room.power_levels")
        return content

    async def test_before_version_12_the_creator_has_100(self) -> None:
        levels = await self.levels(room_version="11")
        self.assertEqual(levels["users"], {self.alice.user_id: 100})
        self.assertEqual(levels["events"]["m.room.tombstone"], 100)

    async def test_in_version_12_the_creator_is_not_listed_and_the_tombstone_is_above_other_state(self) -> None:
        levels = await self.levels()
        self.assertEqual(levels["users"], {})
        self.assertEqual(levels["events"]["m.room.tombstone"], 150)
        lifted = await self.levels(power_level_content_override={"state_default": 200, "events": {}})
        self.assertEqual(lifted["events"], {"m.room.tombstone": 201})
        own = await self.levels(power_level_content_override={"events": {"m.room.tombstone": 160}})
        self.assertEqual(own["events"], {"m.room.tombstone": 160})

    async def test_overrides_lie_on_top(self) -> None:
        levels = await self.levels(power_level_content_override={"invite": 50, "users": {self.bob.user_id: 50}})
        self.assertEqual((levels["invite"], levels["users"], levels["ban"]), (50, {self.bob.user_id: 50}, 50))

    async def test_trusted_people_are_equal_to_the_creator(self) -> None:
        invite = [self.bob.user_id, self.carol.user_id]
        old = await self.levels(preset="trusted_private_chat", invite=invite, room_version="11")
        self.assertEqual(old["users"], dict.fromkeys([self.alice.user_id, *invite], 100))
        wanted = {"creation_content": {"additional_creators": [self.dave.user_id, self.bob.user_id]}}
        room = await self.alice.create(preset="trusted_private_chat", invite=invite, **wanted)
        create = await self.alice.state(room, "m.room.create")
        self.assertEqual(create["additional_creators"], [self.dave.user_id, self.bob.user_id, self.carol.user_id])
        self.assertEqual((await self.alice.state(room, "m.room.power_levels"))["users"], {})
        await self.bob.join(room)
        await self.bob.put(room, "m.room.tombstone", {"body": "moved", "replacement_room": "!x"})

    async def test_people_invited_to_an_ordinary_room_are_not(self) -> None:
        room = await self.alice.create(preset="private_chat", invite=[self.bob.user_id])
        self.assertNotIn("additional_creators", await self.alice.state(room, "m.room.create"))

    async def test_a_room_that_could_not_begin_is_refused_and_leaves_nothing(self) -> None:
        for spoiled in [
            {"room_version": "11", "name": "x", "power_level_content_override": {"users": {}}},
            {"power_level_content_override": {"users": {self.alice.user_id: 100}}},
            {"power_level_content_override": {"ban": "50"}},
            {"creation_content": {"additional_creators": ["nobody"]}},
            {"creation_content": {"additional_creators": "nobody"}, "preset": "trusted_private_chat"},
            {"initial_state": [{"type": "m.room.create", "content": {}}]},
            {"initial_state": [{"type": "m.room.member", "state_key": "@b:x", "content": {"membership": "join"}}]},
            {"initial_state": [{"type": "org.x", "state_key": "@bob:parta.test", "content": {}}]},
            {"invite": [self.alice.user_id]},
        ]:
            found = await self.alice.refused("POST", "/createRoom", {"room_alias_name": "free", **spoiled})
            self.assertEqual(found, (400, "M_INVALID_ROOM_STATE"), spoiled)
        self.assertEqual((await self.alice.ok("GET", "/joined_rooms"))["joined_rooms"], [])
        self.assertEqual(self.db.position, 0)
        await self.alice.create(room_alias_name="free")


class Refusing(CreateCase):
    async def test_a_taken_alias_is_refused(self) -> None:
        await self.alice.create(room_alias_name="thepub")
        found = await self.bob.refused("POST", "/createRoom", {"room_alias_name": "thepub"})
        self.assertEqual(found, (400, "M_ROOM_IN_USE"))
        self.assertEqual((await self.bob.ok("GET", "/joined_rooms"))["joined_rooms"], [])

    async def test_of_two_who_want_an_alias_at_once_one_gets_it(self) -> None:
        from twisted.internet.defer import ensureDeferred

        wanted = {"room_alias_name": "one"}
        asking = [
            ensureDeferred(person.call("POST", "/createRoom", wanted)) for person in (self.alice, self.bob, self.carol)
        ]
        replies = [await each for each in asking]
        self.assertEqual(sorted(reply.status for reply in replies), [200, 400, 400])
        (won,) = [reply.json["room_id"] for reply in replies if reply.status == 200]
        found = await self.dave.ok("GET", f"/directory/room/{quote(f'#one:{SERVER}')}")
        self.assertEqual(found["room_id"], won)

    async def test_what_makes_no_sense_is_refused(self) -> None:
        for spoiled, status, errcode in [
            ({"preset": "cosy"}, 400, "M_BAD_JSON"),
            ({"visibility": "hidden"}, 400, "M_BAD_JSON"),
            ({"name": 7}, 400, "M_BAD_JSON"),
            ({"invite": "bob"}, 400, "M_BAD_JSON"),
            ({"invite": ["bob"]}, 400, "M_INVALID_PARAM"),
            ({"invite": [f"@u{n}:parta.test" for n in range(101)]}, 400, "M_BAD_JSON"),
            ({"initial_state": [{"content": {}}]}, 400, "M_BAD_JSON"),
            ({"initial_state": [{"type": "m.x", "content": []}]}, 400, "M_BAD_JSON"),
            ({"initial_state": [{"type": "m.x", "content": {"a": 0.5}}]}, 400, "M_BAD_JSON"),
            ({"initial_state": [{"type": "x" * 256, "content": {}}]}, 413, "M_TOO_LARGE"),
            ({"initial_state": [{"type": "m.x", "content": HUNDRED}]}, 413, "M_TOO_LARGE"),
            ({"creation_content": []}, 400, "M_BAD_JSON"),
            ({"room_alias_name": ""}, 400, "M_INVALID_PARAM"),
            ({"room_alias_name": "a:b"}, 400, "M_INVALID_PARAM"),
            ({"room_alias_name": "x" * 300}, 400, "M_INVALID_PARAM"),
            (
                {"initial_state": [{"type": "m.room.canonical_alias", "content": {"alias": "#no:parta.test"}}]},
                400,
                "M_BAD_ALIAS",
            ),
            (
                {"initial_state": [{"type": "m.room.canonical_alias", "content": {"alias": "no"}}]},
                400,
                "M_INVALID_PARAM",
            ),
            ({"invite_3pid": [{"medium": "email", "address": "a@b"}]}, 403, "M_FORBIDDEN"),
            ({"invite": ["@eve:elsewhere.test"]}, 403, "M_FORBIDDEN"),
            ([], 400, "M_BAD_JSON"),
            (b"{", 400, "M_NOT_JSON"),
        ]:
            self.assertEqual(await self.alice.refused("POST", "/createRoom", spoiled), (status, errcode), spoiled)
        self.assertEqual(self.db.position, 0)

    async def test_who_has_not_signed_in_creates_nothing(self) -> None:
        reply = await self.call("POST", "/createRoom", {})
        self.assertEqual((reply.status, reply.errcode), (401, "M_MISSING_TOKEN"))

    async def test_the_policy_is_asked_before_anything_happens(self) -> None:
        self.policy.refuse(CreateRoom)
        self.assertEqual(await self.alice.refused("POST", "/createRoom", {}), (403, "M_FORBIDDEN"))
        self.assertEqual(self.db.position, 0)
        asked = self.policy.asked[-1]
        assert isinstance(asked, CreateRoom)
        self.assertEqual(asked.by, self.alice.user_id)

    async def test_the_policy_is_told_all_that_was_asked_for(self) -> None:
        await self.alice.create(
            visibility="public", room_alias_name="a", name="n", topic="t", invite=[self.bob.user_id], is_direct=True,
            preset="private_chat", room_version="11", creation_content={"m.federate": False},
            initial_state=[{"type": "m.x", "state_key": "k", "content": {"a": 1}}],
            power_level_content_override={"invite": 50},
        )  # fmt: skip
        (asked,) = [act for act in self.policy.asked if isinstance(act, CreateRoom)]
        self.assertEqual(
            (asked.published, asked.alias, asked.name, asked.topic, list(asked.invite), asked.is_direct),
            (True, f"#a:{SERVER}", "n", "t", [self.bob.user_id], True),
        )
        self.assertEqual((asked.preset, asked.version, asked.invite_3pid), ("private_chat", "11", 0))
        self.assertEqual(asked.creation_content, {"m.federate": False})
        self.assertEqual(list(asked.initial_state), [("m.x", "k", {"a": 1})])
        self.assertEqual(asked.power_levels, {"invite": 50})

    async def test_a_policys_one_refusal_comes_through(self) -> None:
        self.policy.refuse(CreateRoom, because=Hidden())
        reply = await self.alice.call("POST", "/createRoom", {})
        hidden = Hidden()
        assert isinstance(hidden, Refused)
        self.assertEqual((reply.status, reply.json["error"]), (403, hidden.why))
