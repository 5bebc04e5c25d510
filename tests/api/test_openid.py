"""POST /openid/request_token."""

from homeserver.accounts.openid import LIFETIME_MS, OpenIDTokens
from tests.kit.server import ServerCase


class Tokens(ServerCase):
    def tokens(self, later_ms: int = 0) -> OpenIDTokens:
        """What tells whose token it is, as if some time had passed."""
        core = self.server.core
        return OpenIDTokens(core.database, core.policy, core.mint, lambda: core.world.now_ms() + later_ms)

    async def test_a_token_says_who_asked_for_it_for_an_hour(self) -> None:
        alice = await self.register("alice")
        path = f"/user/{alice.user_id}/openid/request_token"
        got, other = await alice.ok("POST", path, {}), await alice.ok("POST", path, {})
        token = got.pop("access_token")
        self.assertEqual(got, {"token_type": "Bearer", "matrix_server_name": "parta.test", "expires_in": 3600})
        self.assertNotEqual(token, other["access_token"])
        self.assertEqual(await self.tokens().find_owner(token), alice.user_id)
        self.assertIsNone(await self.tokens(LIFETIME_MS + 1).find_owner(token))
        self.assertIsNone(await self.tokens().find_owner(token + "x"))

    async def test_it_opens_nothing_here(self) -> None:
        alice = await self.register("alice")
        token = (await alice.ok("POST", f"/user/{alice.user_id}/openid/request_token", {}))["access_token"]
        reply = await self.call("GET", "/_matrix/client/v3/account/whoami", token=token)
        self.assertEqual((reply.status, reply.errcode), (401, "M_UNKNOWN_TOKEN"))

    async def test_it_ends_with_the_account(self) -> None:
        alice = await self.register("alice")
        token = (await alice.ok("POST", f"/user/{alice.user_id}/openid/request_token", {}))["access_token"]
        await self.server.people.accounts.deactivate(alice.user_id, erase=False)
        self.assertIsNone(await self.tokens().find_owner(token))

    async def test_nobody_gets_one_for_another(self) -> None:
        alice = await self.register("alice")
        for who in ("@bob:parta.test", "nonsense"):
            refused = await alice.refused("POST", f"/user/{who}/openid/request_token", {})
            self.assertEqual(refused, (403, "M_FORBIDDEN"))


class TokensOnPostgreSQL(Tokens):
    dialect = "postgresql"
