"""What the office does, down to the rooms and the database."""

import dataclasses
from itertools import product

import pytest
from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from federation.ids import DeviceID, RoomID, UserID
from homeserver import policy
from homeserver.policy import Conflict, Hidden, Invalid, NotFound, allows
from homeserver.schools.office import Applicant, Asker, Document, RoleWish
from homeserver.schools.organisations import Application
from homeserver.schools.rights import Kind, Role
from homeserver.schools.rooms import RoomKey, room_keys
from homeserver.schools.roster.imports import Rosters, Wish
from homeserver.schools.school import Moment, School
from homeserver.storage.accounts import find_account
from homeserver.storage.audit import Which, load_audit
from homeserver.storage.database import Database, Txn
from homeserver.storage.devices import append_device, load_devices
from homeserver.storage.profiles import find_profile
from homeserver.storage.schools.organisations import find_organisation
from homeserver.storage.schools.people import load_grants
from tests.kit.databases import on_both_databases
from tests.kit.schools import REGION, SERVER, YEAR, Story, document, found_school, open_region

OF_CLASS = (Kind.CLASS, Kind.PUPILS, Kind.PARENTS)
SUMMER = 230 * 24 * 3600 * 1000
"""From October to June."""


async def assert_settled(story: Story) -> None:
    """The rooms are as the school wants them: to settle it thoroughly adds no event."""
    before = await story.region.db.read(count_events)
    await story.region.desk.settle(story.org_id)
    assert await story.region.db.read(count_events) == before


def count_events(txn: Txn) -> int:
    row = txn.one("SELECT COUNT(*) FROM events")
    assert row is not None
    return int(row[0])


async def deeds(story: Story) -> list[str]:
    """The names of what was done, oldest first, looks left out."""
    entries = await story.region.db.read(load_audit, Which(org_id=story.org_id), 100)
    return [entry.deed for entry in reversed(entries) if entry.deed != "look"]


@on_both_databases
class Offices(TestCase):
    """What the office does reaches the rooms."""

    db: Database

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.region = await open_region(self.db)
        self.story = await found_school(self.region)

    async def rooms_of(self, user_id: UserID) -> set[tuple[Kind, str]]:
        """Kind and class of the rooms that somebody is joined to."""
        school = await self.story.school()
        found = set()
        for key, room_id in room_keys(school).items():
            if (await self.story.live(room_id)).membership(user_id) == "join":
                found.add((key.kind, school.classes[key.class_id].title if key.class_id else ""))
        return found

    async def power(self, user_id: UserID, kind: Kind, title: str = "") -> int:
        room = await self.story.room(kind, title)
        levels = room.state("m.room.power_levels")
        assert levels is not None
        power: int = levels.content["users"].get(user_id, levels.content["users_default"])
        return power

    async def test_a_school_begins_with_its_rooms(self) -> None:
        school = await self.story.school()
        assert {(key.kind, bool(key.class_id)) for key in room_keys(school)} == {
            (Kind.SCHOOL, False),
            (Kind.CHANNEL, False),
            (Kind.STAFF, False),
            *((kind, True) for kind in OF_CLASS),
        }
        for key, room_id in room_keys(school).items():
            room = await self.story.live(room_id)
            service = self.region.desk.world.service
            assert room.create.sender == service
            assert room.create.content["m.federate"] is False
            assert "additional_creators" not in room.create.content
            assert room.version.id == "12"
            assert room.state("m.room.join_rules").content["join_rule"] in {"invite", "restricted"}
            assert room.state("m.room.guest_access").content == {"guest_access": "forbidden"}
            assert room.state("m.room.encryption") is None
            assert ("type" in room.create.content) == (key.kind in {Kind.SCHOOL, Kind.CLASS})

    async def test_the_spaces_hold_their_rooms(self) -> None:
        keys = room_keys(await self.story.school())
        top = await self.story.live(keys[RoomKey(Kind.SCHOOL)])
        children = {key for kind, key in top.shown.state if kind == "m.space.child"}
        assert children == {room for key, room in keys.items() if key.kind in {Kind.CHANNEL, Kind.STAFF, Kind.CLASS}}
        for key, room_id in keys.items():
            if key.kind in {Kind.PUPILS, Kind.PARENTS}:
                space = await self.story.live(keys[RoomKey(Kind.CLASS, key.class_id)])
                assert space.state("m.space.child", room_id) is not None
                assert (await self.story.live(room_id)).state("m.space.parent", space.room_id) is not None

    async def test_everybody_verified_is_in_the_rooms_of_their_role_and_no_others(self) -> None:
        teacher = await self.story.take_in("teacher", class_title="9Б")
        colleague = await self.story.take_in("teacher")
        pupil = await self.story.take_in("pupil", class_title="9Б")
        parent = await self.story.take_in("parent", child=pupil)
        editor = await self.story.take_in("editor")
        wide = {(Kind.SCHOOL, ""), (Kind.CHANNEL, "")}
        staff = wide | {(Kind.STAFF, "")}
        assert await self.rooms_of(teacher) == staff | {(kind, "9Б") for kind in OF_CLASS}
        assert await self.rooms_of(colleague) == staff
        assert await self.rooms_of(pupil) == wide | {(Kind.CLASS, "9Б"), (Kind.PUPILS, "9Б")}
        assert await self.rooms_of(parent) == wide | {(Kind.CLASS, "9Б"), (Kind.PARENTS, "9Б")}
        assert await self.rooms_of(editor) == wide
        assert await self.rooms_of(self.story.boss.user_id) == staff | {(Kind.CLASS, "5А"), (Kind.CLASS, "9Б")}
        assert await self.power(self.story.boss.user_id, Kind.PUPILS, "9Б") == 90
        assert await self.power(teacher, Kind.PUPILS, "9Б") == 50
        assert await self.power(pupil, Kind.PUPILS, "9Б") == 0
        assert await self.power(parent, Kind.PARENTS, "9Б") == 0
        assert await self.power(editor, Kind.CHANNEL) == 90
        await assert_settled(self.story)

    async def test_people_have_random_user_ids_and_the_names_of_the_school(self) -> None:
        pupil = await self.story.office.take_in(
            self.story.boss,
            self.story.org_id,
            Applicant(family="Волков", given="Глеб", patronymic="Ильич", role="pupil", class_title="9Б"),
        )
        assert "волков" not in pupil.user_id
        assert len(pupil.user_id.partition(":")[0]) == 13
        profile = await self.db.read(find_profile, pupil.user_id)
        assert profile is not None
        assert profile.displayname == "Волков Глеб"
        room = await self.story.room(Kind.PUPILS, "9Б")
        member = room.state("m.room.member", pupil.user_id)
        assert member is not None
        assert member.content["displayname"] == "Волков Глеб"

    async def test_who_waits_is_in_the_help_room_only_until_verified(self) -> None:
        waiting = await self.story.take_in("teacher", class_title="9Б", verified=False)
        assert await self.rooms_of(waiting) == {(Kind.HELP, "")}
        assert (await self.story.room(Kind.HELP, owner=waiting)).membership(self.story.boss.user_id) == "join"
        await self.story.office.verify(self.story.boss, self.story.org_id, waiting)
        assert await self.rooms_of(waiting) == {
            (Kind.HELP, ""),
            (Kind.SCHOOL, ""),
            (Kind.CHANNEL, ""),
            (Kind.STAFF, ""),
            *((kind, "9Б") for kind in OF_CLASS),
        }
        assert await self.power(waiting, Kind.PARENTS, "9Б") == 50
        await assert_settled(self.story)

    async def test_nobody_verifies_themselves(self) -> None:
        with pytest.raises(Conflict):
            await self.story.office.verify(self.story.boss, self.story.org_id, self.story.boss.user_id)

    async def test_a_dismissed_teacher_loses_every_door_at_once(self) -> None:
        teacher = await self.story.take_in("teacher", class_title="9Б")
        room = await self.story.room(Kind.PUPILS, "9Б")
        act = policy.SendEvent(by=teacher, room=room, type="m.room.message", content={})
        assert await allows(self.region.gate, act)
        await self.db.write(append_device, teacher, DeviceID("PHONE"), None, 1)
        await self.story.office.dismiss(self.story.boss, self.story.org_id, teacher)
        assert not await allows(self.region.gate, act)
        assert await self.rooms_of(teacher) == set()
        assert await self.power(teacher, Kind.PUPILS, "9Б") == 0
        assert await self.db.read(load_devices, teacher) == []
        await assert_settled(self.story)

    async def test_a_dismissal_is_one_unit_of_work(self) -> None:
        """If any part of it cannot be written, all of it is undone: rights, rooms and sessions."""
        teacher = await self.story.take_in("teacher", class_title="9Б")
        await self.db.write(append_device, teacher, DeviceID("PHONE"), None, 1)
        before = await self.rooms_of(teacher)
        entries = await deeds(self.story)
        await self.db.write(lambda txn: txn.run("ALTER TABLE audit RENAME TO elsewhere"))
        with pytest.raises(Exception, match="audit"):
            await self.story.office.dismiss(self.story.boss, self.story.org_id, teacher)
        await self.db.write(lambda txn: txn.run("ALTER TABLE elsewhere RENAME TO audit"))
        assert await self.rooms_of(teacher) == before
        assert len(await self.db.read(load_devices, teacher)) == 1
        assert len(await self.region.facts.grants(teacher)) == 1
        assert await deeds(self.story) == entries
        await assert_settled(self.story)

    async def test_the_parents_of_a_pupil_who_leaves_leave_too(self) -> None:
        pupil, other = [await self.story.take_in("pupil", class_title="9Б") for _ in range(2)]
        leaving = await self.story.take_in("parent", child=pupil)
        staying = await self.story.take_in("parent", child=pupil)
        await self.story.office.give_role(
            self.story.boss, self.story.org_id, staying, RoleWish(role="parent", child=other)
        )
        await self.story.office.dismiss(self.story.boss, self.story.org_id, pupil)
        assert await self.rooms_of(pupil) == await self.rooms_of(leaving) == set()
        assert (Kind.PARENTS, "9Б") in await self.rooms_of(staying)

    async def test_the_last_administrator_is_not_dismissed(self) -> None:
        with pytest.raises(Conflict):
            await self.story.office.dismiss(self.story.boss, self.story.org_id, self.story.boss.user_id)
        second = await self.story.take_in("teacher")
        await self.story.office.appoint(REGION, self.story.org_id, second, document(2))
        first = self.story.boss.user_id
        await self.story.office.dismiss(Asker(user_id=second), self.story.org_id, first)
        with pytest.raises(NotFound):
            await self.story.office.see(Asker(user_id=first), self.story.org_id)

    async def test_a_pupil_moves_with_the_parents(self) -> None:
        pupil = await self.story.take_in("pupil", class_title="5А")
        parent = await self.story.take_in("parent", child=pupil)
        await self.story.office.move(self.story.boss, self.story.org_id, pupil, await self.story.class_id("9Б"))
        wide = {(Kind.SCHOOL, ""), (Kind.CHANNEL, "")}
        assert await self.rooms_of(pupil) == wide | {(Kind.CLASS, "9Б"), (Kind.PUPILS, "9Б")}
        assert await self.rooms_of(parent) == wide | {(Kind.CLASS, "9Б"), (Kind.PARENTS, "9Б")}
        await assert_settled(self.story)

    async def test_nobody_is_taken_in_under_the_key_of_another(self) -> None:
        office, boss, org_id = self.story.office, self.story.boss, self.story.org_id
        anna = Applicant(family="Орлова", given="Анна", role="teacher", roster_key="7")
        await office.take_in(boss, org_id, anna)
        with pytest.raises(Conflict):
            await office.take_in(boss, org_id, structs.replace(anna, given="Вера"))
        await office.take_in(boss, org_id, structs.replace(anna, given="Вера", roster_key="8"))

    async def test_a_class_takes_its_rooms_into_the_next_year(self) -> None:
        pupil = await self.story.take_in("pupil", class_title="9Б")
        teacher = await self.story.take_in("teacher", class_title="9Б")
        rooms = {kind: (await self.story.room(kind, "9Б")).room_id for kind in OF_CLASS}
        self.region.clock.now_ms += SUMMER
        class_id = await self.story.class_id("9Б")
        promoted = await self.story.office.promote(self.story.boss, self.story.org_id, class_id)
        assert (promoted.title, promoted.year) == ("10Б", YEAR + 1)
        for kind, room_id in rooms.items():
            room = await self.story.room(kind, "10Б")
            assert room.room_id == room_id
            assert "10Б" in room.state("m.room.name").content["name"]
            assert room.membership(teacher) == "join"
        assert (await self.story.room(Kind.PUPILS, "10Б")).membership(pupil) == "join"
        with pytest.raises(Conflict):
            await self.story.office.promote(self.story.boss, self.story.org_id, class_id)

    async def test_those_promoted_are_verified_for_the_new_year_and_others_are_not(self) -> None:
        pupil = await self.story.take_in("pupil", class_title="9Б")
        parent = await self.story.take_in("parent", child=pupil)
        other = await self.story.take_in("pupil", class_title="5А")
        self.region.clock.now_ms += SUMMER
        await self.story.office.promote(self.story.boss, self.story.org_id, await self.story.class_id("9Б"))
        self.region.clock.now_ms += SUMMER // 2  # into the autumn
        await self.region.desk.settle_all()
        assert (Kind.PUPILS, "10Б") in await self.rooms_of(pupil)
        assert (Kind.PARENTS, "10Б") in await self.rooms_of(parent)
        assert await self.rooms_of(other) == set()

    async def test_the_last_grade_leaves_school(self) -> None:
        await self.story.office.open_class(self.story.boss, self.story.org_id, "11А")
        pupil = await self.story.take_in("pupil", class_title="11А")
        parent = await self.story.take_in("parent", child=pupil)
        teacher = await self.story.take_in("teacher", class_title="11А")
        self.region.clock.now_ms += SUMMER
        class_id = await self.story.class_id("11А")
        left = await self.story.office.promote(self.story.boss, self.story.org_id, class_id)
        assert left.closed_ms is not None
        assert await self.rooms_of(pupil) == await self.rooms_of(parent) == await self.rooms_of(teacher) == set()
        top = await self.story.room(Kind.SCHOOL)
        spaces = {
            key for (kind, key), held in top.shown.state.items() if kind == "m.space.child" and held.event.content
        }
        assert len(spaces) == 4  # the channel, the staff room and two classes
        await assert_settled(self.story)

    async def test_a_class_is_opened_once(self) -> None:
        for title in ("5А", "5 «а»", "5A"):
            with pytest.raises(Conflict):
                await self.story.office.open_class(self.story.boss, self.story.org_id, title)
        with pytest.raises(Conflict):
            await self.story.office.open_class(self.story.boss, self.story.org_id, "4А")
        with pytest.raises(Invalid):
            await self.story.office.open_class(self.story.boss, self.story.org_id, "12А")
        with pytest.raises(Invalid):
            await self.story.office.open_class(self.story.boss, self.story.org_id, "6А", 1999)
        await self.story.office.open_class(self.story.boss, self.story.org_id, "5А", YEAR + 1)

    async def test_a_class_is_not_promoted_over_another(self) -> None:
        await self.story.office.open_class(self.story.boss, self.story.org_id, "10Б", YEAR + 1)
        with pytest.raises(Conflict):
            await self.story.office.promote(self.story.boss, self.story.org_id, await self.story.class_id("9Б"))

    async def test_a_document_appoints_once(self) -> None:
        teacher = await self.story.take_in("teacher")
        await self.story.office.appoint(REGION, self.story.org_id, teacher, document(3))
        other = await found_school(self.region, "Школа № 2")
        stranger = await other.take_in("teacher")
        with pytest.raises(Conflict):
            await other.office.appoint(REGION, other.org_id, stranger, document(3))
        assert Role.ADMINISTRATOR not in {grant.role for grant in await self.region.facts.grants(stranger)}
        with pytest.raises(NotFound):
            await other.office.appoint(REGION, other.org_id, teacher, document(4))
        for spoiled in (Document(sha256="x", signed_on="2026-09-01"), Document(sha256="0" * 64, signed_on="gestern")):
            with pytest.raises(Invalid):
                await other.office.appoint(REGION, other.org_id, stranger, spoiled)

    async def test_the_office_gives_no_administrators_and_no_roles_without_their_scope(self) -> None:
        pupil = await self.story.take_in("pupil", class_title="9Б")
        for spoiled in (
            {"role": "administrator"},
            {"role": "emperor"},
            {"role": "pupil"},
            {"role": "pupil", "class_title": "7В"},
            {"role": "parent"},
            {"role": "parent", "child": self.story.boss.user_id},
            {"role": "parent", "child": "@nobody:north.example"},
            {"role": "parent", "child": pupil, "class_title": "9Б"},
            {"role": "teacher", "child": pupil},
            {"role": "editor", "class_title": "9Б"},
        ):
            with pytest.raises((Invalid, Conflict, NotFound)):
                await self.story.take_in(**spoiled)
        with pytest.raises(Conflict):
            wish = RoleWish(role="pupil", class_title="5А")
            await self.story.office.give_role(self.story.boss, self.story.org_id, pupil, wish)
        with pytest.raises(Conflict):
            wish = RoleWish(role="pupil", class_title="9Б")
            await self.story.office.give_role(self.story.boss, self.story.org_id, pupil, wish)
        with pytest.raises(Conflict):
            wish = RoleWish(role="parent", child=pupil)
            await self.story.office.give_role(self.story.boss, self.story.org_id, pupil, wish)

    async def test_only_the_region_chooses_user_ids(self) -> None:
        wanted = UserID(f"@director:{SERVER}")
        applicant = Applicant(family="Волков", given="Глеб", role="teacher")
        taken = await self.story.office.take_in(self.story.boss, self.story.org_id, applicant, user_id=wanted)
        assert taken.user_id != wanted
        taken = await self.story.office.take_in(REGION, self.story.org_id, applicant, user_id=wanted)
        assert taken.user_id == wanted
        with pytest.raises(Conflict):
            await self.story.office.take_in(REGION, self.story.org_id, applicant, user_id=wanted)
        assert (await self.db.read(find_account, wanted)) is not None

    async def test_the_office_serves_its_own_administrator_only(self) -> None:
        other = await found_school(self.region, "Школа № 2")
        teacher = await self.story.take_in("teacher", class_title="9Б")
        pupil = await self.story.take_in("pupil", class_title="9Б")
        before = await self.story.school()
        askers = [other.boss, Asker(user_id=teacher), Asker(user_id=pupil), Asker(user_id=UserID(f"@x:{SERVER}"))]
        class_id = await self.story.class_id("5А")
        office, applicant = self.story.office, Applicant(family="Волков", given="Глеб", role="teacher")
        wish = RoleWish(role="teacher", class_title="9Б")
        for asker, org_id in product(askers, (self.story.org_id, "nowhere")):
            refusals = set()
            for attempt in (
                office.see(asker, org_id),
                office.audit(asker, org_id, None, 10),
                office.open_class(asker, org_id, "6А"),
                office.take_in(asker, org_id, applicant),
                office.give_role(asker, org_id, pupil, wish),
                office.appoint(asker, org_id, asker.user_id, document(9)),
                office.verify(asker, org_id, pupil),
                office.dismiss(asker, org_id, pupil),
                office.move(asker, org_id, pupil, class_id),
                office.promote(asker, org_id, class_id),
                office.found(asker, Application(name="Школа", short_name="Ш")),
                Rosters(self.region.facts, self.region.desk).take(asker, org_id, "", Wish()),
            ):
                with pytest.raises(NotFound) as caught:
                    await attempt
                refusals.add(caught.value.why)
            assert refusals == {"There is no such organisation"}
        assert await self.story.school() == before
        assert [org.org_id for org in await office.organisations(self.story.boss)] == [self.story.org_id]
        assert await office.organisations(Asker(user_id=teacher)) == []
        assert len(await office.organisations(REGION)) == 2

    async def test_everything_the_office_does_is_in_the_audit_log(self) -> None:
        pupil = await self.story.take_in("pupil", class_title="5А", verified=False)
        await self.story.office.verify(self.story.boss, self.story.org_id, pupil)
        await self.story.office.move(self.story.boss, self.story.org_id, pupil, await self.story.class_id("9Б"))
        await self.story.office.dismiss(self.story.boss, self.story.org_id, pupil)
        await self.story.office.promote(self.story.boss, self.story.org_id, await self.story.class_id("9Б"))
        begin = ["found", "take_in", "appoint", "open_class", "open_class"]
        assert await deeds(self.story) == [*begin, "take_in", "verify", "move", "dismiss", "promote"]
        entries = await self.story.office.audit(self.story.boss, self.story.org_id, None, 3)
        assert [(entry.deed, entry.done_by) for entry in entries[:2]] == [
            ("look", self.story.boss.user_id),
            ("promote", self.story.boss.user_id),
        ]
        older = await self.story.office.audit(self.story.boss, self.story.org_id, entries[-1].entry, 1)
        assert older[0].entry == entries[-1].entry - 1

    async def test_the_database_itself_keeps_the_audit_log(self) -> None:
        for sql in ("UPDATE audit SET done_by = 'x'", "DELETE FROM audit"):
            with pytest.raises(Exception, match="only ever added to"):
                await self.db.write(Txn.run, sql)
        assert await deeds(self.story) != []

    async def test_a_deed_that_is_refused_leaves_no_trace(self) -> None:
        before = await deeds(self.story)
        with pytest.raises(NotFound):
            await self.story.office.dismiss(self.story.boss, self.story.org_id, UserID(f"@x:{SERVER}"))
        assert await deeds(self.story) == before

    async def test_deeds_asked_for_at_once_are_done_one_after_the_other(self) -> None:
        pupils = [await self.story.take_in("pupil", class_title="5А") for _ in range(4)]
        ninth = await self.story.class_id("9Б")
        moves = [self.story.office.move(self.story.boss, self.story.org_id, pupil, ninth) for pupil in pupils]
        moves.append(self.story.office.move(self.story.boss, self.story.org_id, pupils[0], ninth))
        begun = [Deferred.fromCoroutine(move) for move in moves]
        for done in begun[:-1]:
            await done
        with pytest.raises(Conflict):
            await begun[-1]
        room = await self.story.room(Kind.PUPILS, "9Б")
        assert {room.membership(pupil) for pupil in pupils} == {"join"}
        await assert_settled(self.story)

    async def test_an_organisation_is_registered_once_even_when_asked_for_twice_at_once(self) -> None:
        wanted = Application(name="Школа", short_name="Ш", inn="7700000016", kpp="770001001")
        begun = [Deferred.fromCoroutine(self.story.office.found(REGION, wanted)) for _ in range(3)]
        await begun[0]
        for again in begun[1:]:
            with pytest.raises(Conflict):
                await again
        assert len(await self.story.office.organisations(REGION)) == 2

    async def test_a_person_of_another_school_is_not_there_for_this_office(self) -> None:
        other = await found_school(self.region, "Школа № 2")
        parent_here = await self.story.take_in("parent", child=await self.story.take_in("pupil", class_title="9Б"))
        with pytest.raises(NotFound):
            await other.office.give_role(other.boss, other.org_id, parent_here, RoleWish(role="teacher"))

    async def test_what_counts_is_the_same_in_the_value_and_in_the_database(self) -> None:
        pupil = await self.story.take_in("pupil", class_title="9Б")
        await self.story.take_in("parent", child=pupil)
        await self.story.take_in("teacher", class_title="5А")
        await self.story.take_in("editor")
        waiting = await self.story.take_in("pupil", class_title="5А", verified=False)
        await self.story.take_in("parent", child=waiting)
        school = await self.story.school()
        moment = Moment(school, self.region.clock())
        for user_id in school.people:
            assert set(await self.region.facts.grants(user_id)) == set(moment.grants(user_id))

    async def test_rooms_that_a_crash_left_out_are_made_at_the_next_start(self) -> None:
        school = await self.story.school()
        await self.db.write(lambda txn: txn.run("UPDATE school_rooms SET closed_ms = 1 WHERE kind = 'parents'"))
        pupil = await self.story.take_in("pupil", class_title="9Б")
        parent = await self.story.take_in("parent", child=pupil)
        again = await open_region(self.db)
        assert len(room_keys(await again.desk.load(self.story.org_id))) == len(room_keys(school))
        story = Story(again, self.story.org_id)
        assert (await story.room(Kind.PARENTS, "9Б")).membership(parent) == "join"

    async def test_who_was_put_into_a_room_past_the_school_is_put_out_again(self) -> None:
        stranger = UserID(f"@stranger:{SERVER}")
        room = await self.story.room(Kind.PUPILS, "9Б")
        service = self.region.desk.world.service
        from homeserver.rooms.seal import Draft

        await self.region.rooms.commit(
            [
                (
                    room,
                    [
                        Draft(
                            type="m.room.member",
                            sender=stranger,
                            state_key=stranger,
                            content={"membership": "join", "join_authorised_via_users_server": service},
                        )
                    ],
                )
            ]
        )
        await self.region.desk.settle_all()
        assert room.membership(stranger) == "leave"

    async def test_the_school_is_loaded_as_it_was_left(self) -> None:
        pupil = await self.story.take_in("pupil", class_title="9Б")
        again = await open_region(self.db)
        school: School = await again.desk.load(self.story.org_id)
        assert {role.user_id for role in school.current_roles()} == {pupil, self.story.boss.user_id}
        org = await self.db.read(find_organisation, self.story.org_id)
        assert org is not None
        assert dataclasses.replace(school, org=org).org == org
        assert len(await self.db.read(load_grants, pupil)) == 1

    async def test_a_room_of_no_school_is_hidden(self) -> None:
        assert await self.region.facts.place(RoomID("!nowhere")) is None
        with pytest.raises(Hidden):
            room = await self.story.room(Kind.STAFF)
            await self.region.gate.check(policy.Join(by=UserID(f"@x:{SERVER}"), room=room))
