"""POST /upgrade."""

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, gatherResults

from homeserver.policy import UpgradeRoom
from homeserver.storage.data import find_account_data, set_account_data
from homeserver.storage.push import find_push_rules, set_push_rules
from tests.kit.databases import on_both_databases
from tests.kit.houses import SERVER, HouseCase, Person

FORBIDDEN = (403, "M_FORBIDDEN")
LEVELS = "m.room.power_levels"
CARRIED = {
    "m.room.name": {"name": "7Б"},
    "m.room.topic": {"topic": "lessons"},
    "m.room.avatar": {"url": "mxc://parta.test/a"},
    "m.room.server_acl": {"allow": ["*"]},
    "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
    "m.room.join_rules": {"join_rule": "public"},
    "m.room.guest_access": {"guest_access": "forbidden"},
    "m.room.history_visibility": {"history_visibility": "joined"},
}


class UpgradeCase(HouseCase):
    async def upgrade(self, person: Person, room: str, version: str = "12", **more: object) -> str:
        answer = await person.ok("POST", f"/rooms/{quote(room)}/upgrade", {"new_version": version, **more})
        new: str = answer["replacement_room"]
        return new

    async def try_to(self, person: Person, room: str, body: object) -> tuple[int, str]:
        return await person.refused("POST", f"/rooms/{quote(room)}/upgrade", body)

    async def room(self, version: str = "11", **more: Any) -> str:
        state = [{"type": kind, "content": content} for kind, content in CARRIED.items()]
        return await self.alice.create(room_version=version, initial_state=state, preset="public_chat", **more)


@on_both_databases
class Upgrading(UpgradeCase):
    async def test_the_old_room_points_to_the_new_and_back(self) -> None:
        for version, target in (("10", "11"), ("11", "12"), ("12", "12")):
            old = await self.room(version)
            new = await self.upgrade(self.alice, old, target)
            self.restart()
            tombstone = await self.alice.state(old, "m.room.tombstone")
            self.assertEqual(tombstone["replacement_room"], new)
            create = await self.alice.state(new, "m.room.create")
            self.assertEqual((create["room_version"], create["predecessor"]["room_id"]), (target, old))
            if target != "12":
                last = create["predecessor"]["event_id"]
                self.assertEqual((await self.alice.event(old, last))["type"], "m.room.tombstone")
            self.assertEqual((await self.alice.state(new, "m.room.member", self.alice.user_id))["membership"], "join")

    async def test_state_is_carried_over_and_memberships_are_not(self) -> None:
        old = await self.room()
        await self.bob.join(old)
        await self.alice.act("ban", old, self.carol)
        await self.alice.put(old, "org.example.note", {"n": 1})
        new = await self.upgrade(self.alice, old)
        for kind, content in CARRIED.items():
            self.assertEqual(await self.alice.state(new, kind), content)
        events = await self.alice.ok("GET", f"/rooms/{quote(new)}/state")
        members = [event["state_key"] for event in events if event["type"] == "m.room.member"]
        self.assertEqual(members, [self.alice.user_id])
        self.assertNotIn("org.example.note", [event["type"] for event in events])

    async def test_the_type_of_the_room_and_its_borders_stay(self) -> None:
        old = await self.room(creation_content={"type": "m.space", "m.federate": False, "org.example": 1})
        await self.alice.put(old, "m.space.child", {"via": [SERVER]}, "!child:parta.test")
        await self.alice.put(old, "m.space.child", {}, "!gone:parta.test")
        new = await self.upgrade(self.alice, old)
        create = await self.alice.state(new, "m.room.create")
        self.assertEqual((create["type"], create["m.federate"], "org.example" in create), ("m.space", False, False))
        events = await self.alice.ok("GET", f"/rooms/{quote(new)}/state")
        children = [event["state_key"] for event in events if event["type"] == "m.space.child"]
        self.assertEqual(children, ["!child:parta.test"])

    async def test_a_plain_room_gets_no_type(self) -> None:
        new = await self.upgrade(self.alice, await self.room())
        create = await self.alice.state(new, "m.room.create")
        self.assertEqual({"type", "m.federate", "creator", "additional_creators"} & set(create), set())

    async def test_aliases_and_the_directory_entry_move(self) -> None:
        old = await self.room(room_alias_name="class", visibility="public")
        await self.alice.ok("PUT", "/directory/room/%23other:parta.test", {"room_id": old})
        new = await self.upgrade(self.alice, old)
        self.restart()
        for alias in ("%23class:parta.test", "%23other:parta.test"):
            self.assertEqual((await self.bob.ok("GET", f"/directory/room/{alias}"))["room_id"], new)
        self.assertEqual(await self.alice.state(new, "m.room.canonical_alias"), {"alias": "#class:parta.test"})
        self.assertEqual(await self.alice.state(old, "m.room.canonical_alias"), {})
        listed = (await self.bob.ok("GET", "/publicRooms"))["chunk"]
        self.assertEqual([room["room_id"] for room in listed], [new])
        await self.alice.put(old, "m.room.name", {"name": "old"})
        listed = (await self.bob.ok("GET", "/publicRooms"))["chunk"]
        self.assertEqual([room["room_id"] for room in listed], [new])

    async def test_the_old_room_falls_silent(self) -> None:
        old = await self.room()
        await self.bob.join(old)
        await self.upgrade(self.alice, old)
        levels = await self.alice.state(old, LEVELS)
        self.assertEqual((levels["events_default"], levels["invite"], levels["ban"]), (50, 50, 50))
        said = await self.bob.refused("PUT", f"/rooms/{quote(old)}/send/m.room.message/1", {"body": "still here"})
        self.assertEqual(said, FORBIDDEN)

    async def test_what_was_stricter_stays_so(self) -> None:
        old = await self.room(power_level_content_override={"users_default": 60, "invite": 80, "events_default": 70})
        await self.upgrade(self.alice, old)
        levels = await self.alice.state(old, LEVELS)
        self.assertEqual((levels["events_default"], levels["invite"]), (70, 80))

    async def test_two_upgrades_and_a_message_at_once_leave_rooms_whole(self) -> None:
        old = await self.room(room_alias_name="class", visibility="public")
        new, other, _ = await gatherResults(
            [
                Deferred.fromCoroutine(self.upgrade(self.alice, old, "12")),
                Deferred.fromCoroutine(self.upgrade(self.alice, old, "11")),
                Deferred.fromCoroutine(self.alice.say(old)),
            ]
        )
        self.restart()
        last = (await self.alice.state(old, "m.room.tombstone"))["replacement_room"]
        self.assertIn(last, (new, other))
        self.assertEqual((await self.bob.ok("GET", "/directory/room/%23class:parta.test"))["room_id"], new)
        for room in (new, other):
            create = await self.alice.state(room, "m.room.create")
            self.assertEqual(create["predecessor"]["room_id"], old)

    async def test_settings_of_people_go_with_them(self) -> None:
        old = await self.room()
        await self.bob.join(old)
        rules = b'{"rules":{"room":[{"rule_id":"%s","actions":[]}]}}' % old.encode()
        for person in (self.alice, self.bob):
            await self.db.write(set_account_data, person.user_id, "m.tag", b'{"tags":{"u.a":{}}}', old)
            await self.db.write(set_push_rules, person.user_id, rules)
        new = await self.upgrade(self.alice, old)
        await self.bob.join(new)
        await self.carol.join(new)
        for person in (self.alice, self.bob):
            tags = await self.db.read(find_account_data, person.user_id, "m.tag", new)
            self.assertEqual(tags, b'{"tags":{"u.a":{}}}')
            edits = await self.db.read(find_push_rules, person.user_id)
            self.assertIn(new.encode(), edits)
        self.assertIsNone(await self.db.read(find_account_data, self.carol.user_id, "m.tag", new))


class Powers(UpgradeCase):
    async def test_creators_have_no_level_in_version_12(self) -> None:
        old = await self.room()
        levels = await self.alice.state(old, LEVELS)
        users = {self.alice.user_id: 100, self.bob.user_id: 100, self.carol.user_id: 50}
        await self.alice.put(old, LEVELS, {**levels, "users": users})
        new = await self.upgrade(self.alice, old, additional_creators=[self.bob.user_id])
        levels = await self.alice.state(new, LEVELS)
        self.assertEqual(levels["users"], {self.carol.user_id: 50})
        self.assertGreater(levels["events"]["m.room.tombstone"], 100)
        self.assertEqual((await self.alice.state(new, "m.room.create"))["additional_creators"], [self.bob.user_id])

    async def test_creators_are_those_of_the_request_only(self) -> None:
        old = await self.room("12", creation_content={"additional_creators": [self.carol.user_id]})
        new = await self.upgrade(self.alice, old, "12", additional_creators=[self.alice.user_id])
        self.assertNotIn("additional_creators", await self.alice.state(new, "m.room.create"))

    async def test_creators_are_passed_over_where_there_are_none(self) -> None:
        new = await self.upgrade(self.alice, await self.room("10"), "11", additional_creators=["nobody"])
        self.assertNotIn("additional_creators", await self.alice.state(new, "m.room.create"))

    async def test_who_was_above_all_is_first_in_an_older_version(self) -> None:
        old = await self.room("12")
        new = await self.upgrade(self.alice, old, "11")
        levels = await self.alice.state(new, LEVELS)
        self.assertEqual(levels["users"], {self.alice.user_id: 100})
        self.assertLessEqual(levels["events"]["m.room.tombstone"], 100)
        await self.upgrade(self.alice, new, "12")

    async def test_levels_written_as_text_become_numbers(self) -> None:
        old = await self.room("9")
        levels = await self.alice.state(old, LEVELS)
        await self.alice.put(old, LEVELS, {**levels, "kick": "60", "users": {**levels["users"], "@x:y.z": " 7 "}})
        levels = await self.alice.state(await self.upgrade(self.alice, old, "11"), LEVELS)
        self.assertEqual((levels["kick"], levels["users"]["@x:y.z"]), (60, 7))

    async def test_a_moderator_who_may_end_the_room_upgrades_it_without_gaining_power(self) -> None:
        old = await self.room("10")
        await self.bob.join(old)
        levels = await self.alice.state(old, LEVELS)
        events = {**levels["events"], "m.room.tombstone": 50}
        await self.alice.put(
            old, LEVELS, {**levels, "users": {**levels["users"], self.bob.user_id: 50}, "events": events}
        )
        new = await self.upgrade(self.bob, old, "11")
        levels = await self.bob.state(new, LEVELS)
        self.assertEqual(levels["users"], {self.alice.user_id: 100, self.bob.user_id: 50})
        self.assertEqual((await self.bob.state(old, LEVELS))["events_default"], 0, "bob may not change the levels")


class NotUpgrading(UpgradeCase):
    async def test_a_version_that_is_none_is_refused(self) -> None:
        room = await self.room()
        for version in ("13", "", "org.example", "1.0"):
            self.assertEqual(
                await self.try_to(self.alice, room, {"new_version": version}), (400, "M_UNSUPPORTED_ROOM_VERSION")
            )
        for body in ({}, {"new_version": 12}, {"new_version": "12", "additional_creators": "@a:b"}):
            self.assertEqual(await self.try_to(self.alice, room, body), (400, "M_BAD_JSON"))
        wrong = {"new_version": "12", "additional_creators": ["bob"]}
        self.assertEqual(await self.try_to(self.alice, room, wrong), (400, "M_INVALID_PARAM"))
        missing = await self.alice.refused("GET", f"/rooms/{quote(room)}/state/m.room.tombstone")
        self.assertEqual(missing, (404, "M_NOT_FOUND"))

    async def test_only_who_may_end_the_room_may_upgrade_it(self) -> None:
        room = await self.room()
        await self.bob.join(room)
        self.assertEqual(await self.try_to(self.bob, room, {"new_version": "12"}), FORBIDDEN)

    async def test_a_strangers_answer_is_that_for_no_room(self) -> None:
        room = await self.room()
        replies = [
            await self.carol.call("POST", f"/rooms/{quote(each)}/upgrade", {"new_version": "12"})
            for each in (room, "!none:parta.test")
        ]
        self.assertEqual([(reply.status, reply.json) for reply in replies], [(403, replies[0].json)] * 2)

    async def test_the_policy_is_asked(self) -> None:
        room = await self.room()
        self.policy.refuse(UpgradeRoom)
        self.assertEqual(await self.try_to(self.alice, room, {"new_version": "12"}), FORBIDDEN)
        self.assertEqual(self.policy.asked[-1].by, self.alice.user_id)
