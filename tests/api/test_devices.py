"""One's own devices: see, rename, end them."""

from typing import Any

from tests.kit.databases import on_both_databases
from tests.kit.doors import PASSWORD, Client, DoorsCase
from tests.kit.wire import Reply


def proof(user: str = "alice", password: str = PASSWORD, **fields: Any) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": user}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **fields}


@on_both_databases
class OwnDevices(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob", device_id="BOBS")
        self.phone = await self.log_in("alice", device_id="PHONE", initial_device_display_name="Phone")

    async def ids(self, client: Client) -> set[str]:
        return {device["device_id"] for device in (await client.call("GET", "/devices")).json["devices"]}

    async def test_the_list_holds_ones_own_and_no_others(self) -> None:
        self.assertEqual(await self.ids(self.alice), {self.alice.device_id, "PHONE"})
        self.assertEqual(await self.ids(self.bob), {"BOBS"})
        for method, path in (("GET", "/devices"), ("GET", "/devices/PHONE"), ("PUT", "/devices/PHONE")):
            self.assert_refused(await self.call(method, path, {}), 401, "M_MISSING_TOKEN")

    async def test_anothers_device_is_answered_as_one_that_does_not_exist(self) -> None:
        for method, body in (("GET", None), ("PUT", {"display_name": "mine"}), ("PUT", {})):
            theirs = await self.alice.call(method, "/devices/BOBS", body)
            nobodys = await self.alice.call(method, "/devices/NOBODYS", body)
            self.assert_refused(theirs, 404, "M_NOT_FOUND")
            self.assertEqual(theirs.body, nobodys.body)
        unnamed = {"device_id": "BOBS", "display_name": None, "last_seen_ts": None, "last_seen_ip": None}
        self.assertEqual((await self.bob.call("GET", "/devices/BOBS")).json, unnamed)

    async def test_a_device_can_be_renamed(self) -> None:
        for body, name in (({"display_name": "Таблетка"}, "Таблетка"), ({}, "Таблетка"), ({"display_name": ""}, "")):
            self.assertEqual((await self.alice.call("PUT", "/devices/PHONE", body)).json, {})
            self.assertEqual((await self.alice.call("GET", "/devices/PHONE")).json["display_name"], name)
        await self.alice.call("PUT", "/devices/PHONE", {"display_name": "x" * 5000})
        self.assertEqual((await self.alice.call("GET", "/devices/PHONE")).json["display_name"], "x" * 255)
        for body in ({"display_name": 5}, {"display_name": []}, []):
            self.assert_refused(await self.alice.call("PUT", "/devices/PHONE", body), 400, "M_BAD_JSON")

    async def test_when_and_from_where_is_written_after_a_while(self) -> None:
        self.phone.ip = "10.1.2.3"
        await self.assert_lives(self.phone)
        self.assertIsNone((await self.alice.call("GET", "/devices/PHONE")).json["last_seen_ts"])
        seen = self.now_ms()
        await self.last_seen.write()
        device = (await self.alice.call("GET", "/devices/PHONE")).json
        self.assertEqual((device["last_seen_ts"], device["last_seen_ip"]), (seen, "10.1.2.3"))

    async def test_ending_a_device_is_asked_to_be_proved(self) -> None:
        for method, path, body in (
            ("DELETE", "/devices/PHONE", None),
            ("DELETE", "/devices/PHONE", {}),
            ("DELETE", "/devices/NOBODYS", {}),
            ("POST", "/delete_devices", {"devices": ["PHONE"]}),
        ):
            reply = await self.alice.call(method, path, body)
            self.assertEqual((reply.status, reply.json["flows"]), (401, [{"stages": ["m.login.password"]}]))
            reply = await self.alice.call(method, path, {**(body or {}), "auth": proof(password="wrong")})
            self.assert_refused(reply, 401, "M_FORBIDDEN")
        await self.assert_lives(self.phone)

    async def test_an_ended_device_is_gone_with_its_session(self) -> None:
        await self.assert_lives(self.phone)
        session = (await self.alice.call("DELETE", "/devices/PHONE", {})).json["session"]
        reply = await self.alice.call("DELETE", "/devices/PHONE", {"auth": proof(session=session)})
        self.assertEqual((reply.status, reply.json), (200, {}))
        await self.assert_ended(self.phone)
        self.assertEqual(await self.ids(self.alice), {self.alice.device_id})
        again = await self.alice.call("DELETE", "/devices/PHONE", {"auth": proof()})
        self.assertEqual(again.status, 200)

    async def test_a_proof_for_one_device_ends_no_other(self) -> None:
        session = (await self.alice.call("DELETE", "/devices/NOBODYS", {})).json["session"]
        auth = proof(session=session)
        self.assert_refused(await self.alice.call("DELETE", "/devices/PHONE", {"auth": auth}), 401, "M_UNKNOWN")
        self.assertEqual((await self.alice.call("DELETE", "/devices/NOBODYS", {"auth": auth})).status, 200)
        body = {"devices": ["NOBODYS"], "auth": proof()}
        session = (await self.alice.call("POST", "/delete_devices", {"devices": []})).json["session"]
        body["auth"] = proof(session=session)
        self.assertEqual((await self.alice.call("POST", "/delete_devices", body)).status, 200)
        body["devices"] = ["PHONE"]
        self.assert_refused(await self.alice.call("POST", "/delete_devices", body), 401, "M_FORBIDDEN")
        await self.assert_lives(self.phone)

    async def end_many(self, devices: object, **fields: Any) -> Reply:
        return await self.alice.call("POST", "/delete_devices", {"devices": devices, "auth": proof(**fields)})

    async def test_several_end_together_and_others_people_s_do_not(self) -> None:
        tablet = await self.log_in("alice", device_id="TABLET")
        reply = await self.end_many(["PHONE", "TABLET", "BOBS", "NOBODYS", "PHONE"])
        self.assertEqual((reply.status, reply.json), (200, {}))
        await self.assert_ended(self.phone)
        await self.assert_ended(tablet)
        await self.assert_lives(self.alice)
        await self.assert_lives(self.bob)

    async def test_one_may_end_ones_own_device(self) -> None:
        self.assertEqual((await self.end_many([self.alice.device_id])).status, 200)
        await self.assert_ended(self.alice)

    async def test_bodies_of_the_wrong_shape_are_refused(self) -> None:
        for devices in (None, "PHONE", [5], {"PHONE": 1}, ["x"] * 1001):
            self.assert_refused(await self.end_many(devices), 400, "M_BAD_JSON")
        self.assert_refused(await self.alice.call("POST", "/delete_devices", {}), 400, "M_BAD_JSON")
        self.assert_refused(await self.alice.call("DELETE", "/devices/PHONE", {"auth": []}), 400, "M_BAD_JSON")
