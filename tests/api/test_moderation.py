"""The operators' endpoints that the specification knows: lock, suspend and whois."""

from urllib.parse import quote

from homeserver.storage.accounts import set_admin
from tests.kit.people import Person
from tests.kit.server import ServerCase

V1 = "/_matrix/client/v1/admin"
FORBIDDEN, NOT_FOUND = (403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")


class ModerationCase(ServerCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.head, self.bob = await self.register("head"), await self.register("bob")
        await self.make_admin(self.head)

    async def make_admin(self, person: Person) -> None:
        await self.server.core.database.write(set_admin, person.user_id, True)


class Locking(ModerationCase):
    async def test_a_locked_account_does_nothing_until_it_is_unlocked(self) -> None:
        path = f"{V1}/lock/{self.bob.user_id}"
        self.assertEqual(await self.head.ok("GET", path), {"locked": False})
        self.assertEqual(await self.head.ok("PUT", path, {"locked": True}), {"locked": True})
        self.assertEqual(await self.head.ok("GET", path), {"locked": True})
        reply = await self.bob.call("GET", "/account/whoami")
        self.assertEqual((reply.status, reply.errcode, reply.json["soft_logout"]), (401, "M_USER_LOCKED", True))
        await self.restart()
        self.assertEqual(await self.head.ok("PUT", path, {"locked": False}), {"locked": False})
        await self.bob.ok("GET", "/account/whoami")

    async def test_a_suspended_account_reads_and_does_not_write(self) -> None:
        room = await self.bob.create_room(preset="public_chat")
        await self.head.join(room)
        own = await self.bob.send(room, "hi")
        path = f"{V1}/suspend/{self.bob.user_id}"
        self.assertEqual(await self.head.ok("GET", path), {"suspended": False})
        self.assertEqual(await self.head.ok("PUT", path, {"suspended": True}), {"suspended": True})
        self.assertEqual(await self.head.ok("GET", path), {"suspended": True})
        refused = await self.bob.refused("PUT", f"/rooms/{room}/send/m.room.message/1", {"body": "hi"})
        self.assertEqual(refused, (403, "M_USER_SUSPENDED"))
        upgrade = await self.bob.refused("POST", f"/rooms/{room}/upgrade", {"new_version": "12"})
        self.assertEqual(upgrade, (403, "M_USER_SUSPENDED"))
        for field in ("displayname", "avatar_url", "org.example.pet"):
            for method, body in (("PUT", {field: "x"}), ("DELETE", None)):
                refused = await self.bob.refused(method, f"/profile/{self.bob.user_id}/{field}", body)
                self.assertEqual(refused, (403, "M_USER_SUSPENDED"), (method, field))
        await self.bob.sync()
        theirs = await self.head.send(room, "hi")
        refused = await self.bob.refused("PUT", f"/rooms/{room}/redact/{quote(theirs)}/2", {})
        self.assertEqual(refused, (403, "M_USER_SUSPENDED"))
        await self.bob.ok("PUT", f"/rooms/{room}/redact/{quote(own)}/3", {})
        await self.head.ok("PUT", path, {"suspended": False})
        await self.bob.ok("PUT", f"/rooms/{room}/redact/{quote(theirs)}/4", {})
        await self.bob.send(room, "hi")

    async def test_only_operators_may_and_others_learn_nothing(self) -> None:
        for what in ("lock", "suspend"):
            for who in ("@head:parta.test", "@none:parta.test", "@x:other.test", "nonsense"):
                self.assertEqual(await self.bob.refused("GET", f"{V1}/{what}/{who}"), FORBIDDEN)
                body = {"locked": True, "suspended": True}
                self.assertEqual(await self.bob.refused("PUT", f"{V1}/{what}/{who}", body), FORBIDDEN)

    async def test_operators_are_not_moderated(self) -> None:
        other = await self.register("other")
        await self.make_admin(other)
        for what, field in (("lock", "locked"), ("suspend", "suspended")):
            for person in (other, self.head):
                refused = await self.head.refused("PUT", f"{V1}/{what}/{person.user_id}", {field: True})
                self.assertEqual(refused, FORBIDDEN)
            self.assertEqual(await self.head.refused("GET", f"{V1}/{what}/{other.user_id}"), FORBIDDEN)
            self.assertEqual(await self.head.ok("GET", f"{V1}/{what}/{self.head.user_id}"), {field: False})

    async def test_who_is_not_here_cannot_be_moderated(self) -> None:
        await self.server.people.accounts.deactivate(self.bob.user_id, erase=False)
        for what, field in (("lock", "locked"), ("suspend", "suspended")):
            for who, answer in (
                ("@none:parta.test", NOT_FOUND),
                (self.bob.user_id, NOT_FOUND),
                ("@x:other.test", (400, "M_INVALID_PARAM")),
                ("nonsense", (400, "M_INVALID_PARAM")),
            ):
                self.assertEqual(await self.head.refused("GET", f"{V1}/{what}/{who}"), answer)
                self.assertEqual(await self.head.refused("PUT", f"{V1}/{what}/{who}", {field: True}), answer)

    async def test_a_body_that_says_nothing_is_refused(self) -> None:
        for body in ({}, {"locked": 1, "suspended": "yes"}, []):
            for what in ("lock", "suspend"):
                refused = await self.head.refused("PUT", f"{V1}/{what}/{self.bob.user_id}", body)
                self.assertEqual(refused, (400, "M_BAD_JSON"))

    async def test_operators_are_told_what_they_can(self) -> None:
        mine = (await self.head.ok("GET", "/capabilities"))["capabilities"]
        self.assertEqual(mine["m.account_moderation"], {"lock": True, "suspend": True})
        self.assertNotIn("m.account_moderation", (await self.bob.ok("GET", "/capabilities"))["capabilities"])


class LockingOnPostgreSQL(Locking):
    dialect = "postgresql"


class WhoIs(ModerationCase):
    async def test_operators_and_oneself_see_devices(self) -> None:
        await self.bob.ok("GET", "/account/whoami")
        await self.restart()
        for person in (self.head, self.bob):
            answer = await person.ok("GET", f"/admin/whois/{self.bob.user_id}")
            self.assertEqual(answer["user_id"], self.bob.user_id)
            (session,) = answer["devices"][self.bob.device_id]["sessions"]
            self.assertEqual(set(session["connections"][0]), {"ip", "last_seen"})

    async def test_nobody_else_does(self) -> None:
        for who in (self.head.user_id, "@none:parta.test"):
            self.assertEqual(await self.bob.refused("GET", f"/admin/whois/{who}"), FORBIDDEN)
        self.assertEqual(await self.head.refused("GET", "/admin/whois/@none:parta.test"), NOT_FOUND)
