"""A school year as people's clients see it: what an open client is shown when the office does something."""

from twisted.internet.defer import Deferred

from federation.ids import UserID
from homeserver.schools.office import RoleWish
from homeserver.schools.rights import Kind
from tests.kit.district import OFFICE, DistrictCase, rooms_of
from tests.kit.schools import document


class SchoolYear(DistrictCase):
    """What the office does reaches the clients that are open."""

    async def test_who_is_verified_sees_their_rooms_in_the_next_sync(self) -> None:
        admin, newcomer = await self.sign_in("admin1"), await self.sign_in("newcomer")
        help_room = await self.room(Kind.HELP, owner=newcomer.user_id)
        assert set((await newcomer.sync())["rooms"]["join"]) == {help_room}
        await newcomer.send(help_room, "Здравствуйте, я новый учитель")
        assert await admin.texts(help_room) == ["Здравствуйте, я новый учитель"]
        await admin.ok("POST", f"{OFFICE}/{self.org_id}/people/{newcomer.user_id}/verify")
        joined = set((await newcomer.sync())["rooms"]["join"])
        assert joined >= {await self.room(Kind.SCHOOL), await self.room(Kind.CHANNEL), await self.room(Kind.STAFF)}

    async def test_a_moved_pupil_and_the_parent_change_rooms_in_the_next_sync(self) -> None:
        admin, pupil, parent = [await self.sign_in(login) for login in ("admin1", "pupil1", "parent1")]
        await pupil.sync()
        await parent.sync()
        ninth = await self.class_id("9Б")
        await admin.ok("POST", f"{OFFICE}/{self.org_id}/people/{pupil.user_id}/move", {"class_id": ninth})
        seen = (await pupil.sync())["rooms"]
        assert set(seen["join"]) >= {await self.room(Kind.PUPILS, "9Б"), await self.room(Kind.CLASS, "9Б")}
        assert set(seen["leave"]) == {await self.room(Kind.PUPILS, "5А"), await self.room(Kind.CLASS, "5А")}
        seen = (await parent.sync())["rooms"]
        assert await self.room(Kind.PARENTS, "9Б") in seen["join"]
        assert await self.room(Kind.PARENTS, "5А") in seen["leave"]

    async def test_the_dismissed_see_nothing_of_what_was_or_is_said(self) -> None:
        room = await self.room(Kind.PUPILS, "9Б")
        admin, teacher, pupil = [await self.sign_in(login) for login in ("admin1", "teacher1", "pupil3")]
        await pupil.send(room, "до")
        await teacher.sync()
        await admin.ok("POST", f"{OFFICE}/{self.org_id}/people/{teacher.user_id}/dismiss")
        assert (await teacher.call("GET", "/sync", since=teacher.since, timeout=0)).status == 401
        await pupil.send(room, "после")
        again = await self.sign_in("teacher1")
        everything = {"room": {"include_leave": True, "timeline": {"limit": 100}}}
        for query in ({}, {"full_state": True}, {"since": teacher.since}, {"filter": everything}):
            answer = await again.ok("GET", "/sync", timeout=0, **query)
            assert "join" not in answer.get("rooms", {})
            assert "после" not in str(answer)
            assert "до" not in str(answer), query

    async def test_whoever_storms_the_doors_while_being_dismissed_ends_up_outside(self) -> None:
        office = self.server.bureau.office
        region = self.server.bureau.region
        second = UserID("@teacher2:north.example")
        await office.appoint(region, self.org_id, second, document(8))
        room = await self.room(Kind.PUPILS, "9Б")
        intruder = await self.sign_in("teacher2")
        for turn in range(5):
            await intruder.join(room)
            await intruder.leave(room)
            attempts = [Deferred.fromCoroutine(intruder.call("POST", f"/join/{room}", {})) for _ in range(5)]
            dismissal = Deferred.fromCoroutine(office.dismiss(region, self.org_id, second))
            attempts += [Deferred.fromCoroutine(intruder.call("POST", f"/join/{room}", {})) for _ in range(5)]
            for attempt in (*attempts, dismissal):
                await attempt
            intruder = await self.sign_in("teacher2")
            assert await rooms_of(intruder) == set()
            await office.give_role(region, self.org_id, second, RoleWish(role="teacher"))
            await office.appoint(region, self.org_id, second, document(100 + turn))
            intruder = await self.sign_in("teacher2")

    async def test_the_class_goes_on_under_its_new_name(self) -> None:
        admin, teacher, pupil = [await self.sign_in(login) for login in ("admin1", "teacher1", "pupil3")]
        room = await self.room(Kind.PUPILS, "9Б")
        await teacher.send(room, "Хорошего лета!")
        await pupil.sync()
        promote = f"{OFFICE}/{self.org_id}/classes/{await self.class_id('9Б')}/promote"
        assert (await admin.ok("POST", promote))["title"] == "10Б"
        timeline = (await pupil.sync())["rooms"]["join"][room]["timeline"]["events"]
        assert [e["content"]["name"] for e in timeline if e["type"] == "m.room.name"] == ["10Б: ученики"]
        await pupil.send(room, "С первым сентября!")
        assert await teacher.texts(room) == ["С первым сентября!", "Хорошего лета!"]

    async def test_a_teacher_who_is_a_parent_in_another_class_is_only_that_there(self) -> None:
        """Roles count in their scope; School: row 5, decided 3."""
        admin, teacher = await self.sign_in("admin1"), await self.sign_in("teacher2")
        body = {"role": "parent", "child": "@pupil3:north.example"}
        await admin.ok("POST", f"{OFFICE}/{self.org_id}/people/{teacher.user_id}/roles", body)
        rooms = await rooms_of(teacher)
        assert await self.room(Kind.PARENTS, "9Б") in rooms
        assert await self.room(Kind.PUPILS, "9Б") not in rooms
        parents = await self.room(Kind.PARENTS, "9Б")
        topic = await teacher.call("PUT", f"/rooms/{parents}/state/m.room.topic/", {"topic": "x"})
        assert topic.status == 403
        fifth = await self.room(Kind.PUPILS, "5А")
        await teacher.ok("PUT", f"/rooms/{fifth}/state/m.room.topic/", {"topic": "Биология"})

    async def test_the_administrator_may_enter_a_class_room_and_leave_it(self) -> None:
        admin = await self.sign_in("admin1")
        room = await self.room(Kind.PUPILS, "9Б")
        assert room not in await rooms_of(admin)
        await admin.join(room)
        await admin.send(room, "Здравствуйте, ребята")
        await admin.leave(room)
        assert room not in await rooms_of(admin)


class SchoolYearOnPostgreSQL(SchoolYear):
    """The same year on the other database."""

    dialect = "postgresql"
