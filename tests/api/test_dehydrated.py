"""Dehydrated devices: left here, seen and sent to by others, woken, replaced."""

from typing import Any

from federation.ids import DeviceID
from homeserver.storage import todevice
from tests.kit.databases import on_both_databases
from tests.kit.doors import Client, DoorsCase
from tests.kit.keys import device_keys, one_time_keys

PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
DATA = {"algorithm": "org.matrix.msc3814.v2", "device_pickle": "secret", "nonce": "n"}


@on_both_databases
class Dehydrated(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice = await self.register("alice", device_id="PHONE")
        self.bob = await self.register("bob", device_id="DESK")

    def body(self, device_id: str = "SLEEPER", **spoiled: Any) -> dict[str, Any]:
        return {
            "device_id": device_id,
            "device_data": DATA,
            "device_keys": device_keys(self.alice.user_id, device_id, dehydrated=True),
            "one_time_keys": one_time_keys("A"),
            "fallback_keys": one_time_keys("F", fallback=True),
            "initial_device_display_name": "Dehydrated device",
            **spoiled,
        }

    async def ok(self, method: str, path: str, body: object = None, client: Client | None = None) -> Any:
        reply = await (client or self.alice).call(method, path, body)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json

    async def put(self, device_id: str = "SLEEPER", **spoiled: Any) -> None:
        answer = await self.ok("PUT", PATH, self.body(device_id, **spoiled))
        self.assertEqual(answer, {"device_id": device_id})

    async def send(self, *bodies: str, device_id: str = "SLEEPER") -> None:
        for body in bodies:
            messages = {"messages": {self.alice.user_id: {device_id: {"body": body}}}}
            await self.ok("PUT", f"/sendToDevice/m.test/{body}", messages, self.bob)

    async def keys_of_alice(self) -> dict[str, Any]:
        seen = await self.ok("POST", "/keys/query", {"device_keys": {self.alice.user_id: []}}, self.bob)
        found: dict[str, Any] = seen["device_keys"][self.alice.user_id]
        return found

    async def test_what_was_left_here_is_found_again(self) -> None:
        self.assert_refused(await self.alice.call("GET", PATH), 404, "M_NOT_FOUND")
        await self.put()
        for client in (self.alice, await self.log_in("alice")):
            self.assertEqual(await self.ok("GET", PATH, client=client), {"device_id": "SLEEPER", "device_data": DATA})
        self.assert_refused(await self.bob.call("GET", PATH), 404, "M_NOT_FOUND")

    async def test_to_others_it_is_a_device_like_others(self) -> None:
        self.news("device_lists")
        await self.put()
        self.assertEqual(self.news("device_lists"), [self.alice.user_id])
        self.assertEqual(await self.keys_of_alice(), {"SLEEPER": self.body()["device_keys"]})
        for expected in (one_time_keys("A"), one_time_keys("F", fallback=True)):
            wanted = {self.alice.user_id: {"SLEEPER": "signed_curve25519"}}
            claimed = await self.ok("POST", "/keys/claim", {"one_time_keys": wanted}, self.bob)
            self.assertEqual(claimed["one_time_keys"], {self.alice.user_id: {"SLEEPER": expected}})
        listed = {device["device_id"]: device for device in (await self.ok("GET", "/devices"))["devices"]}
        self.assertEqual(listed["SLEEPER"]["display_name"], "Dehydrated device")

    async def test_its_messages_are_read_in_batches_and_stay(self) -> None:
        await self.put()
        await self.send("1", "2", "3")
        for _ in range(2):
            first = await self.ok("GET", f"{PATH}/SLEEPER/events?limit=2")
            self.assertEqual([event["content"]["body"] for event in first["events"]], ["1", "2"])
            self.assertEqual((first["events"][0]["sender"], first["events"][0]["type"]), (self.bob.user_id, "m.test"))
            rest = await self.ok("GET", f"{PATH}/SLEEPER/events?limit=2&from={first['next_batch']}")
            self.assertEqual([event["content"]["body"] for event in rest["events"]], ["3"])
            self.assertNotIn("next_batch", rest)
        whole = await self.ok("GET", f"{PATH}/SLEEPER/events?limit=3")
        self.assertEqual((len(whole["events"]), whole.get("next_batch")), (3, None))

    async def test_in_the_earlier_form_a_client_reads_until_nothing_comes(self) -> None:
        await self.put()
        await self.send("1", "2")
        first = await self.ok("POST", f"{PATH}/SLEEPER/events", {})
        self.assertEqual([event["content"]["body"] for event in first["events"]], ["1", "2"])
        last = await self.ok("POST", f"{PATH}/SLEEPER/events", {"next_batch": first["next_batch"]})
        self.assertEqual(last, {"events": [], "next_batch": first["next_batch"]})

    async def test_messages_are_those_of_the_dehydrated_device_only(self) -> None:
        await self.put()
        await self.send("1", device_id="PHONE")
        for client, device_id in ((self.alice, "PHONE"), (self.alice, "NONE"), (self.bob, "SLEEPER")):
            self.assert_refused(await client.call("GET", f"{PATH}/{device_id}/events"), 403, "M_FORBIDDEN")
            self.assert_refused(await client.call("POST", f"{PATH}/{device_id}/events", {}), 403, "M_FORBIDDEN")
        for query in ("from=x", "from=-1", "from=" + "9" * 19, "limit=0", "limit=x"):
            self.assert_refused(await self.alice.call("GET", f"{PATH}/SLEEPER/events?{query}"), 400, "M_INVALID_PARAM")
        for body, errcode in (({"next_batch": "x"}, "M_INVALID_PARAM"), ({"next_batch": 5}, "M_BAD_JSON")):
            self.assert_refused(await self.alice.call("POST", f"{PATH}/SLEEPER/events", body), 400, errcode)

    async def test_another_takes_its_place_and_the_same_one_keeps_its_messages(self) -> None:
        await self.put()
        await self.send("1")
        await self.put(device_data={**DATA, "nonce": "other"})
        self.assertEqual((await self.ok("GET", PATH))["device_data"]["nonce"], "other")
        self.assertEqual(len((await self.ok("GET", f"{PATH}/SLEEPER/events"))["events"]), 1)
        self.news("device_lists")
        await self.put("ANOTHER")
        self.assertIn(self.alice.user_id, self.news("device_lists"))
        self.assertEqual(set(await self.keys_of_alice()), {"ANOTHER"})
        waiting = await self.db.read(todevice.pending, self.alice.user_id, DeviceID("SLEEPER"), self.db.position, 10)
        self.assertEqual(waiting, [])

    async def test_it_can_be_removed_and_goes_with_all_devices(self) -> None:
        self.assert_refused(await self.alice.call("DELETE", PATH), 404, "M_NOT_FOUND")
        await self.put()
        self.assertEqual(await self.ok("DELETE", PATH, {}), {"device_id": "SLEEPER"})
        self.assert_refused(await self.alice.call("GET", PATH), 404, "M_NOT_FOUND")
        self.assertEqual(await self.keys_of_alice(), {})
        await self.put()
        await self.ok("POST", "/logout/all")
        self.alice = await self.log_in("alice")
        self.assert_refused(await self.alice.call("GET", PATH), 404, "M_NOT_FOUND")

    async def test_it_takes_no_name_of_a_device_that_is_signed_in(self) -> None:
        await self.put()
        keys = await self.keys_of_alice()
        self.assert_refused(await self.alice.call("PUT", PATH, self.body("PHONE")), 400, "M_INVALID_PARAM")
        self.assertEqual(await self.keys_of_alice(), keys)
        self.assertEqual((await self.ok("GET", PATH))["device_id"], "SLEEPER")
        await self.assert_lives(self.alice)

    async def test_bodies_have_a_shape(self) -> None:
        good = self.body()
        for name in ("device_id", "device_data", "device_keys"):
            body = {other: value for other, value in good.items() if other != name}
            self.assert_refused(await self.alice.call("PUT", PATH, body), 400, "M_BAD_JSON")
        for spoiled, errcode in (
            ({"device_id": "OTHER"}, "M_INVALID_PARAM"),
            ({"device_data": {}}, "M_BAD_JSON"),
            ({"device_data": "x"}, "M_BAD_JSON"),
            ({"device_data": {"algorithm": 5}}, "M_BAD_JSON"),
            ({"device_data": {"algorithm": "x", "x": "x" * 65_536}}, "M_TOO_LARGE"),
            ({"device_keys": device_keys(self.bob.user_id, "SLEEPER")}, "M_INVALID_PARAM"),
            ({"one_time_keys": {"nocolon": "x"}}, "M_INVALID_PARAM"),
            ({"fallback_keys": {"a:b": 5}}, "M_BAD_JSON"),
        ):
            self.assert_refused(await self.alice.call("PUT", PATH, {**good, **spoiled}), 400, errcode)
        long = "x" * 256
        body = self.body(long, device_keys=device_keys(self.alice.user_id, long))
        self.assert_refused(await self.alice.call("PUT", PATH, body), 400, "M_INVALID_PARAM")
        for method in ("PUT", "GET", "DELETE"):
            self.assert_refused(await self.call(method, PATH, good), 401, "M_MISSING_TOKEN")
        self.assert_refused(await self.alice.call("GET", PATH), 404, "M_NOT_FOUND")
