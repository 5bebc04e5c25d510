"""Cross-signing keys and signatures: who may put up which, and who sees them."""

from typing import Any

from homeserver.policy import QueryKeys
from tests.kit.databases import on_both_databases
from tests.kit.doors import PASSWORD, Client, DoorsCase, login_body
from tests.kit.keys import Signer, cross_signing_key, device_keys
from tests.kit.wire import Reply


class Identity:
    """A person's three keys; another `seed` makes others."""

    def __init__(self, client: Client, seed: str = "") -> None:
        self.user_id = client.user_id
        self.master, self.self_signing, self.user_signing = (
            Signer(f"{kind}{seed}{client.user_id}") for kind in ("m", "s", "u")
        )

    def upload(self, *kinds: str, **spoiled: Any) -> dict[str, Any]:
        keys = {
            "master_key": cross_signing_key(self.user_id, "master", self.master),
            "self_signing_key": cross_signing_key(self.user_id, "self_signing", self.self_signing, self.master),
            "user_signing_key": cross_signing_key(self.user_id, "user_signing", self.user_signing, self.master),
        }
        return {**{name: key for name, key in keys.items() if not kinds or name in kinds}, **spoiled}


class CrossSigningCase(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice = await self.register("alice", device_id="PHONE")
        self.bob = await self.register("bob", device_id="DESK")
        self.alices, self.bobs = Identity(self.alice), Identity(self.bob)

    async def put(self, client: Client, body: object) -> Reply:
        return await client.call("POST", "/keys/device_signing/upload", body)

    async def seen(self, client: Client, *people: Client) -> Any:
        body = {"device_keys": {person.user_id: [] for person in people}}
        return (await client.call("POST", "/keys/query", body)).json

    def proof(self, **fields: Any) -> dict[str, Any]:
        login = login_body("alice")
        return {"type": login["type"], "identifier": login["identifier"], "password": PASSWORD, **fields}


@on_both_databases
class CrossSigningKeys(CrossSigningCase):
    async def test_the_first_ones_need_no_proof_and_are_seen_as_far_as_they_may_be(self) -> None:
        self.assertEqual((await self.put(self.alice, self.alices.upload())).json, {})
        self.assertEqual(self.news("device_lists"), [self.alice.user_id])
        own, others = await self.seen(self.alice, self.alice), await self.seen(self.bob, self.alice)
        for seen in (own, others):
            self.assertEqual(set(seen["master_keys"]), {self.alice.user_id})
            key = seen["self_signing_keys"][self.alice.user_id]
            self.assertEqual(key, self.alices.upload()["self_signing_key"])
        self.assertEqual(own["user_signing_keys"][self.alice.user_id], self.alices.upload()["user_signing_key"])
        self.assertEqual(others["user_signing_keys"], {})

    async def test_they_may_be_put_up_where_clients_look_for_a_proposal_by_the_same_rules(self) -> None:
        path = "/_matrix/client/unstable/keys/device_signing/upload"
        self.assertEqual((await self.alice.call("POST", path, self.alices.upload())).json, {})
        others = Identity(self.alice, "new").upload()
        asked = await self.alice.call("POST", path, others)
        self.assertEqual(asked.status, 401)
        proven = others | {"auth": self.proof(session=asked.json["session"])}
        self.assertEqual((await self.alice.call("POST", path, proven)).status, 200)
        own = await self.seen(self.bob, self.alice)
        self.assertEqual(own["master_keys"][self.alice.user_id]["keys"], others["master_key"]["keys"])

    async def test_the_same_ones_again_need_no_proof_and_are_no_news(self) -> None:
        await self.put(self.alice, self.alices.upload())
        self.news("device_lists")
        for body in (self.alices.upload(), self.alices.upload("master_key"), self.alices.upload("self_signing_key")):
            self.assertEqual((await self.put(self.alice, body)).status, 200)
        self.assertEqual(self.news("device_lists"), [])

    async def test_others_need_a_proof(self) -> None:
        await self.put(self.alice, self.alices.upload())
        others = Identity(self.alice, "new")
        weaker = {"self_signing_key": cross_signing_key(
            self.alice.user_id, "self_signing", others.self_signing, self.alices.master)}  # fmt: skip
        for body in (others.upload(), others.upload("master_key"), weaker):
            reply = await self.put(self.alice, body)
            self.assertEqual((reply.status, reply.json["flows"]), (401, [{"stages": ["m.login.password"]}]))
            wrong = await self.put(self.alice, {**body, "auth": self.proof(password="wrong")})
            self.assert_refused(wrong, 401, "M_FORBIDDEN")
        seen = await self.seen(self.alice, self.alice)
        self.assertIn(self.alices.master.public, repr(seen["master_keys"]))
        reply = await self.put(self.alice, {**others.upload("master_key", "self_signing_key"), "auth": self.proof()})
        self.assertEqual((reply.status, reply.json), (200, {}))
        seen = await self.seen(self.alice, self.alice)
        self.assertIn(others.master.public, repr(seen["master_keys"]))
        self.assertIn(others.self_signing.public, repr(seen["self_signing_keys"]))
        self.assertEqual(seen["user_signing_keys"], {}, "the old master key had signed it")

    async def test_adding_the_missing_ones_later_is_new_and_needs_a_proof(self) -> None:
        await self.put(self.alice, self.alices.upload("master_key"))
        body = self.alices.upload("self_signing_key", "user_signing_key")
        self.assertEqual((await self.put(self.alice, body)).status, 401)
        self.assertEqual((await self.put(self.alice, {**body, "auth": self.proof()})).status, 200)

    async def test_what_is_not_signed_by_the_master_key_is_refused(self) -> None:
        user_id, stranger = self.alice.user_id, Signer("stranger")
        for kind in ("self_signing", "user_signing"):
            signer = Signer(kind)
            plain = cross_signing_key(user_id, kind, signer)
            tampered = cross_signing_key(user_id, kind, signer, self.alices.master)
            tampered["more"] = 1
            forged = {**plain, "signatures": {user_id: {f"ed25519:{self.alices.master.public}": "x" * 86}}}
            for key in (plain, cross_signing_key(user_id, kind, signer, stranger), tampered, forged):
                reply = await self.put(self.alice, self.alices.upload("master_key", **{f"{kind}_key": key}))
                self.assert_refused(reply, 400, "M_INVALID_SIGNATURE")
        self.assert_refused(await self.put(self.alice, self.alices.upload("self_signing_key")), 400, "M_MISSING_PARAM")
        self.assert_refused(await self.put(self.alice, {}), 400, "M_MISSING_PARAM")
        self.assertEqual((await self.seen(self.bob, self.alice))["master_keys"], {})

    async def test_what_is_no_key_of_this_person_is_refused(self) -> None:
        good = self.alices.upload("master_key")["master_key"]
        public = self.alices.master.public
        for spoiled, errcode in (
            ({"user_id": self.bob.user_id}, "M_INVALID_PARAM"),
            ({"usage": ["self_signing"]}, "M_INVALID_PARAM"),
            ({"usage": "master"}, "M_BAD_JSON"),
            ({"usage": []}, "M_INVALID_PARAM"),
            ({"keys": {}}, "M_INVALID_PARAM"),
            ({"keys": {f"ed25519:{public}": public, "ed25519:x": "x"}}, "M_INVALID_PARAM"),
            ({"keys": {f"ed25519:{public[:-1]}": public[:-1]}}, "M_INVALID_PARAM"),
            ({"keys": {"ed25519:x": public}}, "M_INVALID_PARAM"),
            ({"keys": {f"curve25519:{public}": public}}, "M_INVALID_PARAM"),
            ({"keys": {f"ed25519:{public}": 5}}, "M_BAD_JSON"),
            ({"signatures": []}, "M_BAD_JSON"),
            ({"n": 0.5}, "M_BAD_JSON"),
        ):
            reply = await self.put(self.alice, {"master_key": {**good, **spoiled}})
            self.assert_refused(reply, 400, errcode)
        for body in ([], {"master_key": "x"}, {"master_key": {}}, {"auth": 5}):
            self.assert_refused(await self.put(self.alice, body), 400, "M_BAD_JSON")

    async def test_no_device_has_the_name_of_a_key_and_no_key_that_of_a_device(self) -> None:
        public = self.alices.master.public
        reply = await self.call("POST", "/login", login_body("alice", device_id=public))
        self.assertEqual(reply.status, 200)
        self.assert_refused(await self.put(self.alice, self.alices.upload()), 403, "M_FORBIDDEN")
        await self.client(reply).call("POST", "/logout")
        self.assertEqual((await self.put(self.alice, self.alices.upload())).status, 200)
        self.assert_refused(
            await self.call("POST", "/login", login_body("alice", device_id=public)), 403, "M_FORBIDDEN"
        )
        self.assertEqual((await self.call("POST", "/login", login_body("bob", device_id=public))).status, 200)

    async def test_keys_that_were_replaced_meanwhile_are_not_replaced_by_what_was_checked_before(self) -> None:
        first = await self.cross_signing.prepare(self.alice.user_id, {"master": self.alices.upload()["master_key"]})
        await self.put(self.alice, Identity(self.alice, "new").upload())
        self.assertFalse(await self.cross_signing.replace(first))
        self.assertNotIn(self.alices.master.public, repr(await self.seen(self.bob, self.alice)))

    async def test_a_closed_account_has_none(self) -> None:
        await self.put(self.alice, self.alices.upload())
        await self.accounts.deactivate(self.alice.user_id, erase=False)
        self.assertEqual((await self.seen(self.bob, self.alice))["master_keys"], {})


@on_both_databases
class Signatures(CrossSigningCase):
    async def setUp(self) -> None:
        await super().setUp()
        for client, identity in ((self.alice, self.alices), (self.bob, self.bobs)):
            keys = device_keys(client.user_id, client.device_id)
            await client.call("POST", "/keys/upload", {"device_keys": keys})
            self.assertEqual((await self.put(client, identity.upload())).status, 200)
        self.told.clear()
        self.phone = device_keys(self.alice.user_id, "PHONE")

    async def sign(self, client: Client, person: Client, key_id: str, signed: object) -> Any:
        body = {person.user_id: {key_id: signed}}
        reply = await client.call("POST", "/keys/signatures/upload", body)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json["failures"].get(person.user_id, {}).get(key_id)

    async def signatures(self, client: Client, person: Client, kind: str) -> Any:
        seen = await self.seen(client, person)
        if kind == "device":
            return seen["device_keys"][person.user_id][person.device_id]["signatures"]
        return seen["master_keys"][person.user_id]["signatures"]

    async def test_the_self_signing_key_vouches_for_own_devices_before_everybody(self) -> None:
        signed = self.alices.self_signing.sign(self.phone, self.alice.user_id)
        self.assertIsNone(await self.sign(self.alice, self.alice, "PHONE", signed))
        self.assertEqual(self.news("device_lists"), [self.alice.user_id])
        for client in (self.alice, self.bob):
            by_alice = (await self.signatures(client, self.alice, "device"))[self.alice.user_id]
            self.assertEqual(set(by_alice), {"ed25519:PHONE", f"ed25519:{self.alices.self_signing.public}"})
        self.assertIsNone(await self.sign(self.alice, self.alice, "PHONE", signed))
        self.assertEqual(self.news("device_lists"), [])

    async def test_a_device_vouches_for_its_own_master_key(self) -> None:
        master = self.alices.upload()["master_key"]
        signed = Signer("PHONE").sign(master, self.alice.user_id, "PHONE")
        self.assertIsNone(await self.sign(self.alice, self.alice, self.alices.master.public, signed))
        by_alice = (await self.signatures(self.bob, self.alice, "master"))[self.alice.user_id]
        self.assertEqual(set(by_alice), {"ed25519:PHONE"})

    async def test_the_user_signing_key_vouches_for_others_and_nobody_else_sees_it(self) -> None:
        carol = await self.register("carol")
        master = self.bobs.upload()["master_key"]
        signed = self.alices.user_signing.sign(master, self.alice.user_id)
        self.assertIsNone(await self.sign(self.alice, self.bob, self.bobs.master.public, signed))
        self.assertIn(self.alice.user_id, await self.signatures(self.alice, self.bob, "master"))
        for client in (self.bob, carol):
            self.assertNotIn(self.alice.user_id, await self.signatures(client, self.bob, "master"))

    async def test_signatures_that_do_not_hold_or_by_keys_that_may_not_are_refused(self) -> None:
        user_id = self.alice.user_id
        own_master, bobs_master = self.alices.upload()["master_key"], self.bobs.upload()["master_key"]
        forged = {**self.phone, "signatures": {user_id: {f"ed25519:{self.alices.self_signing.public}": "A" * 86}}}
        cases: list[tuple[Client, str, object]] = [
            (self.alice, "PHONE", forged),
            (self.alice, "PHONE", {**self.phone, "signatures": {}}),
            (self.alice, "PHONE", {**self.phone, "signatures": {user_id: {"ed25519:x": 5}}}),
            (self.alice, "PHONE", self.alices.user_signing.sign(self.phone, user_id)),
            (self.alice, "PHONE", self.alices.master.sign(self.phone, user_id)),
            (self.alice, "PHONE", self.bobs.self_signing.sign(self.phone, self.bob.user_id)),
            (self.alice, "PHONE", self.alices.self_signing.sign({**self.phone, "algorithms": []}, user_id)),
            (self.alice, "PHONE", {}),
            (self.alice, "PHONE", "x"),
            (self.alice, "PHONE", None),
            (self.alice, self.alices.master.public, self.alices.self_signing.sign(own_master, user_id)),
            (self.bob, self.bobs.master.public, self.alices.self_signing.sign(bobs_master, user_id)),
            (self.bob, self.bobs.master.public, Signer("PHONE").sign(bobs_master, user_id, "PHONE")),
        ]
        for person, key_id, signed in cases:
            fault = await self.sign(self.alice, person, key_id, signed)
            self.assertEqual(fault and fault["errcode"], "M_INVALID_SIGNATURE", (key_id, signed))
        self.assertEqual(self.news("device_lists"), [])

    async def test_keys_that_nobody_has_or_that_one_may_not_see_are_not_found(self) -> None:
        desk = device_keys(self.bob.user_id, "DESK")
        for person, key_id in ((self.alice, "NONE"), (self.bob, "DESK"), (self.bob, self.bobs.self_signing.public)):
            fault = await self.sign(self.alice, person, key_id, self.alices.user_signing.sign(desk, self.alice.user_id))
            self.assertEqual(fault["errcode"], "M_NOT_FOUND")
        self.policy.refused.add((QueryKeys, self.bob.user_id))
        signed = self.alices.user_signing.sign(self.bobs.upload()["master_key"], self.alice.user_id)
        fault = await self.sign(self.alice, self.bob, self.bobs.master.public, signed)
        self.assertEqual(fault["errcode"], "M_NOT_FOUND")

    async def test_good_ones_are_kept_beside_bad_ones(self) -> None:
        body = {
            self.alice.user_id: {
                "PHONE": self.alices.self_signing.sign(self.phone, self.alice.user_id),
                "NONE": {},
            },
            "@nobody:parta.test": {"x": {}},
        }
        reply = await self.alice.call("POST", "/keys/signatures/upload", body)
        failed = {person: set(keys) for person, keys in reply.json["failures"].items()}
        self.assertEqual(failed, {self.alice.user_id: {"NONE"}, "@nobody:parta.test": {"x"}})
        self.assertEqual(len((await self.signatures(self.bob, self.alice, "device"))[self.alice.user_id]), 2)

    async def test_signatures_go_with_the_key_that_made_or_bears_them(self) -> None:
        signed = self.alices.self_signing.sign(self.phone, self.alice.user_id)
        await self.sign(self.alice, self.alice, "PHONE", signed)
        others = Identity(self.alice, "new")
        self.assertEqual((await self.put(self.alice, {**others.upload(), "auth": self.proof()})).status, 200)
        by_alice = (await self.signatures(self.bob, self.alice, "device"))[self.alice.user_id]
        self.assertEqual(set(by_alice), {"ed25519:PHONE"})

    async def test_bodies_of_the_wrong_shape_are_refused(self) -> None:
        for body in ([], {"@alice:parta.test": []}, {"@alice:parta.test": "x"}):
            reply = await self.alice.call("POST", "/keys/signatures/upload", body)
            self.assert_refused(reply, 400, "M_BAD_JSON")
        reply = await self.alice.call("POST", "/keys/signatures/upload", {"alice": {}})
        self.assert_refused(reply, 400, "M_INVALID_PARAM")
        many = {self.alice.user_id: {str(n): {} for n in range(1001)}}
        self.assert_refused(await self.alice.call("POST", "/keys/signatures/upload", many), 400, "M_INVALID_PARAM")
