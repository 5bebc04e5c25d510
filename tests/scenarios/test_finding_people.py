"""Whom people of a school find, and what they can report."""

from homeserver.schools.rights import Kind
from homeserver.storage.reports import load_waiting_reports
from tests.kit.district import DistrictCase
from tests.kit.people import Person

FORBIDDEN, NOT_FOUND = (403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")


class FindingPeople(DistrictCase):
    async def find(self, person: Person, term: str) -> set[str]:
        """The logins of those who are found."""
        answer = await person.ok("POST", "/user_directory/search", {"search_term": term, "limit": 50})
        return {found["user_id"][1:].partition(":")[0] for found in answer["results"]}

    async def test_people_find_those_whom_the_contact_matrix_lets_them_find(self) -> None:
        for login, term, found in (
            ("teacher2", "лапин", {"pupil1", "parent1"}),
            ("teacher2", "рябинин", set()),
            ("admin1", "рябинин", {"pupil3", "parent3"}),
            ("pupil1", "журавлева", {"pupil2"}),
            ("pupil1", "белова анна", {"teacher2"}),
            ("pupil1", "рябинин", set()),
            ("pupil1", "журавлёв", {"pupil2"}),
            ("parent1", "лапин", {"pupil1", "parent1"}),
            ("parent1", "журавлев", {"parent2"}),
            ("teacher2", "лапиным", {"pupil1", "parent1"}),
            ("pupil1", "журавлёвой", {"pupil2"}),
            ("pupil1", "рябинину", set()),
            ("teacher2", "котов", set()),
            ("newcomer", "лапин", set()),
        ):
            self.assertEqual(await self.find(await self.sign_in(login), term), found, (login, term))

    async def test_who_was_dismissed_finds_nobody_and_is_found_by_nobody(self) -> None:
        dismissed, teacher = await self.sign_in("dismissed"), await self.sign_in("teacher2")
        for term in ("лапин", "белова", "соколова"):
            self.assertEqual(await self.find(dismissed, term), set())
        self.assertEqual(await self.find(teacher, "котов"), set())
        self.assertEqual(await self.find(teacher, "соколова"), {"admin1"})

    async def test_the_rooms_of_others_are_not_there_and_ones_own_are_not_replaced(self) -> None:
        pupil, teacher = await self.sign_in("pupil3"), await self.sign_in("teacher2")
        own, other = await self.room(Kind.PUPILS, "9Б"), await self.room(Kind.PUPILS, "5А")
        body = {"new_version": "12"}
        self.assertEqual(await pupil.refused("POST", f"/rooms/{own}/upgrade", body), FORBIDDEN)
        self.assertEqual(await teacher.refused("POST", f"/rooms/{other}/upgrade", body), FORBIDDEN)
        v1 = "/_matrix/client/v1"
        await pupil.ok("GET", f"{v1}/room_summary/{own}")
        for room in (other, "!none:x"):
            self.assertEqual(await pupil.refused("GET", f"{v1}/room_summary/{room}"), NOT_FOUND)
            self.assertEqual(await pupil.refused("GET", f"{v1}/rooms/{room}/hierarchy"), FORBIDDEN)
            self.assertEqual(await pupil.refused("POST", f"/rooms/{room}/report", {"reason": ""}), NOT_FOUND)
            self.assertEqual(await pupil.refused("GET", f"/rooms/{room}/initialSync"), FORBIDDEN)
            self.assertEqual(await pupil.refused("GET", "/events", room_id=room), FORBIDDEN)

    async def test_a_pupil_reports_a_message_and_no_stranger(self) -> None:
        pupil, other = await self.sign_in("pupil3"), await self.sign_in("pupil4")
        room = await self.room(Kind.PUPILS, "9Б")
        event_id = await other.send(room, "nonsense")
        await pupil.ok("POST", f"/rooms/{room}/report/{event_id.replace('$', '%24')}", {"reason": "обидно"})
        await pupil.ok("POST", f"/users/{other.user_id}/report", {"reason": "обидно"})
        stranger = pupil.user_id.replace("pupil3", "pupil1")
        self.assertEqual(await pupil.refused("POST", f"/users/{stranger}/report", {"reason": ""}), NOT_FOUND)
        waiting = await self.server.core.database.read(load_waiting_reports, 0, 10)
        self.assertEqual([report.kind for report in waiting], ["event", "user"])
