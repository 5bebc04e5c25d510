"""POST /login/get_token, and logging in by what it gives."""

from typing import Any

from tests.kit.callers import PASSWORD
from tests.kit.people import V3, Person
from tests.kit.server import ServerCase
from tests.kit.wire import Reply

GET = "/_matrix/client/v1/login/get_token"


class TokenCase(ServerCase):
    configuration: dict[str, Any] = {"login_via_existing_session": True}

    async def token(self, person: Person) -> str:
        """A token, with all the proof that is asked for."""
        asked = await person.call("POST", GET, {})
        self.assertEqual((asked.status, asked.json["flows"]), (401, [{"stages": ["m.login.password"]}]))
        got = await person.ok("POST", GET, {"auth": self.proof(person, asked.json["session"])})
        self.assertEqual((set(got), got["expires_in_ms"]), ({"login_token", "expires_in_ms"}, 120_000))
        token: str = got["login_token"]
        return token

    def proof(self, person: Person, session: str) -> dict[str, Any]:
        identifier = {"type": "m.id.user", "user": person.user_id}
        return {"type": "m.login.password", "identifier": identifier, "password": PASSWORD, "session": session}

    async def enter(self, token: object, **fields: Any) -> Reply:
        """Log in by a token."""
        return await self.call("POST", f"{V3}/login", {"type": "m.login.token", "token": token, **fields})

    async def age(self, by_ms: int) -> None:
        """Let all tokens be older."""
        await self.server.core.database.write(
            lambda txn: txn.run("UPDATE login_tokens SET expires_ms = expires_ms - ?", (by_ms,))
        )


class Tokens(TokenCase):
    async def test_a_token_lets_in_once_on_a_device_of_its_own(self) -> None:
        alice = await self.register("alice")
        token = await self.token(alice)
        reply = await self.enter(token, device_id="PHONE", refresh_token=True)
        self.assertEqual((reply.status, reply.json["user_id"], reply.json["device_id"]), (200, alice.user_id, "PHONE"))
        self.assertIn("refresh_token", reply.json)
        whoami = await self.call("GET", f"{V3}/account/whoami", token=reply.json["access_token"])
        self.assertEqual(whoami.json["device_id"], "PHONE")
        again = await self.enter(token)
        self.assertEqual((again.status, again.errcode), (403, "M_FORBIDDEN"))

    async def test_it_holds_for_two_minutes_and_over_a_restart(self) -> None:
        alice = await self.register("alice")
        fresh, old = await self.token(alice), await self.token(alice)
        await self.restart()
        self.assertEqual((await self.enter(fresh)).status, 200)
        await self.age(120_001)
        self.assertEqual((await self.enter(old)).status, 403)

    async def test_nothing_else_lets_in(self) -> None:
        alice = await self.register("alice")
        for token in ("", "x", alice.token, "я" * 99, "\ud800"):
            reply = await self.enter(token.encode("utf-8", "replace").decode())
            self.assertEqual((reply.status, reply.errcode), (403, "M_FORBIDDEN"))
        reply = await self.enter(None)
        self.assertEqual((reply.status, reply.errcode), (400, "M_MISSING_PARAM"))

    async def test_every_token_needs_a_proof_of_its_own(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        asked = await alice.call("POST", GET, {})
        proof = self.proof(alice, asked.json["session"])
        await alice.ok("POST", GET, {"auth": proof})
        self.assertEqual((await alice.call("POST", GET, {"auth": proof})).status, 401)
        asked = await bob.call("POST", GET, {})
        stolen = self.proof(alice, asked.json["session"])
        self.assertEqual(await bob.refused("POST", GET, {"auth": stolen}), (401, "M_FORBIDDEN"))

    async def test_it_ends_with_the_account_and_with_its_password(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        tokens = [await self.token(alice), await self.token(bob)]
        await self.server.people.accounts.deactivate(alice.user_id, erase=False)  # type: ignore[arg-type]
        await self.server.people.accounts.set_password(bob.user_id, "another 5 horses", None, end_others=True)  # type: ignore[arg-type]
        for token in tokens:
            self.assertEqual((await self.enter(token)).status, 403)

    async def test_a_locked_account_stays_locked(self) -> None:
        alice = await self.register("alice")
        token = await self.token(alice)
        await self.server.core.database.write(lambda txn: txn.run("UPDATE users SET locked_ms = 1"))
        reply = await self.enter(token)
        self.assertEqual((reply.status, reply.errcode), (401, "M_USER_LOCKED"))

    async def test_clients_learn_that_it_is_there(self) -> None:
        alice = await self.register("alice")
        flows = (await self.call("GET", f"{V3}/login")).json["flows"]
        self.assertIn({"type": "m.login.token", "get_login_token": True}, flows)
        self.assertEqual((await alice.ok("GET", "/capabilities"))["capabilities"]["m.get_login_token"]["enabled"], True)

    async def test_what_is_kept_is_not_the_token(self) -> None:
        alice = await self.register("alice")
        token = await self.token(alice)
        ((kept,),) = await self.server.core.database.read(lambda txn: txn.all("SELECT token_hash FROM login_tokens"))
        self.assertNotIn(token.encode(), kept)


class TokensOnPostgreSQL(Tokens):
    dialect = "postgresql"


class Unasked(ServerCase):
    """The setting is off unless an operator has turned it on."""

    async def test_no_token_is_given_out_and_none_lets_in(self) -> None:
        alice = await self.register("alice")
        self.assertEqual(await alice.refused("POST", GET, {}), (404, "M_UNRECOGNIZED"))
        reply = await self.call("POST", f"{V3}/login", {"type": "m.login.token", "token": "x"})
        self.assertEqual((reply.status, reply.errcode), (400, "M_UNKNOWN"))
        flows = (await self.call("GET", f"{V3}/login")).json["flows"]
        self.assertEqual(flows, [{"type": "m.login.password"}])
        allowed = (await alice.ok("GET", "/capabilities"))["capabilities"]["m.get_login_token"]
        self.assertEqual(allowed, {"enabled": False})


class Absent(ServerCase):
    async def test_there_is_no_other_way_to_sign_in_and_clients_are_told_so(self) -> None:
        for path in ("/v3/login/sso/redirect?redirectUrl=x", "/v3/login/sso/redirect/x", "/v1/auth_metadata"):
            reply = await self.call("GET", f"/_matrix/client{path}")
            self.assertEqual((reply.status, reply.errcode), (404, "M_UNRECOGNIZED"))

    async def test_there_is_no_policy_server(self) -> None:
        self.assertEqual((await self.call("GET", "/.well-known/matrix/policy_server")).status, 404)
