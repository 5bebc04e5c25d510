"""An operator of a whole server, and what the audit log says of their deeds."""

from argparse import Namespace
from typing import Any

from federation.ids import UserID
from homeserver.accounts.commands import create_user
from homeserver.storage.accounts import set_admin
from tests.kit.callers import PASSWORD
from tests.kit.people import Person
from tests.kit.server import ServerCase

V1, V2, V3 = (f"/_synapse/admin/v{number}" for number in (1, 2, 3))
AUDIT = "/_parta/admin/v1/audit"
FORBIDDEN, NOT_FOUND = (403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")


class OperatorCase(ServerCase):
    """A server with an operator, `head`, and with `bob`."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.head, self.bob = await self.register("head"), await self.register("bob")
        await self.make_admin(self.head)

    async def make_admin(self, person: Person) -> None:
        """Let somebody be an operator."""
        await self.server.core.database.write(set_admin, UserID(person.user_id), True)

    async def log(self, **query: object) -> list[dict[str, Any]]:
        """What the audit log says, newest first, without what was read of it."""
        entries = (await self.head.ok("GET", AUDIT, **query))["entries"]
        return [entry for entry in entries if entry["deed"] != "see_audit"]

    async def deeds(self, **query: object) -> list[tuple[str, str]]:
        """The deeds of the log, oldest first, and to whom they were done."""
        return [(entry["deed"], entry["subject"]) for entry in reversed(await self.log(**query))]


async def make_operator(case: ServerCase) -> Person:
    """An operator of the region, whom no school knows, made at the console."""
    arguments = Namespace(name="head", admin=True, password=PASSWORD)
    await create_user(case.server.clerk, arguments, lambda line: None)
    return await case.log_in("head")
