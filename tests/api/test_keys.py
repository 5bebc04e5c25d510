"""Identity, one-time and fallback keys: published, asked for, claimed."""

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from homeserver.policy import QueryKeys
from homeserver.storage import keys as stored
from homeserver.storage.database import Txn
from tests.kit.databases import on_both_databases
from tests.kit.doors import SERVER, Client, DoorsCase
from tests.kit.keys import device_keys, one_time_keys
from tests.kit.wire import Reply


class KeysCase(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice = await self.register("alice", device_id="PHONE", initial_device_display_name="Alice's phone")
        self.bob = await self.register("bob", device_id="DESK")

    async def upload(self, client: Client, **body: Any) -> Any:
        reply = await client.call("POST", "/keys/upload", body)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json["one_time_key_counts"]

    async def publish(self, client: Client) -> dict[str, Any]:
        keys = device_keys(client.user_id, client.device_id)
        await self.upload(client, device_keys=keys)
        return keys

    async def query(self, client: Client, *people: str, **wanted: list[str]) -> Any:
        body = {"device_keys": {**{person: [] for person in people}, **wanted}}
        reply = await client.call("POST", "/keys/query", body)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json

    async def claim(self, client: Client, device_id: str = "PHONE", algorithm: str = "signed_curve25519") -> Any:
        body = {"one_time_keys": {self.alice.user_id: {device_id: algorithm}}}
        reply = await client.call("POST", "/keys/claim", body)
        self.assertEqual((reply.status, reply.json["failures"]), (200, {}))
        return reply.json["one_time_keys"].get(self.alice.user_id, {}).get(device_id, {})


@on_both_databases
class IdentityKeys(KeysCase):
    async def test_published_keys_are_seen_by_others_and_the_name_by_the_owner_only(self) -> None:
        keys = await self.publish(self.alice)
        seen = await self.query(self.bob, self.alice.user_id)
        self.assertEqual(seen["device_keys"], {self.alice.user_id: {"PHONE": keys}})
        own = await self.query(self.alice, self.alice.user_id)
        named = {**keys, "unsigned": {"device_display_name": "Alice's phone"}}
        self.assertEqual(own["device_keys"], {self.alice.user_id: {"PHONE": named}})
        for answer in (seen, own):
            self.assertEqual((answer["failures"], answer["master_keys"], answer["self_signing_keys"]), ({}, {}, {}))

    async def test_only_the_devices_that_were_asked_for_are_given(self) -> None:
        await self.publish(self.alice)
        tablet = await self.log_in("alice", device_id="TABLET")
        await self.publish(tablet)
        for device_ids, found in (([], {"PHONE", "TABLET"}), (["TABLET"], {"TABLET"}), (["NONE"], set())):
            seen = await self.query(self.bob, **{self.alice.user_id: device_ids})
            self.assertEqual(set(seen["device_keys"][self.alice.user_id]), found)

    async def test_a_device_without_keys_takes_no_part(self) -> None:
        seen = await self.query(self.bob, self.alice.user_id)
        self.assertEqual(seen["device_keys"], {self.alice.user_id: {}})

    async def test_the_unknown_the_foreign_and_the_refused_are_missing_alike(self) -> None:
        await self.publish(self.alice)
        self.policy.refused.add((QueryKeys, self.alice.user_id))
        seen = await self.query(self.bob, self.alice.user_id, f"@nobody:{SERVER}", "@alice:elsewhere.test")
        self.assertEqual(seen["device_keys"], {})
        self.assertEqual(await self.claim(self.bob), {})
        self.assertEqual(len((await self.query(self.alice, self.alice.user_id))["device_keys"]), 1)

    async def test_a_change_is_told_once_and_the_same_keys_are_none(self) -> None:
        await self.publish(self.alice)
        self.assertEqual(self.news("device_lists"), [self.alice.user_id])
        await self.publish(self.alice)
        self.assertEqual(self.news("device_lists"), [])
        await self.upload(self.alice, device_keys=device_keys(self.alice.user_id, "PHONE", algorithms=["new"]))
        self.assertEqual(self.news("device_lists"), [self.alice.user_id])
        await self.alice.call("PUT", "/devices/PHONE", {"display_name": "other"})
        self.assertEqual(self.news("device_lists"), [self.alice.user_id])
        await self.bob.call("PUT", "/devices/DESK", {"display_name": "other"})
        self.assertEqual(self.news("device_lists"), [])

    async def test_ending_a_device_ends_its_keys_and_is_told(self) -> None:
        await self.publish(self.alice)
        await self.upload(self.alice, one_time_keys=one_time_keys("A"), fallback_keys=one_time_keys("F"))
        self.news("device_lists")
        await self.alice.call("POST", "/logout")
        self.assertEqual(self.news("device_lists"), [self.alice.user_id])
        self.assertEqual((await self.query(self.bob, self.alice.user_id))["device_keys"], {self.alice.user_id: {}})
        self.assertEqual(await self.claim(self.bob), {})
        again = await self.log_in("alice", device_id="PHONE")
        self.assertEqual(await self.upload(again), {})

    async def test_keys_stay_when_the_device_logs_in_again(self) -> None:
        await self.publish(self.alice)
        await self.upload(self.alice, one_time_keys=one_time_keys("A"))
        again = await self.log_in("alice", device_id="PHONE")
        self.assertEqual(await self.upload(again), {"signed_curve25519": 1})

    async def test_keys_that_are_not_this_devices_are_refused(self) -> None:
        good = device_keys(self.alice.user_id, "PHONE")
        for spoiled, errcode in (
            ({"user_id": self.bob.user_id}, "M_INVALID_PARAM"),
            ({"device_id": "TABLET"}, "M_INVALID_PARAM"),
            ({"device_id": 5}, "M_BAD_JSON"),
            ({"algorithms": "m.olm"}, "M_BAD_JSON"),
            ({"keys": []}, "M_BAD_JSON"),
            ({"keys": {"ed25519:PHONE": 5}}, "M_BAD_JSON"),
            ({"signatures": {self.alice.user_id: []}}, "M_BAD_JSON"),
            ({"extra": 1.5}, "M_BAD_JSON"),
        ):
            reply = await self.alice.call("POST", "/keys/upload", {"device_keys": {**good, **spoiled}})
            self.assert_refused(reply, 400, errcode)
        for name in good:
            spoiled = {key: value for key, value in good.items() if key != name}
            reply = await self.alice.call("POST", "/keys/upload", {"device_keys": spoiled})
            self.assert_refused(reply, 400, "M_BAD_JSON")
        self.assertEqual((await self.query(self.bob, self.alice.user_id))["device_keys"], {self.alice.user_id: {}})

    async def test_signatures_of_others_and_unsigned_parts_are_not_kept(self) -> None:
        keys = device_keys(self.alice.user_id, "PHONE")
        more = {**keys, "unsigned": {"x": 1}, "signatures": {**keys["signatures"], "@eve:x.y": {"ed25519:E": "s"}}}
        await self.upload(self.alice, device_keys=more)
        seen = await self.query(self.bob, self.alice.user_id)
        self.assertEqual(seen["device_keys"][self.alice.user_id]["PHONE"], keys)

    async def test_bodies_of_the_wrong_shape_are_refused(self) -> None:
        bodies: dict[str, list[object]] = {
            "/keys/upload": [[], {"device_keys": []}, {"one_time_keys": "x"}, {"fallback_keys": [1]}],
            "/keys/query": [{}, {"device_keys": []}, {"device_keys": {"@a:b": "x"}}, {"device_keys": {"@a:b": [5]}}],
            "/keys/claim": [{}, {"one_time_keys": {"@a:b": []}}, {"one_time_keys": {"@a:b": {"D": 5}}}],
        }
        for path, wrong in bodies.items():
            for body in wrong:
                self.assert_refused(await self.alice.call("POST", path, body), 400, "M_BAD_JSON")
            self.assert_refused(await self.call("POST", path, {}), 401, "M_MISSING_TOKEN")
        for person in ("alice", "@alice", ""):
            for path, body in (("query", {"device_keys": {person: []}}), ("claim", {"one_time_keys": {person: {}}})):
                self.assert_refused(await self.alice.call("POST", f"/keys/{path}", body), 400, "M_INVALID_PARAM")


@on_both_databases
class OneTimeKeys(KeysCase):
    async def test_they_are_counted_by_algorithm(self) -> None:
        self.assertEqual(await self.upload(self.alice), {})
        self.assertEqual(
            await self.upload(self.alice, one_time_keys={**one_time_keys("A", "B"), "curve25519:C": "plain"}),
            {"signed_curve25519": 2, "curve25519": 1},
        )
        self.assertEqual(await self.upload(self.bob), {})

    async def test_each_is_given_once_the_oldest_upload_first(self) -> None:
        for names in (("Z",), ("M", "N"), ("A",)):
            await self.upload(self.alice, one_time_keys=one_time_keys(*names))
        given = [await self.claim(self.bob) for _ in range(4)]
        names = [next(iter(key)) for key in given]
        self.assertEqual(names[0], "signed_curve25519:Z")
        self.assertEqual(set(names[1:3]), {"signed_curve25519:M", "signed_curve25519:N"})
        self.assertEqual(names[3], "signed_curve25519:A")
        self.assertEqual(given[0], one_time_keys("Z"))
        self.assertEqual(await self.claim(self.bob), {})
        self.assertEqual(await self.upload(self.alice), {})

    async def test_of_many_who_claim_at_once_no_two_get_the_same(self) -> None:
        await self.upload(self.alice, one_time_keys=one_time_keys(*"ABCDEFGH"))
        claims = await gatherResults([Deferred.fromCoroutine(self.claim(self.bob)) for _ in range(12)])
        names = [name for claim in claims for name in claim]
        self.assertEqual(sorted(names), sorted(one_time_keys(*"ABCDEFGH")))

    async def test_keys_of_many_devices_are_claimed_at_once(self) -> None:
        clients = [self.alice, await self.log_in("alice", device_id="PAD"), self.bob, await self.register("carol")]
        for client in clients[:3]:
            await self.upload(client, one_time_keys=one_time_keys(f"{client.device_id}1", f"{client.device_id}2"))
        await self.upload(clients[3], fallback_keys=one_time_keys("F", fallback=True))
        await self.upload(self.bob, one_time_keys={"curve25519:B": "plain"})
        self.news("one_time_keys")
        wanted: dict[str, dict[str, str]] = {}
        for client in (self.alice, clients[1], clients[3]):
            wanted.setdefault(client.user_id, {})[client.device_id] = "signed_curve25519"
        wanted[self.bob.user_id] = {"DESK": "curve25519", "NONE": "signed_curve25519"}
        wanted[f"@nobody:{SERVER}"] = {"DESK": "signed_curve25519"}
        reply = await self.bob.call("POST", "/keys/claim", {"one_time_keys": wanted})
        carol = clients[3]
        expected = {
            self.alice.user_id: {name: one_time_keys(f"{name}1") for name in ("PHONE", "PAD")},
            carol.user_id: {carol.device_id: one_time_keys("F", fallback=True)},
            self.bob.user_id: {"DESK": {"curve25519:B": "plain"}},
        }
        self.assertEqual(reply.json["one_time_keys"], expected)
        self.assertEqual(set(self.news("one_time_keys")), {self.alice.user_id, self.bob.user_id, carol.user_id})
        self.assertEqual(await self.upload(self.alice), {"signed_curve25519": 1})
        self.assertEqual(await self.upload(self.bob), {"signed_curve25519": 2})

    async def test_the_same_key_again_is_no_other_and_another_of_its_name_is_refused(self) -> None:
        await self.upload(self.alice, one_time_keys=one_time_keys("A"))
        again = await self.upload(self.alice, one_time_keys=one_time_keys("A", "B"))
        self.assertEqual(again, {"signed_curve25519": 2})
        body = {"one_time_keys": {**one_time_keys("C"), **one_time_keys("A", key="other")}}
        self.assert_refused(await self.alice.call("POST", "/keys/upload", body), 400, "M_INVALID_PARAM")
        self.assertEqual(await self.upload(self.alice), {"signed_curve25519": 2})

    async def test_a_device_holds_so_many_and_no_more(self) -> None:
        await self.upload(self.alice, one_time_keys=one_time_keys(*map(str, range(1000))))
        body = {"one_time_keys": one_time_keys("more")}
        self.assert_refused(await self.alice.call("POST", "/keys/upload", body), 400, "M_INVALID_PARAM")

    async def test_names_and_keys_have_a_form(self) -> None:
        for named, errcode in (
            ({"nocolon": "x"}, "M_INVALID_PARAM"),
            ({":x": "x"}, "M_INVALID_PARAM"),
            ({"x:": "x"}, "M_INVALID_PARAM"),
            ({"a:" + "x" * 254: "x"}, "M_INVALID_PARAM"),
            ({"a:b": 5}, "M_BAD_JSON"),
            ({"a:b": None}, "M_BAD_JSON"),
            ({"a:b": {}}, "M_BAD_JSON"),
            ({"a:b": {"key": 5}}, "M_BAD_JSON"),
            ({"a:b": {"key": "x", "n": 0.5}}, "M_BAD_JSON"),
        ):
            for kind in ("one_time_keys", "fallback_keys"):
                self.assert_refused(await self.alice.call("POST", "/keys/upload", {kind: named}), 400, errcode)

    async def test_a_fallback_key_serves_when_there_are_no_others_and_stays(self) -> None:
        await self.upload(self.alice, one_time_keys=one_time_keys("A"), fallback_keys=one_time_keys("F", fallback=True))
        self.assertEqual(await self.unused(), ["signed_curve25519"])
        self.assertEqual(await self.claim(self.bob), one_time_keys("A"))
        self.assertEqual(await self.unused(), ["signed_curve25519"])
        for _ in range(2):
            self.assertEqual(await self.claim(self.bob), one_time_keys("F", fallback=True))
            self.assertEqual(await self.unused(), [])
        await self.upload(self.alice, fallback_keys=one_time_keys("F", fallback=True))
        self.assertEqual(await self.unused(), [])
        await self.upload(self.alice, fallback_keys=one_time_keys("G", fallback=True))
        self.assertEqual(await self.unused(), ["signed_curve25519"])
        self.assertEqual(await self.claim(self.bob), one_time_keys("G", fallback=True))

    async def unused(self) -> list[str]:
        return await self.db.read(stored.load_unused_fallback_types, self.alice.user_id, self.alice.device_id)

    async def test_what_is_left_is_told_when_it_changes(self) -> None:
        await self.upload(self.alice, one_time_keys=one_time_keys("A"), fallback_keys=one_time_keys("F"))
        self.news("one_time_keys")
        for changed in ([self.alice.user_id], [self.alice.user_id], []):
            await self.claim(self.bob)
            self.assertEqual(self.news("one_time_keys"), changed)

    async def test_what_nobody_has_is_missing(self) -> None:
        await self.upload(self.alice, one_time_keys=one_time_keys("A"))
        self.assertEqual(await self.claim(self.bob, algorithm="other"), {})
        self.assertEqual(await self.claim(self.bob, device_id="NONE"), {})


@on_both_databases
class Changes(KeysCase):
    async def test_ones_own_changes_are_listed_from_where_one_stood(self) -> None:
        since = f"s{self.db.position}_0"
        self.assertEqual(await self.changed(since), [])
        await self.publish(self.alice)
        self.assertEqual(await self.changed(since), [self.alice.user_id])
        self.assertEqual(await self.changed(f"s{self.db.position}_0"), [])

    async def changed(self, since: str) -> Any:
        reply = await self.alice.call("GET", f"/keys/changes?from={since}&to=s{self.db.position}_0")
        self.assertEqual((reply.status, set(reply.json)), (200, {"changed", "left"}))
        return reply.json["changed"]

    async def test_those_with_whom_one_shares_no_room_are_not_listed(self) -> None:
        since = f"s{self.db.position}_0"
        await self.publish(self.bob)
        self.assertEqual(await self.changed(since), [])

    async def be(self, client: Client, room_nid: int, membership: str) -> None:
        """Give somebody a membership, as rooms would write it."""

        def write(txn: Txn) -> None:
            txn.run(
                "INSERT INTO memberships (user_id, room_nid, membership, event_nid, stream) VALUES (?, ?, ?, 1, ?)"
                " ON CONFLICT (user_id, room_nid) DO UPDATE SET membership = excluded.membership,"
                " stream = excluded.stream",
                (client.user_id, room_nid, membership, txn.position()),
            )

        await self.db.write(write)

    async def test_those_with_whom_one_shares_a_room_are_listed(self) -> None:
        carol = await self.register("carol", device_id="PAD")
        await self.be(self.alice, 1, "join")
        await self.be(self.alice, 2, "invite")
        await self.be(self.bob, 1, "join")
        await self.be(carol, 1, "leave")
        await self.be(carol, 2, "join")
        since = f"s{self.db.position}_0"
        for client in (self.bob, carol):
            await self.publish(client)
        self.assertEqual(await self.changed(since), [self.bob.user_id])

    async def test_tokens_are_ours_and_both_there(self) -> None:
        for query, errcode in (
            ("", "M_MISSING_PARAM"),
            ("?from=s1_0", "M_MISSING_PARAM"),
            ("?from=x&to=s1_0", "M_INVALID_PARAM"),
            ("?from=s1_0&to=%00", "M_INVALID_PARAM"),
        ):
            reply: Reply = await self.alice.call("GET", f"/keys/changes{query}")
            self.assert_refused(reply, 400, errcode)
