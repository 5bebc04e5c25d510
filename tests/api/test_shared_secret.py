"""Registration with the operator's shared secret, in the form that tools for Matrix servers speak."""

import hmac
from hashlib import sha1
from typing import Any

from config.settings import Registration as Rules
from tests.kit.doors import PASSWORD, SERVER, DoorsCase
from tests.kit.wire import Reply

PATH = "/_synapse/admin/v1/register"
SECRET = "squeamish ossifrage"


def mac_of(*parts: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), "\0".join(parts).encode(), sha1).hexdigest()


class SharedSecret(DoorsCase):
    rules = Rules(mode="closed", shared_secret=SECRET)

    async def nonce(self) -> str:
        nonce = (await self.call("GET", PATH)).json["nonce"]
        assert isinstance(nonce, str)
        return nonce

    async def make(self, nonce: str, name: str = "alice", *, admin: bool = False, **spoiled: Any) -> Reply:
        mac = mac_of(nonce, name, PASSWORD, "admin" if admin else "notadmin")
        body = {"nonce": nonce, "username": name, "password": PASSWORD, "admin": admin, "mac": mac, **spoiled}
        return await self.call("POST", PATH, body)

    async def test_the_secret_makes_an_account_also_where_registration_is_closed(self) -> None:
        reply = await self.make(await self.nonce())
        self.assertEqual(set(reply.json), {"user_id", "access_token", "device_id", "home_server"})
        alice = self.client(reply)
        self.assertEqual(alice.user_id, f"@alice:{SERVER}")
        await self.assert_lives(await self.log_in("alice"))
        profile = await alice.call("GET", f"/profile/{alice.user_id}")
        self.assertEqual(profile.json, {"displayname": "alice"})

    async def test_an_administrator_is_one_and_others_are_not(self) -> None:
        for name, admin in (("alice", True), ("bob", False)):
            client = self.client(await self.make(await self.nonce(), name, admin=admin))
            session = await self.sessions.find(client.token)
            assert session is not None
            self.assertIs(session.admin, admin)

    async def test_a_display_name_and_a_type_may_be_given(self) -> None:
        nonce = await self.nonce()
        mac = mac_of(nonce, "alice", PASSWORD, "notadmin", "support")
        reply = await self.make(nonce, displayname="Алиса", user_type="support", mac=mac)
        alice = self.client(reply)
        self.assertEqual((await alice.call("GET", f"/profile/{alice.user_id}")).json, {"displayname": "Алиса"})

    async def test_a_nonce_serves_once_and_for_a_minute(self) -> None:
        nonce = await self.nonce()
        self.client(await self.make(nonce))
        self.assert_refused(await self.make(nonce, "bob"), 403, "M_FORBIDDEN")
        nonce = await self.nonce()
        self.advance(seconds=60)
        self.assert_refused(await self.make(nonce, "bob"), 403, "M_FORBIDDEN")
        for made_up in ("", "x", "\ud7ff"):
            self.assert_refused(await self.make(made_up, "bob"), 403, "M_FORBIDDEN")

    async def test_every_part_is_under_the_code(self) -> None:
        for spoiled in (
            {"username": "mallory"},
            {"password": "another password"},
            {"user_type": "bot"},
            {"mac": mac_of("x")},
            {"mac": ""},
            {"mac": "ы"},
        ):
            self.assert_refused(await self.make(await self.nonce(), **spoiled), 403, "M_FORBIDDEN")
        nonce = await self.nonce()
        self.assert_refused(
            await self.make(nonce, admin=True, mac=mac_of(nonce, "alice", PASSWORD, "notadmin")), 403, "M_FORBIDDEN"
        )
        nonce = await self.nonce()
        wrong = mac_of(nonce, "alice", PASSWORD, "notadmin", secret="guess")
        self.assert_refused(await self.make(nonce, mac=wrong), 403, "M_FORBIDDEN")
        self.assertEqual(await self.db.read(lambda txn: txn.all("SELECT user_id FROM users")), [])

    async def test_a_wrong_try_uses_up_the_nonce(self) -> None:
        nonce = await self.nonce()
        await self.make(nonce, mac="0" * 40)
        self.assert_refused(await self.make(nonce), 403, "M_FORBIDDEN")

    async def test_names_and_bodies_that_make_no_sense_are_refused(self) -> None:
        self.client(await self.make(await self.nonce()))
        self.assert_refused(await self.make(await self.nonce()), 400, "M_USER_IN_USE")
        self.assert_refused(await self.make(await self.nonce(), "not a name"), 400, "M_INVALID_USERNAME")
        self.assert_refused(await self.make(await self.nonce(), "bob", password="x\0admin"), 400, "M_BAD_JSON")
        for body in ({}, {"nonce": 5}, [], {"nonce": "x", "username": "a", "password": "b", "mac": None}):
            self.assert_refused(await self.call("POST", PATH, body), 400, "M_BAD_JSON")

    async def test_nonces_are_not_kept_without_end(self) -> None:
        first = await self.nonce()
        for _ in range(1000):
            self.last = await self.nonce()
        self.assert_refused(await self.make(first), 403, "M_FORBIDDEN")
        self.client(await self.make(self.last))
