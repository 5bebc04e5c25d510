"""Registration tokens: made out by operators, used up by newcomers."""

from msgspec.structs import replace

from tests.kit.callers import PASSWORD
from tests.kit.operators import NOT_FOUND, V1, OperatorCase
from tests.kit.people import V3
from tests.kit.wire import Reply

TOKENS = f"{V1}/registration_tokens"
VALIDITY = "/_matrix/client/v1/register/m.login.registration_token/validity"


class Tokens(OperatorCase):
    async def make(self, **body: object) -> str:
        token: str = (await self.head.ok("POST", f"{TOKENS}/new", body))["token"]
        return token

    async def test_one_is_made_out_with_what_it_is_to_be(self) -> None:
        made = await self.head.ok("POST", f"{TOKENS}/new", {"token": "abc", "uses_allowed": 2, "expiry_time": None})
        self.assertEqual(made, {"token": "abc", "uses_allowed": 2, "pending": 0, "completed": 0, "expiry_time": None})
        self.assertEqual(await self.head.ok("GET", f"{TOKENS}/abc"), made)
        self.assertEqual(len(await self.make()), 16)
        self.assertEqual(len(await self.make(length=64, uses_allowed=None)), 64)

    async def test_what_cannot_be_is_refused(self) -> None:
        await self.make(token="abc")
        for body in ({"token": "abc"}, {"token": ""}, {"token": "ü"}, {"token": "x" * 65}, {"length": 0},
                     {"length": 65}, {"uses_allowed": -1}, {"expiry_time": 1}):  # fmt: skip
            self.assertEqual(await self.head.refused("POST", f"{TOKENS}/new", body), (400, "M_INVALID_PARAM"))
        self.assertEqual(await self.head.refused("POST", f"{TOKENS}/new", {"token": None}), (400, "M_BAD_JSON"))
        for method, body in (("GET", None), ("PUT", {}), ("DELETE", None)):
            self.assertEqual(await self.head.refused(method, f"{TOKENS}/none", body), NOT_FOUND)

    async def test_it_is_changed_in_what_is_named(self) -> None:
        await self.make(token="abc", uses_allowed=2)
        later = self.server.core.world.now_ms() + 60_000
        changed = await self.head.ok("PUT", f"{TOKENS}/abc", {"expiry_time": later})
        self.assertEqual((changed["uses_allowed"], changed["expiry_time"]), (2, later))
        changed = await self.head.ok("PUT", f"{TOKENS}/abc", {"expiry_time": None, "uses_allowed": 0})
        self.assertEqual((changed["uses_allowed"], changed["expiry_time"]), (0, None))

    async def test_those_that_can_be_used_are_told_from_the_others(self) -> None:
        await self.make(token="good")
        await self.make(token="spent", uses_allowed=0)

        async def listed(**query: object) -> list[str]:
            return [each["token"] for each in (await self.head.ok("GET", TOKENS, **query))["registration_tokens"]]

        self.assertEqual(await listed(), ["good", "spent"])
        self.assertEqual(await listed(valid="true"), ["good"])
        self.assertEqual(await listed(valid="false"), ["spent"])
        await self.head.ok("DELETE", f"{TOKENS}/good")
        self.assertEqual(await listed(), ["spent"])
        self.assertEqual([deed for deed, _ in await self.deeds()], ["make_token", "make_token", "remove_token"])


class TokensOnPostgreSQL(Tokens):
    dialect = "postgresql"


class Newcomers(OperatorCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.settings = replace(self.settings, registration=replace(self.settings.registration, mode="invite"))
        await self.restart()

    async def come(self, name: str, token: str) -> Reply:
        body = {"username": name, "password": PASSWORD}
        first = await self.call("POST", f"{V3}/register", body)
        self.assertEqual((first.status, first.json["flows"]), (401, [{"stages": ["m.login.registration_token"]}]))
        auth = {"type": "m.login.registration_token", "token": token, "session": first.json["session"]}
        return await self.call("POST", f"{V3}/register", {**body, "auth": auth})

    async def test_a_token_lets_in_as_many_as_it_says(self) -> None:
        await self.head.ok("POST", f"{TOKENS}/new", {"token": "abc", "uses_allowed": 1})
        self.assertEqual((await self.call("GET", f"{VALIDITY}?token=abc")).json, {"valid": True})
        self.assertEqual((await self.come("anna", "wrong")).status, 401)
        self.assertEqual((await self.come("anna", "abc")).status, 200)
        self.assertEqual((await self.call("GET", f"{VALIDITY}?token=abc")).json, {"valid": False})
        self.assertEqual((await self.come("boris", "abc")).status, 401)
        self.assertEqual((await self.head.ok("GET", f"{TOKENS}/abc"))["completed"], 1)
