"""Application services as clients: whom they act for, what they make, and what is theirs alone."""

import re
from urllib.parse import quote

from tests.kit.appservices import AS_TOKEN, ServiceCase
from tests.kit.people import V3

SERVICE = "m.login.application_service"
LAST = ("/ping", "/deactivate", "/leave", "/forget")
"""The ends of doors that end something, or ask the service itself."""
FIELDS = {
    "messages": {},
    "one_time_keys": {},
    "device_keys": {},
    "kind": None,
    "app_id": "a",
    "pushkey": "p",
    "typing": True,
    "presence": "online",
    "device_id": "D",
    "device_data": {"algorithm": "x"},
    "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
    "auth_data": {"public_key": "A" * 43},
    "search_term": "a",
    "new_version": "12",
    "actions": [],
    "visibility": "public",
    "devices": [],
}
"""Something for nearly all doors: each reads the fields that it knows."""


class Identity(ServiceCase):
    async def test_without_a_name_the_service_is_itself(self) -> None:
        who = await self.service().ok("GET", "/account/whoami")
        self.assertEqual(who, {"user_id": "@_irc_bot:parta.test"})

    async def test_it_acts_for_those_it_made(self) -> None:
        anna = await self.ghost("anna")
        self.assertEqual(await anna.ok("GET", "/account/whoami"), {"user_id": "@_irc_anna:parta.test"})

    async def test_it_acts_for_nobody_else(self) -> None:
        await self.register("alice")
        forbidden = (403, "M_FORBIDDEN")
        for name in ("alice", "_irc_nobody", "nobody", "_irc_x" * 60):
            self.assertEqual(await self.service(name).refused("GET", "/account/whoami"), forbidden)
        self.assertEqual(await self.service().refused("GET", "/account/whoami", user_id="anna"), forbidden)

    async def test_a_persons_token_acts_for_that_person_whatever_it_says(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        who = await alice.ok("GET", "/account/whoami", user_id=bob.user_id, device_id=bob.device_id)
        self.assertEqual(who, {"user_id": alice.user_id, "device_id": alice.device_id})

    async def test_the_token_counts_in_the_header_only(self) -> None:
        reply = await self.call("GET", f"{V3}/account/whoami?access_token={AS_TOKEN}")
        self.assertEqual((reply.status, reply.errcode), (401, "M_MISSING_TOKEN"))

    async def test_a_closed_account_is_nobody(self) -> None:
        anna = await self.ghost("anna")
        await anna.ok("POST", "/account/deactivate", {})
        self.assertEqual(await anna.refused("GET", "/account/whoami"), (403, "M_FORBIDDEN"))


class Devices(ServiceCase):
    async def test_it_makes_names_uses_and_removes_devices(self) -> None:
        anna = await self.ghost("anna")
        self.assertEqual((await anna.call("PUT", "/devices/D1", {"display_name": "One"})).status, 201)
        self.assertEqual((await anna.call("PUT", "/devices/D1", {"display_name": "Two"})).status, 200)
        self.assertEqual((await anna.ok("GET", "/devices/D1"))["display_name"], "Two")
        phone = self.service("_irc_anna", "D1")
        who = await phone.ok("GET", "/account/whoami")
        self.assertEqual(who, {"user_id": "@_irc_anna:parta.test", "device_id": "D1"})
        await phone.ok("POST", "/keys/upload", {"one_time_keys": {"signed_curve25519:A": {"key": "a"}}})
        await anna.ok("POST", "/delete_devices", {"devices": ["D1"]})
        self.assertEqual(await phone.refused("GET", "/account/whoami"), (400, "M_UNKNOWN_DEVICE"))
        await anna.call("PUT", "/devices/D2", {})
        await anna.ok("DELETE", "/devices/D2")

    async def test_a_device_it_names_is_there(self) -> None:
        await self.ghost("anna")
        self.assertEqual(
            await self.service("_irc_anna", "GONE").refused("GET", "/account/whoami"), (400, "M_UNKNOWN_DEVICE")
        )
        proposed = await self.service("_irc_anna").refused(
            "GET", "/account/whoami", **{"org.matrix.msc3202.device_id": "GONE"}
        )
        self.assertEqual(proposed, (400, "ORG.MATRIX.MSC4326.M_UNKNOWN_DEVICE"))

    async def test_what_needs_a_device_is_refused_without_one(self) -> None:
        anna = await self.ghost("anna")
        self.assertEqual((await anna.refused("POST", "/keys/upload", {}))[0], 400)
        pusher = {"kind": "http", "app_id": "a", "pushkey": "b", "app_display_name": "c", "device_display_name": "d",
                  "lang": "e", "data": {"url": "https://push.test/_matrix/push/v1/notify"}}  # fmt: skip
        self.assertEqual((await anna.refused("POST", "/pushers/set", pusher))[0], 400)

    async def test_people_make_no_devices_like_that(self) -> None:
        alice = await self.register("alice")
        self.assertEqual(await alice.refused("PUT", "/devices/NEW", {}), (404, "M_NOT_FOUND"))
        self.assertEqual((await alice.call("DELETE", f"/devices/{alice.device_id}", {})).status, 401)

    async def test_keys_are_signed_anew_without_a_password(self) -> None:
        anna = await self.ghost("anna")
        for letter in "AB":
            public = letter * 43
            key = {"user_id": anna.user_id, "usage": ["master"], "keys": {f"ed25519:{public}": public}}
            await anna.ok("POST", "/keys/device_signing/upload", {"master_key": key})

    async def test_messages_to_devices_are_sent_once_without_a_device(self) -> None:
        anna, alice = await self.ghost("anna"), await self.register("alice")
        messages = {"messages": {alice.user_id: {"*": {"a": 1}}}}
        for txn in ("t1", "t1", "t2"):
            await anna.ok("PUT", f"/sendToDevice/org.x/{txn}", messages)
        self.assertEqual(len((await alice.sync())["to_device"]["events"]), 2)


class Accounts(ServiceCase):
    async def test_it_registers_and_logs_in_its_people(self) -> None:
        wanted = {"type": SERVICE, "username": "_irc_anna", "device_id": "D1"}
        reply = await self.call("POST", f"{V3}/register", wanted, token=AS_TOKEN)
        self.assertEqual((reply.status, reply.json["device_id"]), (200, "D1"))
        bare = await self.call("POST", f"{V3}/register", {**wanted, "username": "_irc_boris", "inhibit_login": True},
                               token=AS_TOKEN)  # fmt: skip
        self.assertEqual(bare.json, {"user_id": "@_irc_boris:parta.test"})
        identifier = {"type": "m.id.user", "user": "_irc_boris"}
        login = await self.call("POST", f"{V3}/login", {"type": SERVICE, "identifier": identifier}, token=AS_TOKEN)
        self.assertEqual(login.status, 200)
        who = await self.call("GET", f"{V3}/account/whoami", token=login.json["access_token"])
        self.assertEqual(who.json["user_id"], "@_irc_boris:parta.test")

    async def test_it_registers_nobody_outside_its_namespace_nor_twice(self) -> None:
        for name, refusal in (("alice", "M_EXCLUSIVE"), ("_irc_anna", None), ("_irc_anna", "M_USER_IN_USE"),
                              ("_irc_é", "M_INVALID_USERNAME")):  # fmt: skip
            reply = await self.call("POST", f"{V3}/register", {"type": SERVICE, "username": name}, token=AS_TOKEN)
            self.assertEqual((reply.status, reply.json.get("errcode")), (400 if refusal else 200, refusal))
        reply = await self.call("POST", f"{V3}/register", {"type": SERVICE}, token=AS_TOKEN)
        self.assertEqual((reply.status, reply.errcode), (400, "M_MISSING_PARAM"))

    async def test_it_logs_in_nobody_outside_its_namespace(self) -> None:
        await self.register("alice")
        for name, refusal in (("alice", (400, "M_EXCLUSIVE")), ("_irc_nobody", (403, "M_FORBIDDEN"))):
            request = {"type": SERVICE, "identifier": {"type": "m.id.user", "user": name}}
            reply = await self.call("POST", f"{V3}/login", request, token=AS_TOKEN)
            self.assertEqual((reply.status, reply.errcode), refusal)

    async def test_others_do_neither_as_if_they_were_a_service(self) -> None:
        alice = await self.register("alice")
        register = {"type": SERVICE, "username": "_irc_anna"}
        login = {"type": SERVICE, "identifier": {"type": "m.id.user", "user": "_irc_bot"}}
        for path, request in (("register", register), ("login", login)):
            for token, errcode in (
                (None, "M_MISSING_TOKEN"),
                ("x", "M_UNKNOWN_TOKEN"),
                (alice.token, "M_UNKNOWN_TOKEN"),
            ):
                reply = await self.call("POST", f"{V3}/{path}", request, token=token)
                self.assertEqual((reply.status, reply.errcode), (401, errcode))

    async def test_nobody_else_takes_its_names(self) -> None:
        await self.ghost("anna")
        reply = await self.call("GET", f"{V3}/register/available?username=_irc_boris")
        self.assertEqual((reply.status, reply.errcode), (400, "M_EXCLUSIVE"))

    async def test_it_has_no_password(self) -> None:
        anna = await self.ghost("anna")
        request = {"new_password": "correct horse battery 9"}
        self.assertEqual(await anna.refused("POST", "/account/password", request), (403, "M_FORBIDDEN"))

    async def test_its_way_in_is_shown(self) -> None:
        flows = (await self.call("GET", f"{V3}/login")).json["flows"]
        self.assertIn({"type": SERVICE}, flows)


class Plain(ServiceCase):
    registration = {
        "namespaces": {"users": [{"exclusive": True, "regex": "@irc-.*"}], "aliases": [], "rooms": []},
    }

    async def test_names_people_could_choose_are_the_services_alone(self) -> None:
        request = {"username": "irc-anna", "password": "correct horse 5", "auth": {"type": "m.login.dummy"}}
        reply = await self.call("POST", f"{V3}/register", request)
        self.assertEqual((reply.status, reply.errcode), (400, "M_EXCLUSIVE"))
        reply = await self.call("GET", f"{V3}/register/available?username=irc-anna")
        self.assertEqual((reply.status, reply.errcode), (400, "M_EXCLUSIVE"))

    async def test_aliases_outside_its_namespace_are_not_its_to_make(self) -> None:
        bot = self.service()
        room = await bot.create_room()
        refused = await bot.refused("PUT", "/directory/room/%23free:parta.test", {"room_id": room})
        self.assertEqual(refused, (400, "M_EXCLUSIVE"))


class Aliases(ServiceCase):
    async def test_its_aliases_are_made_and_removed_by_it_alone(self) -> None:
        alice, bot = await self.register("alice"), self.service()
        theirs, ours = await alice.create_room(), await bot.create_room()
        place, exclusive = "/directory/room/%23_irc_x:parta.test", (400, "M_EXCLUSIVE")
        self.assertEqual(await alice.refused("PUT", place, {"room_id": theirs}), exclusive)
        self.assertEqual(await alice.refused("POST", "/createRoom", {"room_alias_name": "_irc_x"}), exclusive)
        await bot.ok("PUT", place, {"room_id": ours})
        self.assertEqual(await alice.refused("DELETE", place), exclusive)
        anna = await self.ghost("anna")
        await anna.ok("DELETE", place)

    async def test_an_alias_that_a_person_made_before_is_the_services_to_remove(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room(room_alias_name="free")
        self.assertEqual((await self.service().refused("DELETE", "/directory/room/%23free:parta.test"))[0], 400)
        self.assertTrue(room)


class Times(ServiceCase):
    async def test_it_says_when_something_was_sent(self) -> None:
        bot = self.service()
        room = await bot.create_room(preset="public_chat")
        content = {"msgtype": "m.text", "body": "long ago"}
        sent = await bot.ok("PUT", f"/rooms/{room}/send/m.room.message/t1", content, ts=1234567)
        event = await bot.ok("GET", f"/rooms/{room}/event/{sent['event_id']}")
        self.assertEqual(event["origin_server_ts"], 1234567)
        topic = await bot.ok("PUT", f"/rooms/{room}/state/m.room.topic", {"topic": "x"}, ts=7)
        event = await bot.ok("GET", f"/rooms/{room}/event/{topic['event_id']}")
        self.assertEqual(event["origin_server_ts"], 7)
        anna = await self.ghost("anna")
        joined = await anna.ok("PUT", f"/rooms/{room}/state/m.room.member/{anna.user_id}", {"membership": "join"}, ts=8)
        event = await bot.ok("GET", f"/rooms/{room}/event/{joined['event_id']}")
        self.assertEqual(event["origin_server_ts"], 8)

    async def test_a_time_that_cannot_be_is_refused(self) -> None:
        bot = self.service()
        room = await bot.create_room()
        for ts in ("-1", "soon", "1e9", str(1 << 53)):
            refused = await bot.refused("PUT", f"/rooms/{room}/send/org.x/t{ts}", {}, ts=ts)
            self.assertEqual(refused, (400, "M_INVALID_PARAM"))

    async def test_people_send_now(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        sent = await alice.ok("PUT", f"/rooms/{room}/send/org.x/t1", {}, ts=7)
        event = await alice.ok("GET", f"/rooms/{room}/event/{sent['event_id']}")
        self.assertGreater(event["origin_server_ts"], 7)


class Limits(ServiceCase):
    configuration = {"limits": {"rates": True}}
    registration = {"rate_limited": True}

    async def test_the_service_itself_is_never_limited_those_it_acts_for_are(self) -> None:
        anna, bot = await self.ghost("anna"), self.service()
        statuses = [(await anna.call("POST", "/createRoom", {})).status for _ in range(25)]
        self.assertIn(429, statuses)
        self.assertEqual([(await bot.call("POST", "/createRoom", {})).status for _ in range(25)], [200] * 25)


class Free(ServiceCase):
    configuration = {"limits": {"rates": True}}

    async def test_a_service_that_is_not_to_be_limited_is_not(self) -> None:
        anna = await self.ghost("anna")
        self.assertEqual([(await anna.call("POST", "/createRoom", {})).status for _ in range(25)], [200] * 25)


class EveryDoor(ServiceCase):
    async def test_no_door_breaks_for_who_has_no_device(self) -> None:
        anna = await self.ghost("anna")
        room = await anna.create_room()
        event_id = await anna.send(room, "hi")
        parts = {"roomId": room, "roomIdOrAlias": room, "userId": anna.user_id, "eventId": event_id, "txnId": "t"}
        bodies: list[object] = [{}, {**FIELDS, "room_id": room, "user_id": anna.user_id}]
        broken = []
        for route in self.factory.edge._bound:  # type: ignore[attr-defined]  # what the listener answers
            if not route.path.startswith("/_matrix/client/") or route.path.endswith(LAST):
                continue
            path = re.sub(r"\{(\w+)\}", lambda name: quote(parts.get(name[1], "x"), safe=""), route.path)
            for body in bodies if route.method != "GET" else [None]:
                reply = await anna.call(route.method, path, body, timeout="0", dir="b")
                if reply.status >= 500:
                    broken.append((route.method, route.path, reply.status, reply.body))
        self.assertEqual(broken, [])


class DevicesOnPostgreSQL(Devices):
    dialect = "postgresql"
