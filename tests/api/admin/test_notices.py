"""Notices of the server: a room for each who gets one, in which nobody else speaks."""

from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from homeserver.schools.rights import Kind
from tests.kit.district import DistrictCase
from tests.kit.operators import NOT_FOUND, V1, OperatorCase, make_operator
from tests.kit.people import Person

NOTICE = f"{V1}/send_server_notice"
SETTINGS = {"localpart": "notices", "display_name": "Parta", "room_name": "Объявления"}
TEXT = {"msgtype": "m.text", "body": "Завтра нет уроков"}
CANNOT_LEAVE = (403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")


async def invitations(person: Person) -> dict[str, Any]:
    """To which rooms somebody is invited, and what they are told of them."""
    found: dict[str, Any] = (await person.ok("GET", "/sync", timeout=0))["rooms"].get("invite", {})
    return found


class Notices(OperatorCase):
    configuration = {"server_notices": SETTINGS}

    async def notify(self, person: Person, text: str = TEXT["body"]) -> str:
        body = {"user_id": person.user_id, "content": {**TEXT, "body": text}}
        event_id: str = (await self.head.ok("POST", NOTICE, body))["event_id"]
        return event_id

    async def room_of(self, person: Person) -> str:
        (room,) = await invitations(person)
        return room

    async def test_somebody_is_invited_to_the_one_room_that_is_tagged_and_pinned(self) -> None:
        first, second = await self.notify(self.bob, "one"), await self.notify(self.bob, "two")
        room = await self.room_of(self.bob)
        self.assertEqual(await self.bob.refused("POST", f"/rooms/{quote(room)}/leave", {}), CANNOT_LEAVE)
        await self.bob.join(room)
        self.assertEqual(await self.bob.texts(room), ["two", "one"])
        pinned = await self.bob.ok("GET", f"/rooms/{quote(room)}/state/m.room.pinned_events")
        self.assertEqual(pinned, {"pinned": [first, second]})
        tags = await self.bob.ok("GET", f"/user/{self.bob.user_id}/rooms/{quote(room)}/tags")
        self.assertEqual(tags, {"tags": {"m.server_notice": {}}})
        name = await self.bob.ok("GET", f"/rooms/{quote(room)}/state/m.room.name")
        self.assertEqual(name, {"name": "Объявления"})
        self.assertEqual(await self.deeds(), [("notify", self.bob.user_id)] * 2)

    async def test_nobody_but_the_server_speaks_or_lets_others_in(self) -> None:
        await self.notify(self.bob)
        room = await self.room_of(self.bob)
        await self.bob.join(room)
        refused = await self.bob.refused("PUT", f"/rooms/{quote(room)}/send/m.room.message/1", TEXT)
        self.assertEqual(refused, (403, "M_FORBIDDEN"))
        body = {"user_id": self.head.user_id}
        self.assertEqual(await self.bob.refused("POST", f"/rooms/{quote(room)}/invite", body), (403, "M_FORBIDDEN"))
        self.assertEqual(await self.head.refused("POST", f"/join/{quote(room)}", {}), (403, "M_FORBIDDEN"))

    async def test_who_has_left_is_invited_again_with_the_next(self) -> None:
        await self.notify(self.bob, "one")
        room = await self.room_of(self.bob)
        await self.bob.join(room)
        await self.bob.leave(room)
        await self.restart()
        await self.notify(self.bob, "two")
        self.assertEqual(await self.room_of(self.bob), room)

    async def test_a_repeated_request_is_the_same_notice(self) -> None:
        body = {"user_id": self.bob.user_id, "content": TEXT}
        first = await self.head.ok("PUT", f"{NOTICE}/txn1", body)
        await self.restart()
        self.assertEqual(await self.head.ok("PUT", f"{NOTICE}/txn1", body), first)
        self.assertNotEqual(await self.head.ok("PUT", f"{NOTICE}/txn2", body), first)

    async def test_only_people_of_this_server_get_one(self) -> None:
        for person, answer in (
            ("@none:parta.test", NOT_FOUND),
            ("@notices:parta.test", NOT_FOUND),
            ("@x:other.test", (400, "M_INVALID_PARAM")),
            ("nonsense", (400, "M_INVALID_PARAM")),
        ):
            self.assertEqual(await self.head.refused("POST", NOTICE, {"user_id": person, "content": TEXT}), answer)
        self.assertEqual(await self.deeds(), [])


class NoticesOnPostgreSQL(Notices):
    dialect = "postgresql"


class NoNotices(OperatorCase):
    async def test_there_are_none_unless_the_configuration_says_so(self) -> None:
        body = {"user_id": self.bob.user_id, "content": TEXT}
        self.assertEqual(await self.head.refused("POST", NOTICE, body), (400, "M_UNKNOWN"))

    async def test_there_are_none_in_somebodys_name(self) -> None:
        notices = replace(self.settings.server_notices, localpart="bob")
        self.settings = replace(self.settings, server_notices=notices)
        with self.assertLogs(level="ERROR"):
            await self.restart()
        body = {"user_id": self.bob.user_id, "content": TEXT}
        self.assertEqual(await self.head.refused("POST", NOTICE, body), (400, "M_UNKNOWN"))


class NoticesAtSchool(DistrictCase):
    configuration = {**DistrictCase.configuration, "server_notices": SETTINGS}

    async def test_a_pupil_reads_a_notice_and_can_do_nothing_else_there(self) -> None:
        operator = await make_operator(self)
        pupil = await self.sign_in("pupil1")
        await operator.ok("POST", NOTICE, {"user_id": pupil.user_id, "content": TEXT})
        (room,) = await invitations(pupil)
        self.assertEqual(await pupil.refused("POST", f"/rooms/{quote(room)}/leave", {}), CANNOT_LEAVE)
        await pupil.join(room)
        self.assertEqual(await pupil.texts(room), [TEXT["body"]])
        for method, path, body in (
            ("PUT", f"/rooms/{quote(room)}/send/m.room.message/1", TEXT),
            ("PUT", f"/rooms/{quote(room)}/state/m.room.topic", {"topic": "x"}),
            ("POST", f"/rooms/{quote(room)}/invite", {"user_id": operator.user_id}),
        ):
            self.assertEqual((await pupil.refused(method, path, body))[0], 403)
        stranger = await self.sign_in("pupil3")
        self.assertEqual(await stranger.refused("POST", f"/join/{quote(room)}", {}), (403, "M_FORBIDDEN"))
        self.assertNotEqual(await self.room(Kind.PUPILS, "5А"), room)
