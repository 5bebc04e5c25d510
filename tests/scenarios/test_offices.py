"""Every door of the operators' and of the school's office, tried by those who have no business there."""

from collections.abc import Iterator
from typing import Any

from homeserver.api.route import Route
from tests.kit.district import DistrictCase
from tests.scenarios.test_every_door import build_request

NO_OPERATOR = {"errcode": "M_FORBIDDEN", "error": "This is for operators"}


class Offices(DistrictCase):
    """The doors, with the pupil of 9Б and the school itself behind them."""

    async def setUp(self) -> None:
        await super().setUp()
        self.things = {
            "roomId": "!" + "x" * 43,
            "eventId": "$" + "x" * 43,
            "userId": "@pupil3:north.example",
            "mediaId": "x" * 32,
            "deviceId": "X",
            "orgId": self.org_id,
            "classId": await self.class_id("9Б"),
        }
        self.before = await self.school()

    def doors(self, *starts: str) -> Iterator[Route]:
        bound: dict[Route, Any] = self.factory.edge._bound  # type: ignore[attr-defined]  # what the listener answers
        return (route for route in bound if route.path.startswith(starts) and route.auth in ("user", "admin"))

    async def test_nobody_of_a_school_is_an_operator(self) -> None:
        doors = [route for route in self.doors("/_synapse/", "/_parta/") if route.auth == "admin"]
        assert len(doors) > 80
        for login in ("pupil1", "parent1", "teacher1", "admin1", "newcomer"):
            person = await self.sign_in(login)
            for route in doors:
                reply = await person.call(*build_request(route, self.things))
                assert (reply.status, reply.json) == (403, NO_OPERATOR), (login, route.method, route.path)
        assert await self.school() == self.before

    async def test_the_schools_office_is_the_administrators_alone(self) -> None:
        doors = [route for route in self.doors("/_parta/school/") if "{orgId}" in route.path]
        assert len(doors) > 20
        for login in ("pupil1", "parent1", "teacher1", "newcomer"):
            person = await self.sign_in(login)
            for route in doors:
                reply = await person.call(*build_request(route, self.things))
                assert reply.status in (403, 404), (login, route.method, route.path, reply.json)
        assert await self.school() == self.before
