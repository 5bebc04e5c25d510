"""What operators may do where schools are: nothing that opens a closed room, or leads to people past their school."""

from urllib.parse import quote

from homeserver.schools.rights import Kind
from tests.kit.district import OFFICE, DistrictCase, rooms_of
from tests.kit.operators import AUDIT, FORBIDDEN, V1, V2, make_operator
from tests.kit.people import Person

GOOD = "another horse 7"


class SchoolCase(DistrictCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.head = await make_operator(self)
        self.pupil = await self.sign_in("pupil1")
        self.den = await self.room(Kind.PUPILS, "5А")

    async def deeds(self, subject: str) -> list[tuple[str, str]]:
        entries = (await self.head.ok("GET", AUDIT, subject=subject))["entries"]
        return [(entry["deed"], entry["outcome"]) for entry in reversed(entries)]


class Closed(SchoolCase):
    async def test_no_way_leads_an_operator_into_a_room_of_a_school(self) -> None:
        room, before = f"{V1}/rooms/{quote(self.den)}", await self.members()
        said = await self.pupil.send(self.den, "секрет")
        for method, path, body in (
            ("POST", f"{room}/make_room_admin", {}),
            ("POST", f"{room}/make_room_admin", {"user_id": self.pupil.user_id}),
            ("POST", f"{V1}/join/{quote(self.den)}", {"user_id": self.head.user_id}),
            ("GET", f"{room}/messages", None),
            ("GET", f"{room}/context/$x", None),
            ("GET", f"{V1}/fetch_event/{quote(said)}", None),
            ("GET", f"{room}/timestamp_to_event?ts=1", None),
            ("DELETE", room, {"purge": False}),
            ("DELETE", f"/_synapse/admin/v2/rooms/{quote(self.den)}", {}),
        ):
            self.assertEqual(await self.head.refused(method, path, body), FORBIDDEN, path)
        self.assertEqual(await self.members(), before)
        refusals = {deed for deed, outcome in await self.deeds(self.den) if outcome == "refused"}
        self.assertEqual(refusals, {"read_room", "delete_room"})
        self.assertIn(("admit", "refused"), await self.deeds(self.head.user_id))

    async def members(self) -> object:
        return await self.head.ok("GET", f"{V1}/rooms/{quote(self.den)}/members")

    async def test_nobody_is_anybody_else(self) -> None:
        for who in (self.pupil.user_id, "@head2:north.example"):
            self.assertIn((await self.head.refused("POST", f"{V1}/users/{who}/login", {}))[0], (403, 404))
        devices = (await self.pupil.ok("GET", "/devices"))["devices"]
        self.assertEqual(len(devices), 1)
        self.assertIn(("log_in_as", "refused"), await self.deeds(self.pupil.user_id))

    async def test_a_persons_password_name_and_powers_are_not_an_operators_to_give(self) -> None:
        account = f"{V2}/users/{self.pupil.user_id}"
        for method, path, body in (
            ("POST", f"{V1}/reset_password/{self.pupil.user_id}", {"new_password": GOOD}),
            ("PUT", account, {"password": GOOD}),
            ("PUT", account, {"displayname": "Кто-то"}),
            ("PUT", account, {"admin": True}),
            ("PUT", f"{V1}/users/{self.pupil.user_id}/admin", {"admin": True}),
            ("POST", f"{account}/devices", {"device_id": "X"}),
            ("GET", f"{V1}/users/{self.pupil.user_id}/accountdata", None),
        ):
            self.assertEqual(await self.head.refused(method, path, body), FORBIDDEN, (path, body))
        await self.pupil.ok("GET", "/account/whoami")

    async def test_the_same_holds_for_who_is_not_verified_or_dismissed(self) -> None:
        """No role counts for them, but a school keeps their record, and their help room is theirs."""
        for login in ("newcomer", "dismissed"):
            person = await self.sign_in(login)
            body = {"new_password": GOOD}
            self.assertEqual(await self.head.refused("POST", f"{V1}/reset_password/{person.user_id}", body), FORBIDDEN)

    async def test_nobody_comes_past_the_roster(self) -> None:
        body = {"password": GOOD}
        self.assertEqual(await self.head.refused("PUT", f"{V2}/users/@anna:north.example", body), FORBIDDEN)
        self.assertEqual(await self.head.refused("POST", f"{V1}/registration_tokens/new", {}), FORBIDDEN)
        self.assertEqual((await self.head.ok("GET", f"{V1}/registration_tokens"))["registration_tokens"], [])
        self.assertEqual((await self.call("POST", "/_matrix/client/v3/register", {"username": "x"})).status, 403)


class Open(SchoolCase):
    async def test_an_operator_sees_what_there_is_and_the_school_sees_that(self) -> None:
        await self.head.ok("GET", f"{V2}/users")
        await self.head.ok("GET", f"{V1}/whois/{self.pupil.user_id}")
        await self.head.ok("GET", f"{V2}/users/{self.pupil.user_id}/devices")
        shown = await self.head.ok("GET", f"{V1}/rooms/{quote(self.den)}")
        self.assertEqual(shown["join_rules"], "restricted")
        entries = (await self.head.ok("GET", f"{OFFICE}/{self.org_id}/audit"))["entries"]
        seen = [entry["detail"].get("what") for entry in entries if entry["subject"] == self.pupil.user_id]
        self.assertEqual(seen[:2], ["devices", "whois"])

    async def test_an_operator_shuts_people_out_at_once(self) -> None:
        await self.head.ok("PUT", f"{V2}/users/{self.pupil.user_id}", {"locked": True})
        self.assertEqual(await self.pupil.refused("GET", "/account/whoami"), (401, "M_USER_LOCKED"))
        await self.head.ok("PUT", f"{V2}/users/{self.pupil.user_id}", {"locked": False})
        body = {"devices": [self.pupil.device_id]}
        await self.head.ok("POST", f"{V2}/users/{self.pupil.user_id}/delete_devices", body)
        self.assertEqual(await self.pupil.refused("GET", "/account/whoami"), (401, "M_UNKNOWN_TOKEN"))

    async def test_an_operator_helps_who_is_of_no_school(self) -> None:
        body = {"new_password": GOOD}
        await self.head.ok("POST", f"{V1}/reset_password/{self.head.user_id}", body)
        await self.log_in("head", GOOD)

    async def test_a_report_is_looked_into_with_the_one_event_it_is_about(self) -> None:
        event = await self.pupil.send(self.den, "фу")
        teacher = await self.someone_else_in(self.den)
        await teacher.ok("POST", f"/rooms/{quote(self.den)}/report/{quote(event)}", {"reason": "x"})
        (report,) = (await self.head.ok("GET", f"{V1}/event_reports"))["event_reports"]
        found = await self.head.ok("GET", f"{V1}/event_reports/{report['id']}")
        self.assertEqual(found["event_json"]["content"]["body"], "фу")
        self.assertIn(("see_report", "done"), await self.deeds(self.pupil.user_id))

    async def someone_else_in(self, room: str) -> Person:
        for login in ("teacher1", "teacher2", "pupil2"):
            person = await self.sign_in(login)
            if room in await rooms_of(person):
                return person
        raise AssertionError("nobody else is there")


class Administrators(SchoolCase):
    async def test_who_administers_a_school_is_no_operator(self) -> None:
        for login in ("admin1", "teacher1", "parent1", "pupil3", "dismissed"):
            person = await self.sign_in(login)
            for path in (f"{V2}/users", f"{V1}/rooms", f"{V1}/event_reports", AUDIT):
                self.assertEqual(await person.refused("GET", path), FORBIDDEN)
