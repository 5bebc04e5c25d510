"""Third-party networks, of which there are none, and the support contact."""

from tests.kit.server import ServerCase

NOT_FOUND = (404, "M_NOT_FOUND")


class Networks(ServerCase):
    async def test_there_is_no_network(self) -> None:
        alice = await self.register("alice")
        self.assertEqual(await alice.ok("GET", "/thirdparty/protocols"), {})
        self.assertEqual(await alice.ok("GET", "/thirdparty/location", alias="#a:parta.test"), [])
        self.assertEqual(await alice.ok("GET", "/thirdparty/user", userid="@a:parta.test"), [])
        for what in ("protocol", "location", "user"):
            self.assertEqual(await alice.refused("GET", f"/thirdparty/{what}/irc"), NOT_FOUND)

    async def test_who_asks_says_what_for(self) -> None:
        alice = await self.register("alice")
        for what in ("location", "user"):
            self.assertEqual(await alice.refused("GET", f"/thirdparty/{what}"), (400, "M_MISSING_PARAM"))

    async def test_strangers_do_not_ask(self) -> None:
        reply = await self.call("GET", "/_matrix/client/v3/thirdparty/protocols")
        self.assertEqual(reply.status, 401)

    async def test_nobody_is_named_where_nobody_is_configured(self) -> None:
        self.assertEqual((await self.call("GET", "/.well-known/matrix/support")).status, 404)


class Support(ServerCase):
    configuration = {
        "support": {
            "contacts": [{"matrix_id": "@help:parta.test"}, {"role": "m.role.security", "email_address": "a@b.test"}],
            "page": "https://help.parta.test",
        }
    }

    async def test_those_who_answer_for_the_server_are_named(self) -> None:
        contacts = [
            {"role": "m.role.admin", "matrix_id": "@help:parta.test"},
            {"role": "m.role.security", "email_address": "a@b.test"},
        ]
        reply = await self.call("GET", "/.well-known/matrix/support")
        self.assertEqual(reply.json, {"contacts": contacts, "support_page": "https://help.parta.test"})
