"""Who may have a person exported through the school's office, and what of them."""

from io import BytesIO
from typing import Any
from zipfile import ZipFile

from twisted.internet.task import deferLater

from homeserver.schools.rights import Kind
from tests.kit.databases import reactor_in_use
from tests.kit.district import OFFICE, DistrictCase
from tests.kit.people import Person

PUPIL = "@pupil1:north.example"


class Exports(DistrictCase):
    """The demonstration school's exports."""

    async def export(self, asker: Person, user_id: str) -> tuple[str, ZipFile]:
        """Have somebody exported; where, and the archive."""
        path = f"{OFFICE}/{self.org_id}"
        export_id = (await asker.ok("POST", f"{path}/people/{user_id}/export", {}))["export_id"]
        where = f"{path}/exports/{export_id}"
        for _ in range(1000):
            status: Any = await asker.ok("GET", where)
            if status["status"] != "active":
                break
            await deferLater(reactor_in_use(), 0.01)
        assert status["status"] == "complete", status
        reply = await asker.call("GET", f"{where}/archive")
        assert reply.status == 200
        return where, ZipFile(BytesIO(reply.body))

    async def test_the_administrator_hands_over_what_was_said_in_the_schools_rooms(self) -> None:
        teacher, pupil = await self.sign_in("teacher1"), await self.sign_in("pupil1")
        await teacher.send(await self.room(Kind.PUPILS, "5А"), "Здравствуй, класс")
        admin = await self.sign_in("admin1")
        _, archive = await self.export(admin, pupil.user_id)
        text = b"".join(archive.read(name) for name in archive.namelist()).decode()
        assert "Здравствуй, класс" in text
        log = await admin.ok("GET", f"{OFFICE}/{self.org_id}/audit")
        assert ("export", pupil.user_id) in {(entry["deed"], entry["subject"]) for entry in log["entries"]}

    async def test_what_was_said_in_rooms_for_two_is_not_the_schools(self) -> None:
        teacher, parent = await self.sign_in("teacher1"), await self.sign_in("parent1")
        room = await teacher.create_room(is_direct=True, invite=[parent.user_id], preset="private_chat")
        await teacher.send(room, "между нами")
        _, archive = await self.export(await self.sign_in("admin1"), teacher.user_id)
        assert "между нами" not in b"".join(archive.read(name) for name in archive.namelist()).decode()

    async def test_nobody_else_has_anybody_exported_nor_gets_what_another_asked_for(self) -> None:
        admin = await self.sign_in("admin1")
        where, _ = await self.export(admin, PUPIL)
        path = f"{OFFICE}/{self.org_id}/people/{PUPIL}/export"
        for login in ("teacher1", "pupil1", "parent1", "newcomer", "dismissed"):
            person = await self.sign_in(login)
            assert await person.refused("POST", path, {}) == (404, "M_NOT_FOUND"), login
            assert await person.refused("GET", where) == (404, "M_NOT_FOUND"), login
            assert await person.refused("GET", f"{where}/archive") == (404, "M_NOT_FOUND"), login
        assert (await self.call("GET", f"{where}/archive")).status == 401

    async def test_people_of_other_schools_are_nobody(self) -> None:
        admin = await self.sign_in("admin1")
        path = f"{OFFICE}/{self.org_id}/people/@stranger:north.example/export"
        assert await admin.refused("POST", path, {}) == (404, "M_NOT_FOUND")
        assert await admin.refused("POST", f"{OFFICE}/nowhere/people/{PUPIL}/export", {}) == (404, "M_NOT_FOUND")
        assert await admin.refused("GET", f"{OFFICE}/{self.org_id}/exports/nothing") == (404, "M_NOT_FOUND")
