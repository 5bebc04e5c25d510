"""Operators remove the past of rooms by the administration API; others do not, and each deed is in the log."""

from urllib.parse import quote

from federation.ids import UserID
from homeserver.storage.accounts import set_admin
from homeserver.storage.audit import Which, load_audit
from tests.kit.server import ServerCase

ADMIN = "/_synapse/admin/v1"


class PurgingHistory(ServerCase):
    """POST purge_history and its status."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.alice, self.operator = await self.register("alice"), await self.register("operator")
        await self.server.core.database.write(set_admin, UserID(self.operator.user_id), True)
        self.room = await self.alice.create_room()
        self.sent = [await self.alice.send(self.room, text) for text in ("one", "two", "three")]

    async def test_an_operator_removes_what_was_said_before_an_event(self) -> None:
        path = f"{ADMIN}/purge_history/{quote(self.room)}/{quote(self.sent[2])}"
        begun = await self.operator.ok("POST", path, {"delete_local_events": True})
        await self.server.purges.finished(begun["purge_id"])
        status = await self.operator.ok("GET", f"{ADMIN}/purge_history_status/{begun['purge_id']}")
        assert status == {"status": "complete"}
        assert await self.alice.texts(self.room) == ["three"]
        (entry,) = await self.server.core.database.read(load_audit, Which(subject=self.room), 5)
        assert (entry.deed, entry.done_by) == ("purge_history", self.operator.user_id)

    async def test_without_being_told_to_it_leaves_what_our_own_people_said(self) -> None:
        path = f"{ADMIN}/purge_history/{quote(self.room)}"
        begun = await self.operator.ok("POST", path, {"purge_up_to_ts": 2**52})
        await self.server.purges.finished(begun["purge_id"])
        assert len(await self.alice.texts(self.room)) == 3

    async def test_it_says_what_is_missing_or_not_there(self) -> None:
        path = f"{ADMIN}/purge_history/{quote(self.room)}"
        assert await self.operator.refused("POST", path, {}) == (400, "M_BAD_JSON")
        assert await self.operator.refused("POST", f"{path}/$no", {}) == (404, "M_NOT_FOUND")
        nowhere = f"{ADMIN}/purge_history/!no:parta.test"
        assert await self.operator.refused("POST", nowhere, {"purge_up_to_ts": 1}) == (404, "M_NOT_FOUND")
        assert await self.operator.refused("GET", f"{ADMIN}/purge_history_status/no") == (404, "M_NOT_FOUND")

    async def test_nobody_else_may(self) -> None:
        path = f"{ADMIN}/purge_history/{quote(self.room)}"
        assert await self.alice.refused("POST", path, {"purge_up_to_ts": 2**52}) == (403, "M_FORBIDDEN")
        assert await self.alice.refused("GET", f"{ADMIN}/purge_history_status/x") == (403, "M_FORBIDDEN")
        assert (await self.call("POST", path, {"purge_up_to_ts": 2**52})).status == 401
        assert len(await self.alice.texts(self.room)) == 3
