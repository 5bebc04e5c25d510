"""What is asked of application services: whether they are there, who and what belongs to their networks."""

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from tests.kit.appservices import ServiceCase
from tests.kit.people import Person

PING = "/_matrix/client/v1/appservice/irc/ping"
PROTOCOL = {
    "user_fields": ["network", "nickname"],
    "location_fields": ["network", "channel"],
    "icon": "mxc://parta.test/a",
    "field_types": {},
    "instances": [{"network_id": "libera", "desc": "Libera", "fields": {"network": "libera.chat"}}],
}


class Pings(ServiceCase):
    async def test_a_service_that_answers_is_there(self) -> None:
        self.bridge.answers["/ping"] = {}
        answer = await self.service().ok("POST", PING, {"transaction_id": "meow"})
        self.assertEqual(list(answer), ["duration_ms"])
        self.assertEqual(self.bridge.asked, ["/ping"])

    async def test_one_that_refuses_is_told_what_it_said(self) -> None:
        reply = await self.service().call("POST", PING, {})
        self.assertEqual((reply.status, reply.errcode, reply.json["status"]), (502, "M_BAD_STATUS", 404))
        self.assertEqual(reply.json["body"], '{"errcode":"ORG.IRC.NOT_FOUND"}')

    async def test_one_that_is_away_is_told_so(self) -> None:
        await self.bridge.close()
        self.assertEqual(await self.service().refused("POST", PING, {}), (502, "M_CONNECTION_FAILED"))

    async def test_one_that_is_silent_is_told_so(self) -> None:
        self.server.core.services.questions.patience_s = 0.05
        self.bridge.on_ask = lambda path: Deferred()
        self.assertEqual(await self.service().refused("POST", PING, {}), (504, "M_CONNECTION_TIMEOUT"))

    async def test_nobody_pings_for_another(self) -> None:
        alice = await self.register("alice")
        self.assertEqual(await alice.refused("POST", PING, {}), (403, "M_FORBIDDEN"))
        other = "/_matrix/client/v1/appservice/xmpp/ping"
        self.assertEqual(await self.service().refused("POST", other, {}), (403, "M_FORBIDDEN"))
        self.assertEqual((await self.call("POST", PING, {})).errcode, "M_MISSING_TOKEN")


class Mute(ServiceCase):
    registration = {"url": None}

    async def test_a_service_without_an_address_has_nothing_to_ping(self) -> None:
        self.assertEqual(await self.service().refused("POST", PING, {}), (400, "M_URL_NOT_SET"))

    async def test_it_acts_like_any_other(self) -> None:
        anna = await self.ghost("anna")
        self.assertTrue(await anna.create_room())


class Unknown(ServiceCase):
    async def test_a_service_makes_the_room_of_an_alias_when_somebody_asks(self) -> None:
        alice = await self.register("alice")
        self.bridge.answers["/rooms/#_irc_x:parta.test"] = {}
        self.bridge.on_ask = lambda path: Deferred.fromCoroutine(self.make(path))
        await alice.join("#_irc_x:parta.test")
        self.assertEqual(self.bridge.asked, ["/rooms/#_irc_x:parta.test"])
        found = await alice.ok("GET", f"/directory/room/{quote('#_irc_x:parta.test')}")
        self.assertTrue(found["room_id"])
        self.assertEqual(len(self.bridge.asked), 1)

    async def make(self, path: str) -> None:
        await self.service().create_room(preset="public_chat", room_alias_name="_irc_x")

    async def test_an_alias_that_the_service_does_not_know_is_none(self) -> None:
        alice = await self.register("alice")
        gone = await alice.refused("GET", f"/directory/room/{quote('#_irc_x:parta.test')}")
        self.assertEqual((gone, len(self.bridge.asked)), ((404, "M_NOT_FOUND"), 1))
        await alice.refused("GET", f"/directory/room/{quote('#other:parta.test')}")
        self.assertEqual(len(self.bridge.asked), 1)

    async def test_a_service_that_does_not_answer_is_waited_for_in_vain(self) -> None:
        alice = await self.register("alice")
        await self.bridge.close()
        self.assertEqual((await alice.refused("POST", f"/join/{quote('#_irc_x:parta.test')}", {}))[0], 408)

    async def test_a_service_makes_somebody_who_is_invited(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        self.bridge.answers["/users/@_irc_anna:parta.test"] = {}
        self.bridge.on_ask = lambda path: Deferred.fromCoroutine(self.introduce())
        await alice.ok("POST", f"/rooms/{room}/invite", {"user_id": "@_irc_anna:parta.test"})
        member = await alice.ok("GET", f"/rooms/{room}/state/m.room.member/@_irc_anna:parta.test")
        self.assertEqual((member["membership"], member["displayname"]), ("invite", "Анна"))
        await alice.ok("GET", "/profile/@_irc_anna:parta.test")
        self.assertEqual(len(self.bridge.asked), 1)

    async def introduce(self) -> None:
        anna = await self.ghost("anna")
        await anna.ok("PUT", f"/profile/{anna.user_id}/displayname", {"displayname": "Анна"})

    async def test_people_outside_its_namespace_are_none_of_its_business(self) -> None:
        alice = await self.register("alice")
        self.assertEqual((await alice.refused("GET", "/profile/@nobody:parta.test"))[0], 404)
        self.assertEqual((await alice.refused("GET", "/profile/@_irc_nobody:parta.test"))[0], 404)
        self.assertEqual(self.bridge.asked, ["/users/@_irc_nobody:parta.test"])


class ThirdParties(ServiceCase):
    registration = {"protocols": ["irc", "gone"]}

    async def test_protocols_are_described_by_their_services(self) -> None:
        alice = await self.register("alice")
        self.bridge.answers["/thirdparty/protocol/irc"] = PROTOCOL
        (instance,) = PROTOCOL["instances"]  # type: ignore[misc]  # a list of one
        described = {**PROTOCOL, "instances": [{**instance, "instance_id": "irc|libera"}]}
        self.assertEqual(await alice.ok("GET", "/thirdparty/protocols"), {"irc": described})
        self.assertEqual(await alice.ok("GET", "/thirdparty/protocol/irc"), described)
        self.assertEqual(await alice.refused("GET", "/thirdparty/protocol/gone"), (404, "M_NOT_FOUND"))

    async def test_places_and_people_are_looked_up_by_their_fields(self) -> None:
        alice = await self.register("alice")
        place = {"alias": "#_irc_x:parta.test", "protocol": "irc", "fields": {"channel": "#x"}}
        person = {"userid": "@_irc_anna:parta.test", "protocol": "irc", "fields": {"nickname": "anna"}}
        for what, found, name in (("location", place, "alias"), ("user", person, "userid")):
            self.bridge.answers[f"/thirdparty/{what}/irc"] = [found, "odd"]
            self.bridge.answers[f"/thirdparty/{what}"] = [found]
            answer = await alice.ok("GET", f"/thirdparty/{what}/irc", channel="#x", access_token="not for you")
            self.assertEqual(answer, [found])
            self.assertEqual(self.bridge.asked[-1], f"/thirdparty/{what}/irc?channel=#x")
            self.assertEqual(await alice.ok("GET", f"/thirdparty/{what}", **{name: found[name]}), [found])
            self.assertEqual(await alice.refused("GET", f"/thirdparty/{what}/gone"), (404, "M_NOT_FOUND"))

    async def test_a_service_that_is_away_is_left_out(self) -> None:
        alice = await self.register("alice")
        await self.bridge.close()
        self.assertEqual(await alice.ok("GET", "/thirdparty/protocols"), {})
        self.assertEqual(await alice.ok("GET", "/thirdparty/user", userid="@a:b"), [])


class Directories(ServiceCase):
    async def listed(self, who: Person, **wanted: Any) -> tuple[list[str], str | None]:
        page = await who.ok("POST", "/publicRooms", wanted)
        return [entry["room_id"] for entry in page["chunk"]], page.get("next_batch")

    async def test_a_network_has_a_directory_of_its_own(self) -> None:
        alice, bot = await self.register("alice"), self.service()
        public = await alice.create_room(visibility="public", name="Общая")
        rooms = [await bot.create_room(preset="public_chat", name=f"IRC {n}") for n in range(3)]
        for room in rooms:
            await bot.ok("PUT", f"/directory/list/appservice/libera/{room}", {"visibility": "public"})
        self.assertEqual(await self.listed(alice), ([public], None))
        first, token = await self.listed(alice, third_party_instance_id="irc|libera", limit=2)
        second, end = await self.listed(alice, third_party_instance_id="irc|libera", limit=2, since=token)
        self.assertEqual((sorted(first + second), end), (sorted(rooms), None))
        named, _ = await self.listed(
            alice, third_party_instance_id="irc|libera", filter={"generic_search_term": "irc 1"}
        )
        self.assertEqual(named, [rooms[1]])
        await bot.ok("PUT", f"/directory/list/appservice/libera/{rooms[0]}", {"visibility": "private"})
        self.assertEqual(len((await self.listed(alice, third_party_instance_id="irc|libera"))[0]), 2)
        self.assertEqual((await self.listed(alice, third_party_instance_id="irc|other"))[0], [])
        self.assertEqual(
            await alice.refused("POST", "/publicRooms", {"third_party_instance_id": "xmpp|x"}), (404, "M_NOT_FOUND")
        )

    async def test_all_networks_come_after_the_servers_own_rooms(self) -> None:
        alice, bot = await self.register("alice"), self.service()
        public = await alice.create_room(visibility="public")
        room = await bot.create_room()
        await bot.ok("PUT", f"/directory/list/appservice/libera/{room}", {"visibility": "public"})
        first, token = await self.listed(alice, include_all_networks=True)
        self.assertEqual(first, [public])
        self.assertEqual(await self.listed(alice, include_all_networks=True, since=token), ([room], None))

    async def test_only_services_keep_one_and_only_of_rooms_their_people_are_in(self) -> None:
        alice, bot = await self.register("alice"), self.service()
        room = await alice.create_room()
        place = f"/directory/list/appservice/libera/{room}"
        self.assertEqual(await alice.refused("PUT", place, {"visibility": "public"}), (403, "M_FORBIDDEN"))
        self.assertEqual(await bot.refused("PUT", place, {"visibility": "public"}), (404, "M_NOT_FOUND"))
        self.assertEqual((await bot.refused("PUT", place, {"visibility": "maybe"}))[0], 400)


class OldService(ServiceCase):
    async def test_a_service_of_an_earlier_time_is_told_at_its_paths(self) -> None:
        self.bridge.is_old = True
        alice, anna = await self.register("alice"), await self.ghost("anna")
        room = await alice.create_room(preset="public_chat")
        await anna.join(room)
        await alice.send(room, "hi")
        await self.until(lambda: self.bridge.bodies() == ["hi"])


class DirectoriesOnPostgreSQL(Directories):
    dialect = "postgresql"
