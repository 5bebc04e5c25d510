"""The audit log: one for everything that operators do, written with it, read page by page, changed by nobody."""

from homeserver.storage.accounts import set_admin
from tests.kit.callers import PASSWORD
from tests.kit.operators import AUDIT, FORBIDDEN, V1, V2, OperatorCase


class Log(OperatorCase):
    async def test_an_entry_says_who_did_what_to_whom_when_and_in_which_request(self) -> None:
        before = self.server.core.world.now_ms()
        await self.head.ok("PUT", f"/_matrix/client/v1/admin/lock/{self.bob.user_id}", {"locked": True})
        (entry,) = await self.log()
        self.assertTrue(before <= entry.pop("at_ms") <= self.server.core.world.now_ms())
        self.assertTrue(entry.pop("request"))
        self.assertEqual(
            entry,
            {"entry": 1, "org_id": "", "done_by": self.head.user_id, "deed": "lock", "subject": self.bob.user_id,
             "detail": {}, "outcome": "done"},
        )  # fmt: skip

    async def test_what_changes_nothing_leaves_no_entry(self) -> None:
        await self.head.ok("PUT", f"/_matrix/client/v1/admin/lock/{self.bob.user_id}", {"locked": False})
        await self.head.refused("PUT", f"/_matrix/client/v1/admin/suspend/{self.head.user_id}", {"suspended": True})
        self.assertEqual(await self.deeds(), [])

    async def test_it_is_read_by_pages_and_by_who_and_whom(self) -> None:
        for suspend in (True, False, True):
            await self.head.ok("PUT", f"{V1}/suspend/{self.bob.user_id}", {"suspend": suspend})
        page = await self.head.ok("GET", AUDIT, limit=2)
        self.assertEqual([entry["entry"] for entry in page["entries"]], [3, 2])
        older = await self.head.ok("GET", AUDIT, limit=2, **{"from": page["next"]})
        self.assertEqual([entry["entry"] for entry in older["entries"]], [1])
        self.assertNotIn("next", older)
        self.assertEqual(len(await self.log(subject=self.bob.user_id)), 3)
        self.assertEqual(await self.log(subject="@none:parta.test"), [])
        self.assertEqual(await self.log(done_by=self.bob.user_id), [])
        self.assertEqual(await self.log(org_id="x"), [])
        self.assertEqual(await self.head.refused("GET", AUDIT, limit=0), (400, "M_INVALID_PARAM"))

    async def test_reading_it_is_noted_too(self) -> None:
        await self.head.ok("GET", AUDIT)
        entries = (await self.head.ok("GET", AUDIT))["entries"]
        self.assertEqual([entry["deed"] for entry in entries], ["see_audit"])

    async def test_nobody_else_reads_it(self) -> None:
        self.assertEqual(await self.bob.refused("GET", AUDIT), FORBIDDEN)

    async def test_the_database_itself_keeps_it(self) -> None:
        await self.head.ok("PUT", f"{V1}/suspend/{self.bob.user_id}", {"suspend": True})
        for sql in ("UPDATE audit SET done_by = 'x'", "DELETE FROM audit"):
            with self.assertRaises(Exception):  # noqa: B017 - each driver has its own
                await self.server.core.database.write(lambda txn, sql=sql: txn.run(sql))
        self.assertEqual(await self.deeds(), [("suspend", self.bob.user_id)])

    async def test_a_change_that_fails_leaves_neither_itself_nor_an_entry(self) -> None:
        await self.head.ok("POST", f"{V1}/registration_tokens/new", {"token": "abc"})
        again = await self.head.refused("POST", f"{V1}/registration_tokens/new", {"token": "abc"})
        self.assertEqual(again, (400, "M_INVALID_PARAM"))
        self.assertEqual(await self.deeds(), [("make_token", "")])


class LogOnPostgreSQL(Log):
    dialect = "postgresql"


class EveryDoor(OperatorCase):
    """All that is for operators, by others."""

    async def test_nobody_but_an_operator_comes_in_and_nothing_is_written(self) -> None:
        bound = self.factory.edge._bound  # type: ignore[attr-defined]  # what the listener answers
        doors = [route for route in bound if route.path.startswith(("/_synapse/", "/_parta/admin/"))]
        doors = [route for route in doors if not route.path.endswith(("/v1/server_version", "/v1/register"))]
        self.assertGreater(len(doors), 50)
        position = self.server.core.database.position
        for route in doors:
            path = route.path.replace("{userId}", self.bob.user_id).replace("{", "").replace("}", "")
            self.assertEqual(route.auth, "admin", path)
            body = None if route.method == "GET" else {}
            self.assertEqual(await self.bob.refused(route.method, path, body), FORBIDDEN, path)
            reply = await self.call(route.method, path, body)
            self.assertEqual((reply.status, reply.errcode), (401, "M_MISSING_TOKEN"), path)
        self.assertEqual(self.server.core.database.position, position)
        self.assertEqual(await self.deeds(), [])

    async def test_who_is_no_operator_any_more_is_shut_out_at_once(self) -> None:
        other = await self.register("other")
        await self.make_admin(other)
        await other.ok("GET", f"{V2}/users")
        await self.server.core.database.write(set_admin, other.user_id, False)
        self.assertEqual(await other.refused("GET", f"{V2}/users"), FORBIDDEN)

    async def test_tools_ask_for_the_version_before_they_sign_in(self) -> None:
        reply = await self.call("GET", f"{V1}/server_version")
        self.assertTrue(reply.json["server_version"].startswith("Parta "))
        await self.log_in("bob", PASSWORD)
