"""Operators' endpoints of reports: listed, looked into, settled."""

from urllib.parse import quote

from tests.kit.operators import FORBIDDEN, NOT_FOUND, V1, OperatorCase

REPORTS, PEOPLE = f"{V1}/event_reports", f"{V1}/user_reports"


class Reports(OperatorCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.room = await self.bob.create_room(preset="public_chat", name="Den", room_alias_name="den")
        self.anna = await self.register("anna")
        await self.anna.join(self.room)
        self.events = [await self.bob.send(self.room, text) for text in ("bad", "worse")]
        for event, reason in zip(self.events, ("one", "two"), strict=True):
            path = f"/rooms/{quote(self.room)}/report/{quote(event)}"
            await self.anna.ok("POST", path, {"reason": reason, "score": -100})
        await self.anna.ok("POST", f"/users/{self.bob.user_id}/report", {"reason": "three"})

    async def reasons(self, **query: object) -> list[str]:
        return [report["reason"] for report in (await self.head.ok("GET", REPORTS, **query))["event_reports"]]

    async def test_the_latest_come_first_page_by_page(self) -> None:
        answer = await self.head.ok("GET", REPORTS, limit=1)
        (report,) = answer["event_reports"]
        self.assertEqual((answer["total"], answer["next_token"]), (2, 1))
        report.pop("received_ts")
        self.assertEqual(
            report,
            {"id": 2, "room_id": self.room, "event_id": self.events[1], "user_id": self.anna.user_id, "reason": "two",
             "score": None, "sender": self.bob.user_id, "name": "Den", "canonical_alias": "#den:parta.test"},
        )  # fmt: skip
        self.assertEqual(await self.reasons(**{"from": 1}), ["one"])
        self.assertEqual(await self.reasons(dir="f"), ["one", "two"])

    async def test_they_are_found_by_who_where_and_about_whom(self) -> None:
        self.assertEqual(await self.reasons(user_id="anna"), ["two", "one"])
        self.assertEqual(await self.reasons(user_id="head"), [])
        self.assertEqual(await self.reasons(room_id=self.room[:9]), ["two", "one"])
        self.assertEqual(await self.reasons(sender_user_id=self.bob.user_id), ["two", "one"])
        self.assertEqual(await self.reasons(sender_user_id=self.anna.user_id), [])

    async def test_one_is_looked_into_with_its_event_and_settled(self) -> None:
        found = await self.head.ok("GET", f"{REPORTS}/1")
        self.assertEqual((found["reason"], found["event_json"]["content"]["body"]), ("one", "bad"))
        self.assertEqual(await self.head.ok("DELETE", f"{REPORTS}/1"), {})
        self.assertEqual(await self.reasons(), ["two"])
        for method in ("GET", "DELETE"):
            self.assertEqual(await self.head.refused(method, f"{REPORTS}/1"), NOT_FOUND)
            self.assertEqual(await self.head.refused(method, f"{REPORTS}/x"), (400, "M_INVALID_PARAM"))
        self.assertEqual(await self.deeds(), [("see_report", self.bob.user_id), ("settle_report", "")])

    async def test_those_of_people_are_listed_looked_into_and_settled_by_a_name_of_their_own(self) -> None:
        answer = await self.head.ok("GET", PEOPLE)
        (report,) = answer["user_reports"]
        self.assertEqual((answer["total"], report.pop("received_ts") > 0), (1, True))
        shown = {"id": 3, "target_user_id": self.bob.user_id, "user_id": self.anna.user_id, "reason": "three"}
        self.assertEqual(report, shown)
        for query, total in (
            ({"user_id": "anna"}, 1),
            ({"user_id": "bob"}, 0),
            ({"target_user_id": self.bob.user_id}, 1),
            ({"target_user_id": self.anna.user_id}, 0),
        ):
            self.assertEqual((await self.head.ok("GET", PEOPLE, **query))["total"], total, query)
        self.assertEqual((await self.head.ok("GET", f"{PEOPLE}/3"))["target_user_id"], self.bob.user_id)
        for method in ("GET", "DELETE"):
            self.assertEqual(await self.head.refused(method, f"{PEOPLE}/1"), NOT_FOUND)
            self.assertEqual(await self.bob.refused(method, f"{PEOPLE}/3"), FORBIDDEN)
        self.assertEqual(await self.head.ok("DELETE", f"{PEOPLE}/3"), {})
        self.assertEqual((await self.head.ok("GET", PEOPLE))["total"], 0)
        self.assertEqual(await self.reasons(), ["two", "one"])

    async def test_reports_of_people_are_listed_beside(self) -> None:
        path = "/_parta/admin/v1/reports"
        self.assertEqual([r["reason"] for r in (await self.head.ok("GET", path))["reports"]], ["three"])
        self.assertEqual((await self.head.ok("GET", path, kind="room"))["reports"], [])
        self.assertEqual(await self.head.refused("GET", path, kind="x"), (400, "M_INVALID_PARAM"))


class ReportsOnPostgreSQL(Reports):
    dialect = "postgresql"
