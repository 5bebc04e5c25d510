"""Application services in a school: let into the rooms that the operator named, and a stranger everywhere else."""

from typing import Any
from urllib.parse import quote

from config.settings import Settings
from homeserver.schools.rights import Kind
from tests.kit.appservices import AS_TOKEN, REGISTRATION, ServiceCase
from tests.kit.district import OFFICE, DistrictCase, try_to_send
from tests.kit.people import V3

FORBIDDEN = (403, "M_FORBIDDEN")


class Bridged(ServiceCase, DistrictCase):
    registration: dict[str, Any] = {
        "receive_ephemeral": True,
        "namespaces": {
            "users": [{"exclusive": False, "regex": "@.*"}],
            "aliases": [{"exclusive": False, "regex": "#.*"}],
            "rooms": [{"exclusive": False, "regex": "!.*"}],
        },
    }

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.named = await self.room(Kind.PUPILS, "9Б")
        self.other = await self.room(Kind.PUPILS, "5А")
        await self.name_rooms(self.named)

    async def name_rooms(self, *rooms: str) -> None:
        """Let the operator name the rooms that the service is let into."""
        self.rooms = list(rooms)
        self.settings = self.build_settings()
        await self.restart()

    async def joined(self, room: str, user_id: str) -> bool:
        """Whether somebody is in a room."""
        live = await self.server.rooms.doors.rooms.load(room)
        assert live is not None
        return user_id in live.joined_members

    async def test_its_people_relay_in_a_room_that_was_named_for_it(self) -> None:
        anna, pupil = await self.ghost("anna"), await self.sign_in("pupil3")
        await anna.ok("PUT", f"/profile/{quote(anna.user_id)}/displayname", {"displayname": "Анна (IRC)"})
        await anna.join(self.named)
        await anna.send(self.named, "из IRC")
        await pupil.send(self.named, "из школы")
        self.assertEqual((await pupil.texts(self.named))[:2], ["из школы", "из IRC"])
        await self.until(lambda: self.bridge.bodies()[-1:] == ["из школы"])
        self.assertEqual({event["room_id"] for event in self.bridge.events()}, {self.named})

    async def test_it_reaches_for_another_class_in_vain(self) -> None:
        anna, bot, pupil = await self.ghost("anna"), self.service(), await self.sign_in("pupil1")
        for person in (anna, bot):
            nowhere = await person.call("POST", f"/join/{quote('!' + 'x' * 43)}", {})
            there = await person.call("POST", f"/join/{quote(self.other)}", {})
            self.assertEqual((there.status, there.body), (nowhere.status, nowhere.body))
            for path in ("state", "members", "messages"):
                self.assertEqual((await person.call("GET", f"/rooms/{quote(self.other)}/{path}", dir="b")).status, 403)
            self.assertEqual((await try_to_send(person, self.other)).status, 403)
        await pupil.send(self.other, "только для своих")
        await pupil.ok("PUT", f"/rooms/{quote(self.other)}/typing/{pupil.user_id}", {"typing": True})
        await self.settle()
        told = [each for _, body in self.bridge.told for each in (*body["events"], *body.get("ephemeral", ()))]
        self.assertEqual([each for each in told if each.get("room_id") != self.named], [])
        self.assertEqual(list(self.bridge.ephemeral("m.presence")), [])

    async def test_it_acts_for_no_person_of_a_school_whatever_its_namespace_says(self) -> None:
        for name in ("teacher1", "pupil1", "parent1", "_parta"):
            self.assertEqual(await self.service(name).refused("GET", "/account/whoami"), FORBIDDEN)
            request = {"type": "m.login.application_service", "identifier": {"type": "m.id.user", "user": name}}
            reply = await self.call("POST", f"{V3}/login", request, token=AS_TOKEN)
            self.assertEqual((reply.status, reply.errcode), FORBIDDEN)
            request = {"type": "m.login.application_service", "username": name}
            reply = await self.call("POST", f"{V3}/register", request, token=AS_TOKEN)
            self.assertIn(reply.errcode, {"M_USER_IN_USE", "M_EXCLUSIVE"})

    async def test_who_was_dismissed_is_not_let_in_as_one_of_the_services(self) -> None:
        teacher = await self.sign_in("teacher1")
        boss = await self.sign_in("admin1")
        await teacher.send(self.named, "урок")
        place = f"{OFFICE}/{self.org_id}/people/{quote(teacher.user_id)}/dismiss"
        await boss.ok("POST", place, {})
        self.assertFalse(await self.joined(self.named, teacher.user_id))
        again = await self.call("POST", f"{V3}/join/{quote(self.named)}", {}, token=teacher.token)
        self.assertIn(again.status, {401, 403})
        self.assertEqual(await self.service("teacher1").refused("GET", "/account/whoami"), FORBIDDEN)

    async def test_it_does_nothing_that_is_for_people(self) -> None:
        anna, pupil = await self.ghost("anna"), await self.sign_in("pupil3")
        await anna.join(self.named)
        for method, path, body in (
            ("POST", "/createRoom", {}),
            ("POST", "/createRoom", {"invite": [pupil.user_id], "is_direct": True}),
            ("POST", f"/rooms/{quote(self.named)}/invite", {"user_id": "@_irc_boris:north.example"}),
            ("POST", f"/rooms/{quote(self.named)}/kick", {"user_id": pupil.user_id}),
            ("PUT", f"/rooms/{quote(self.named)}/state/m.room.name", {"name": "x"}),
            ("PUT", f"/rooms/{quote(self.named)}/state/m.room.topic", {"topic": "x"}),
            ("GET", f"/profile/{quote(pupil.user_id)}", None),
            ("PUT", f"/profile/{quote(anna.user_id)}/org.example.role", {"org.example.role": "teacher"}),
            ("PUT", f"/directory/room/{quote('#x:north.example')}", {"room_id": self.named}),
            ("PUT", f"/directory/list/appservice/irc/{quote(self.named)}", {"visibility": "public"}),
        ):
            self.assertIn((await anna.refused(method, path, body))[0], {403, 404}, path)
        keys = await anna.ok("POST", "/keys/query", {"device_keys": {pupil.user_id: []}})
        self.assertEqual(keys["device_keys"], {})
        found = await anna.ok("POST", "/user_directory/search", {"search_term": "а"})
        self.assertEqual(found["results"], [])

    async def test_it_stays_through_what_the_office_does_and_goes_with_the_operators_consent(self) -> None:
        anna = await self.ghost("anna")
        await anna.join(self.named)
        await self.server.bureau.desk.settle(self.org_id)
        self.assertTrue(await self.joined(self.named, anna.user_id))
        await self.restart()
        self.assertTrue(await self.joined(self.named, anna.user_id))
        await self.name_rooms(self.other)
        self.assertFalse(await self.joined(self.named, anna.user_id))
        self.assertEqual((await try_to_send(anna, self.named)).status, 403)

    async def test_a_direct_room_cannot_be_named(self) -> None:
        teacher, parent = await self.sign_in("teacher1"), await self.sign_in("parent1")
        direct = await teacher.create_room(invite=[parent.user_id], is_direct=True)
        await self.name_rooms(direct)
        anna = await self.ghost("anna")
        self.assertEqual((await anna.call("POST", f"/join/{quote(direct)}", {})).status, 403)
        await teacher.send(direct, "между нами")
        await self.settle()
        self.assertNotIn("между нами", self.bridge.bodies())

    async def test_the_services_doors_are_closed_to_people(self) -> None:
        pupil, teacher = await self.sign_in("pupil1"), await self.sign_in("teacher1")
        for person in (pupil, teacher):
            ping = await person.refused("POST", "/_matrix/client/v1/appservice/irc/ping", {})
            self.assertEqual(ping, FORBIDDEN)
            place = f"/directory/list/appservice/irc/{quote(self.named)}"
            self.assertEqual(await person.refused("PUT", place, {"visibility": "public"}), FORBIDDEN)
        who = await pupil.ok("GET", "/account/whoami", user_id=teacher.user_id)
        self.assertEqual(who["user_id"], pupil.user_id)

    async def test_nobody_asks_it_about_its_networks(self) -> None:
        teacher = await self.sign_in("teacher1")
        self.assertEqual(await teacher.ok("GET", "/thirdparty/protocols"), {})
        await teacher.call("GET", f"/profile/{quote('@stranger:north.example')}")
        await teacher.call("GET", f"/directory/room/{quote('#stranger:north.example')}")
        self.assertEqual(self.bridge.asked, [])


class TwoServices(Bridged):
    """A second service, whose namespace covers everybody, too; the operator named another room for it."""

    configuration: dict[str, Any] = {
        **DistrictCase.configuration,
        "application_services": [None, {"registration": "xmpp.yaml", "rooms": []}],
    }

    def build_settings(self) -> Settings:
        registration = {**REGISTRATION, "id": "xmpp", "as_token": "as2", "hs_token": "hs2", "url": None}
        namespaces = {"users": [{"exclusive": False, "regex": "@.*"}]}
        self.write_registration(
            "xmpp.yaml", {**registration, "sender_localpart": "_xmpp_bot", "namespaces": namespaces}
        )
        return super().build_settings()

    async def test_one_does_not_come_in_as_one_of_the_others(self) -> None:
        anna = await self.ghost("anna")
        await anna.join(self.named)
        thief = self.service("_irc_anna", token="as2")
        self.assertEqual(await thief.refused("GET", "/account/whoami"), FORBIDDEN)
        other = self.service("_xmpp_bot", token="as2")
        self.assertEqual((await other.call("POST", f"/join/{quote(self.named)}", {})).status, 403)
