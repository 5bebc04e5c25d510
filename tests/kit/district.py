"""A whole server of a region with the demonstration school, asked over wires in memory.

class Stories(DistrictCase):
    async def test_a_story(self) -> None:
        teacher = await self.sign_in("teacher1")
        await teacher.send(await self.room(Kind.PUPILS, "9Б"), "Доброе утро!")
"""

from typing import Any
from urllib.parse import quote

from federation.ids import RoomID
from homeserver.schools.demo import PASSWORD, make_demo
from homeserver.schools.rights import Kind
from homeserver.schools.rooms import RoomKey, room_keys
from homeserver.schools.school import School
from tests.kit.people import Person
from tests.kit.schools import SERVER
from tests.kit.server import ServerCase
from tests.kit.wire import Reply

OFFICE = "/_parta/school/v1/organisations"


class DistrictCase(ServerCase):
    """A region with the demonstration school."""

    configuration: dict[str, Any] = {"policy": "school", "server_name": SERVER, "registration": {"mode": "closed"}}

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        bureau = self.server.bureau
        self.org_id = await make_demo(bureau.office, bureau.desk, bureau.passwords)

    async def sign_in(self, login: str) -> Person:
        """Sign in somebody of the demonstration school."""
        return await self.log_in(login, PASSWORD)

    async def school(self) -> School:
        """The school as it is."""
        return await self.server.bureau.desk.load(self.org_id)

    async def class_id(self, title: str) -> str:
        """The id of a class."""
        return next(c.class_id for c in (await self.school()).classes.values() if c.title == title)

    async def room(self, kind: Kind, class_title: str = "", owner: str = "") -> RoomID:
        """The room of that kind."""
        class_id = await self.class_id(class_title) if class_title else ""
        return room_keys(await self.school())[RoomKey(kind, class_id, owner)]


async def rooms_of(person: Person) -> set[str]:
    """The rooms that somebody is joined to."""
    return set((await person.ok("GET", "/joined_rooms"))["joined_rooms"])


async def try_to_send(person: Person, room: str, kind: str = "m.room.message", **content: object) -> Reply:
    """Send an event, or be refused."""
    path = f"/rooms/{quote(room)}/send/{quote(kind)}/tried{len(content)}-{kind}"
    return await person.call("PUT", path, {"msgtype": "m.text", "body": "hi", **content})
