"""What people of a school find of what was written, and what they find no more.

School: row 41
"""

from homeserver.schools.rights import Kind
from tests.kit.district import OFFICE, DistrictCase
from tests.kit.people import Person


class Searching(DistrictCase):
    async def find(self, person: Person, term: str) -> list[str]:
        """The texts that are found; as many as are counted."""
        body = {"search_categories": {"room_events": {"search_term": term, "order_by": "recent"}}}
        answer = (await person.ok("POST", "/search", body))["search_categories"]["room_events"]
        self.assertEqual(answer["count"], len(answer["results"]))
        return [result["result"]["content"]["body"] for result in answer["results"]]

    async def test_pupils_find_in_their_class_and_nobody_else_does(self) -> None:
        pupil, room = await self.sign_in("pupil1"), await self.room(Kind.PUPILS, "5А")
        await pupil.send(room, "контрольную перенесли")
        for login, found in (
            ("pupil1", 1),
            ("pupil2", 1),
            ("teacher2", 1),
            ("pupil3", 0),
            ("parent1", 0),
            ("dismissed", 0),
            ("newcomer", 0),
        ):
            self.assertEqual(found, len(await self.find(await self.sign_in(login), "контрольная")), login)

    async def test_a_moved_pupil_and_the_parent_find_nothing_in_the_rooms_they_were_in(self) -> None:
        admin, pupil, parent = [await self.sign_in(login) for login in ("admin1", "pupil1", "parent1")]
        teacher = await self.sign_in("teacher2")
        await pupil.send(await self.room(Kind.PUPILS, "5А"), "слон у доски")
        await teacher.send(await self.room(Kind.PARENTS, "5А"), "собрание о слоне")
        self.assertEqual(["слон у доски"], await self.find(pupil, "слоны"))
        self.assertEqual(["собрание о слоне"], await self.find(parent, "слоны"))
        ninth = await self.class_id("9Б")
        await admin.ok("POST", f"{OFFICE}/{self.org_id}/people/{pupil.user_id}/move", {"class_id": ninth})
        for person in (pupil, parent):
            self.assertEqual([], await self.find(person, "слоны"))
        await pupil.send(await self.room(Kind.PUPILS, "9Б"), "новый слон")
        self.assertEqual(["новый слон"], await self.find(pupil, "слоны"))

    async def test_a_dismissed_teacher_finds_nothing_with_an_old_session_or_a_new_one(self) -> None:
        admin, teacher = await self.sign_in("admin1"), await self.sign_in("teacher2")
        await teacher.send(await self.room(Kind.PUPILS, "5А"), "слон у доски")
        self.assertEqual(["слон у доски"], await self.find(teacher, "слоны"))
        await admin.ok("POST", f"{OFFICE}/{self.org_id}/people/{teacher.user_id}/dismiss", {})
        body = {"search_categories": {"room_events": {"search_term": "слоны"}}}
        self.assertEqual((401, "M_UNKNOWN_TOKEN"), await teacher.refused("POST", "/search", body))
        self.assertEqual([], await self.find(await self.sign_in("teacher2"), "слоны"))
