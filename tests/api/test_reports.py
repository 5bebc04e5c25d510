"""Reports of events, rooms and people."""

from typing import Any
from urllib.parse import quote

from homeserver.storage.reports import Report, load_waiting_reports, set_report_settled
from tests.kit.people import Person
from tests.kit.server import ServerCase

NOT_FOUND = (404, "M_NOT_FOUND")


class Reporting(ServerCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")
        self.room = await self.alice.create_room(preset="public_chat")

    async def waiting(self) -> list[Report]:
        return await self.server.core.database.read(load_waiting_reports, 0, 10)

    async def test_an_event_is_reported_by_who_is_in_the_room(self) -> None:
        await self.bob.join(self.room)
        event_id = await self.alice.send(self.room, "nonsense")
        await self.bob.ok("POST", self.event(event_id), {"reason": "it hurts"})
        await self.bob.ok("POST", self.event(event_id), {"score": -100})
        first, second = await self.waiting()
        self.assertEqual((first.kind, first.reporter, first.user_id), ("event", self.bob.user_id, self.alice.user_id))
        self.assertEqual((first.room_id, first.event_id, first.reason), (self.room, event_id, "it hurts"))
        self.assertEqual(second.reason, "")
        self.assertTrue(await self.server.core.database.write(set_report_settled, first.nid, 1))
        self.assertFalse(await self.server.core.database.write(set_report_settled, first.nid, 2))
        self.assertEqual(await self.waiting(), [second])

    async def test_events_that_one_does_not_see_are_not_there(self) -> None:
        event_id = await self.alice.send(self.room, "nonsense")
        outside = await self.bob.call("POST", self.event(event_id), {"reason": ""})
        nowhere = await self.bob.call("POST", f"/rooms/!none:parta.test/report/{quote(event_id)}", {"reason": ""})
        self.assertEqual((outside.status, outside.json), (404, nowhere.json))
        await self.bob.join(self.room)
        self.assertEqual(await self.bob.refused("POST", self.event("$none"), {"reason": ""}), NOT_FOUND)
        self.assertEqual(await self.waiting(), [])

    async def test_a_room_is_reported_by_who_may_learn_of_it(self) -> None:
        await self.bob.ok("POST", f"/rooms/{self.room}/report", {"reason": ""})
        closed = await self.alice.create_room()
        for room in (closed, "!none:parta.test"):
            self.assertEqual(await self.bob.refused("POST", f"/rooms/{room}/report", {"reason": ""}), NOT_FOUND)
        (report,) = await self.waiting()
        self.assertEqual((report.kind, report.room_id, report.user_id), ("room", self.room, None))

    async def test_a_person_is_reported(self) -> None:
        await self.bob.ok("POST", f"/users/{self.alice.user_id}/report", {"reason": "шумит"})
        for user_id in ("@none:parta.test", "@x:other.test", "nonsense"):
            self.assertEqual(await self.bob.refused("POST", f"/users/{user_id}/report", {"reason": ""}), NOT_FOUND)
        (report,) = await self.waiting()
        self.assertEqual((report.kind, report.user_id, report.reason), ("user", self.alice.user_id, "шумит"))

    async def test_bad_reports_are_refused(self) -> None:
        bad: list[Any] = [{"reason": 1}, {"reason": "x" * 4001}, []]
        for path in (f"/rooms/{self.room}/report", f"/users/{self.bob.user_id}/report", self.event("$x")):
            for body in bad:
                self.assertEqual(await self.alice.refused("POST", path, body), (400, "M_BAD_JSON"))
        self.assertEqual(await self.alice.refused("POST", f"/rooms/{self.room}/report", {}), (400, "M_BAD_JSON"))

    async def test_strangers_report_nothing(self) -> None:
        stranger = Person(server=self, user_id="", device_id="", token="none")
        self.assertEqual((await stranger.call("POST", f"/rooms/{self.room}/report", {"reason": ""})).status, 401)

    def event(self, event_id: str) -> str:
        return f"/rooms/{self.room}/report/{quote(event_id, safe='')}"


class ReportingOnPostgreSQL(Reporting):
    dialect = "postgresql"
