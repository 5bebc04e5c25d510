"""Operators' endpoints of what people have: devices, sessions, pushers, account data, rooms, rates."""

from urllib.parse import quote

from tests.kit.operators import FORBIDDEN, NOT_FOUND, V1, V2, OperatorCase

PUSHER = {
    "kind": "http", "app_id": "org.x", "pushkey": "key", "app_display_name": "X", "device_display_name": "Y",
    "lang": "ru", "data": {"url": "https://push.test/_matrix/push/v1/notify", "format": "event_id_only"},
}  # fmt: skip


class Devices(OperatorCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.path = f"{V2}/users/{self.bob.user_id}/devices"

    async def test_they_are_seen_renamed_and_ended(self) -> None:
        second = await self.log_in("bob")
        answer = await self.head.ok("GET", self.path)
        self.assertEqual({device["device_id"] for device in answer["devices"]}, {self.bob.device_id, second.device_id})
        self.assertEqual(answer["total"], 2)
        await self.head.ok("PUT", f"{self.path}/{second.device_id}", {"display_name": "Phone"})
        self.assertEqual((await self.head.ok("GET", f"{self.path}/{second.device_id}"))["display_name"], "Phone")
        await self.head.ok("PUT", f"{self.path}/{second.device_id}", {})
        await self.head.ok("DELETE", f"{self.path}/{second.device_id}", {})
        self.assertEqual(await second.refused("GET", "/account/whoami"), (401, "M_UNKNOWN_TOKEN"))
        await self.bob.ok("GET", "/account/whoami")
        await self.head.ok("POST", f"{V2}/users/{self.bob.user_id}/delete_devices", {"devices": [self.bob.device_id]})
        self.assertEqual(await self.bob.refused("GET", "/account/whoami"), (401, "M_UNKNOWN_TOKEN"))
        self.assertEqual((await self.head.ok("GET", self.path))["total"], 0)
        deeds = {deed for deed, _ in await self.deeds(subject=self.bob.user_id)}
        self.assertEqual(deeds, {"see_account", "change_device", "end_sessions"})

    async def test_one_is_made_without_a_session(self) -> None:
        for _ in range(2):
            await self.head.ok("POST", self.path, {"device_id": "NEW"})
        self.assertEqual((await self.head.ok("GET", self.path))["total"], 2)
        self.assertEqual(await self.head.refused("POST", self.path, {"device_id": ""}), (400, "M_INVALID_PARAM"))

    async def test_what_is_not_there_is_not_found_and_nothing_is_noted(self) -> None:
        for method, path, body in (
            ("GET", f"{self.path}/NONE", None),
            ("PUT", f"{self.path}/NONE", {"display_name": "x"}),
            ("GET", f"{V2}/users/@none:parta.test/devices", None),
            ("POST", f"{V2}/users/@none:parta.test/delete_devices", {"devices": []}),
        ):
            self.assertEqual(await self.head.refused(method, path, body), NOT_FOUND)
        self.assertEqual(await self.head.refused("GET", f"{V2}/users/@x:other.test/devices"), (400, "M_INVALID_PARAM"))
        self.assertEqual(await self.deeds(subject="@none:parta.test"), [])


class Belongings(OperatorCase):
    async def test_pushers_are_seen(self) -> None:
        await self.bob.ok("POST", "/pushers/set", PUSHER)
        answer = await self.head.ok("GET", f"{V1}/users/{self.bob.user_id}/pushers")
        (pusher,) = answer["pushers"]
        self.assertEqual((pusher["app_id"], pusher["kind"], pusher["data"]["format"], answer["total"]),
                         ("org.x", "http", "event_id_only", 1))  # fmt: skip

    async def test_account_data_are_seen_and_that_is_noted(self) -> None:
        room = await self.bob.create_room()
        await self.bob.ok("PUT", f"/user/{self.bob.user_id}/account_data/org.x", {"a": 1})
        await self.bob.ok("PUT", f"/user/{self.bob.user_id}/rooms/{quote(room)}/account_data/org.y", {"b": 2})
        found = (await self.head.ok("GET", f"{V1}/users/{self.bob.user_id}/accountdata"))["account_data"]
        self.assertEqual((found["global"]["org.x"], found["rooms"][room]["org.y"]), ({"a": 1}, {"b": 2}))
        self.assertEqual(await self.deeds(), [("see_account_data", self.bob.user_id)])

    async def test_rooms_are_seen_with_what_one_is_in_them(self) -> None:
        stays, left = await self.bob.create_room(), await self.bob.create_room()
        await self.bob.leave(left)
        root = f"{V1}/users/{self.bob.user_id}"
        self.assertEqual(await self.head.ok("GET", f"{root}/joined_rooms"), {"joined_rooms": [stays], "total": 1})
        memberships = (await self.head.ok("GET", f"{root}/memberships"))["memberships"]
        self.assertEqual(memberships, {stays: "join", left: "leave"})
        elsewhere = await self.head.ok("GET", f"{V1}/users/@x:other.test/joined_rooms")
        self.assertEqual(elsewhere, {"joined_rooms": [], "total": 0})
        self.assertEqual(await self.head.refused("GET", f"{V1}/users/@none:parta.test/memberships"), NOT_FOUND)

    async def test_invitations_and_joins_are_counted_since_a_time(self) -> None:
        room = await self.bob.create_room()
        await self.bob.invite(room, self.head)
        root, later = f"{V1}/users/{self.bob.user_id}", self.server.core.world.now_ms() + 60_000
        for path, field in (("sent_invite_count", "invite_count"), ("cumulative_joined_room_count",) * 2):
            self.assertEqual(await self.head.ok("GET", f"{root}/{path}", from_ts=0), {field: 1})
            self.assertEqual(await self.head.ok("GET", f"{root}/{path}", from_ts=later), {field: 0})
            self.assertEqual(await self.head.refused("GET", f"{root}/{path}"), (400, "M_MISSING_PARAM"))

    async def test_where_somebody_is_signed_in_is_seen_and_noted(self) -> None:
        answer = await self.head.ok("GET", f"{V1}/whois/{self.bob.user_id}")
        self.assertEqual(set(answer["devices"]), {self.bob.device_id})
        await self.head.ok("GET", f"/admin/whois/{self.bob.user_id}")
        (first, second) = await self.log(subject=self.bob.user_id)
        self.assertEqual(first["detail"], second["detail"], {"what": "whois"})
        await self.bob.ok("GET", f"/admin/whois/{self.bob.user_id}")
        self.assertEqual(len(await self.log(subject=self.bob.user_id)), 2)

    async def test_an_account_is_suspended_and_let_act_again(self) -> None:
        room = await self.bob.create_room()
        path = f"{V1}/suspend/{self.bob.user_id}"
        await self.head.ok("PUT", path, {"suspend": True})
        refused = await self.bob.refused("PUT", f"/rooms/{room}/send/m.room.message/1", {"body": "hi"})
        self.assertEqual(refused, (403, "M_USER_SUSPENDED"))
        await self.head.ok("PUT", path, {"suspend": False})
        await self.bob.send(room, "hi")
        self.assertEqual([deed for deed, _ in await self.deeds(subject=self.bob.user_id)], ["suspend", "unsuspend"])
        self.assertEqual(
            await self.head.refused("PUT", f"{V1}/suspend/{self.head.user_id}", {"suspend": True}), FORBIDDEN
        )


class BelongingsOnPostgreSQL(Belongings):
    dialect = "postgresql"


class Rates(OperatorCase):
    configuration = {"limits": {"rates": True}}

    async def setUp(self) -> None:
        await super().setUp()
        self.path = f"{V1}/users/{self.bob.user_id}/override_ratelimit"
        self.room = await self.bob.create_room()

    async def sent_at_once(self) -> int:
        """How many messages pass, of many."""
        for number in range(80):
            reply = await self.bob.call(
                "PUT", f"/rooms/{quote(self.room)}/send/m.room.message/r{number}", {"body": "x"}
            )
            if reply.status == 429:
                return number
        return 80

    async def test_another_rate_holds_for_somebody_also_after_a_restart(self) -> None:
        self.assertEqual(await self.head.ok("GET", self.path), {})
        rate = {"messages_per_second": 1, "burst_count": 3}
        self.assertEqual(await self.head.ok("POST", self.path, rate), rate)
        await self.restart()
        self.assertEqual(await self.head.ok("GET", self.path), rate)
        self.assertLessEqual(await self.sent_at_once(), 5)

    async def test_who_is_not_limited_may_ask_without_end_until_that_is_taken_back(self) -> None:
        await self.head.ok("POST", self.path, {})
        self.assertEqual(await self.sent_at_once(), 80)
        await self.head.ok("DELETE", self.path, {})
        self.assertEqual(await self.head.ok("GET", self.path), {})
        self.assertEqual([deed for deed, _ in await self.deeds(subject=self.bob.user_id)], ["limit", "limit"])

    async def test_rates_that_cannot_be_are_refused(self) -> None:
        for body in ({"messages_per_second": -1}, {"burst_count": 10**9}, {"messages_per_second": "x"}):
            self.assertEqual((await self.head.refused("POST", self.path, body))[0], 400)
        self.assertEqual(await self.head.refused("GET", f"{V1}/users/@none:parta.test/override_ratelimit"), NOT_FOUND)
