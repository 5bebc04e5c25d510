"""Rosters, sign-in sheets and commands on a real school."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.trial.unittest import TestCase

from config.settings import Passwords as Cost
from federation.ids import DeviceID, UserID
from homeserver.accounts.passwords import Passwords
from homeserver.commands import CommandFailed
from homeserver.policy import Conflict, Invalid, NotFound
from homeserver.schools.commands import Bureau, add_parsers
from homeserver.schools.demo import PASSWORD, PEOPLE, demo_user_id
from homeserver.schools.rights import Kind
from homeserver.schools.roster.imports import Rosters, Wish
from homeserver.schools.sheets import MOST, Sheets
from homeserver.storage.accounts import find_account
from homeserver.storage.database import Database
from homeserver.storage.devices import append_device, load_devices
from tests.kit.databases import make_database, on_both_databases, reactor_in_use
from tests.kit.schools import REGION, SERVER, Chance, build_exports, document, found_school, open_region

HEADER = "Фамилия;Имя;Роль;Класс;ИД;Дети\n"
ROSTER = (
    HEADER + "Волков;Глеб;ученик;9Б;1;\nЛисина;Вера;ученица;9Б;2;\nВолкова;Инна;мать;;3;1\nОрлов;Марк;учитель;9Б;4;\n"
)


@on_both_databases
class Imports(TestCase):
    """Rosters reach the rooms."""

    db: Database

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.region = await open_region(self.db)
        self.story = await found_school(self.region)
        self.rosters = Rosters(self.region.facts, self.region.desk)

    async def take(self, text: str, **wish: object) -> list[str]:
        plan = await self.rosters.take(self.story.boss, self.story.org_id, text, Wish(**wish))
        assert not plan.faults
        return [action.what for action in plan.actions]

    async def in_room(self, kind: Kind) -> set[str | None]:
        """The keys of the people in a room of 9Б who are in the roster."""
        school = await self.story.school()
        room = await self.story.room(kind, "9Б")
        return {school.people[user].roster_key for user in room.joined_members if user in school.people} - {None}

    async def test_people_of_a_roster_are_in_their_rooms(self) -> None:
        assert len(await self.take(ROSTER)) == 9
        assert await self.in_room(Kind.PUPILS) == {"1", "2", "4"}
        assert await self.in_room(Kind.PARENTS) == {"3", "4"}
        assert await self.take(ROSTER, complete=True) == []

    async def test_a_dry_run_tells_and_does_nothing(self) -> None:
        before = await self.story.school()
        assert len(await self.take(ROSTER, dry_run=True)) == 9
        assert await self.story.school() == before

    async def test_a_roster_with_a_fault_does_nothing(self) -> None:
        before = await self.story.school()
        spoiled = ROSTER + "Заяц;;ученик;9Б;5;\n" + "Кот;Иван;ученик;7А;6;\n"
        plan = await self.rosters.take(self.story.boss, self.story.org_id, spoiled, Wish())
        assert [fault.line for fault in plan.faults] == [6, 7]
        assert await self.story.school() == before

    async def test_who_is_missing_leaves_the_rooms_if_few_enough_are(self) -> None:
        await self.take(ROSTER)
        with pytest.raises(Conflict):
            await self.take(HEADER, complete=True)
        assert await self.in_room(Kind.PUPILS) == {"1", "2", "4"}
        without_vera = "".join(line for line in ROSTER.splitlines(keepends=True) if "Вера" not in line)
        await self.take(without_vera, complete=True)
        assert await self.in_room(Kind.PUPILS) == {"1", "4"}
        await self.take(HEADER, complete=True, leaving=3)
        assert await self.in_room(Kind.PUPILS) == await self.in_room(Kind.PARENTS) == set()

    async def test_a_changed_name_is_shown_in_the_rooms(self) -> None:
        await self.take(ROSTER)
        assert await self.take(ROSTER.replace("Лисина;Вера", "Лисина-Серая;Вера")) == ["rename"]
        room = await self.story.room(Kind.PUPILS, "9Б")
        names = {member.event.content["displayname"] for member in room.joined_members.values()}
        assert "Лисина-Серая Вера" in names
        assert "Лисина Вера" not in names

    async def test_a_long_roster_is_taken_in_steps(self) -> None:
        people = "".join(f"Волков;Глеб;ученик;{'5А' if number % 2 else '9Б'};{number};\n" for number in range(60))
        await self.take(HEADER + people)
        assert len(await self.in_room(Kind.PUPILS)) == 30
        assert await self.take(HEADER + people) == []


class Sheeting(TestCase):
    """Sign-in sheets and commands."""

    db: Database

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        place = make_database("sqlite")
        self.addCleanup(place.remove)
        self.db = place.open()
        self.addCleanup(lambda: self.db.close())
        self.region = await open_region(self.db)
        passwords = Passwords(Cost(time_cost=1, memory_kib=8), reactor_in_use(), Chance())
        region = self.region
        self.sheets = Sheets(self.db, region.facts, region.desk, passwords)
        self.bureau = Bureau(
            desk=region.desk,
            office=region.office,
            rosters=Rosters(region.facts, region.desk),
            sheets=self.sheets,
            passwords=passwords,
            exports=build_exports(self.db, region, place.data_dir),
        )
        self.passwords = passwords
        self.said: list[str] = []

    async def run_command(self, *argv: str) -> list[str]:
        """Run a command; the lines it says."""
        parser = ArgumentParser()
        add_parsers(parser.add_subparsers())
        args: Namespace = parser.parse_args(argv)
        said: list[str] = []
        await args.act(self.bureau, args, said.append)
        return said

    async def test_a_sheet_opens_the_account_and_ends_old_sessions(self) -> None:
        story = await found_school(self.region)
        pupil = await story.take_in("pupil", class_title="9Б")
        await self.db.write(append_device, pupil, DeviceID("OLD"), None, 1)
        (sheet,) = await self.sheets.make(story.boss, story.org_id, [pupil, pupil])
        account = await self.db.read(find_account, pupil)
        assert account is not None
        assert sheet.login == pupil[1:].partition(":")[0]
        assert await self.passwords.matches(account.password_hash, sheet.password)
        assert await self.db.read(load_devices, pupil) == []
        entries = await story.office.audit(story.boss, story.org_id, None, 5)
        assert ("new_password", pupil) in {(entry.deed, entry.subject) for entry in entries}
        assert sheet.password not in str(entries)

    async def test_nobody_gets_a_sheet_for_somebody_who_is_not_theirs(self) -> None:
        story, other = await found_school(self.region), await found_school(self.region, "Школа № 2")
        theirs = await other.take_in("teacher")
        gone = await story.take_in("teacher")
        await story.office.dismiss(story.boss, story.org_id, gone)
        pupil = await story.take_in("pupil", class_title="9Б")
        for people in ([theirs], [gone], [story.boss.user_id], [UserID(f"@x:{SERVER}")], [pupil, theirs]):
            with pytest.raises(NotFound):
                await self.sheets.make(story.boss, story.org_id, people)
        account = await self.db.read(find_account, pupil)
        assert account is not None
        assert account.password_hash is None
        for people in ([], [pupil] * (MOST + 1)):
            with pytest.raises(Invalid):
                await self.sheets.make(story.boss, story.org_id, people)
        assert len(await self.sheets.make(REGION, story.org_id, [story.boss.user_id])) == 1

    async def test_a_school_is_made_by_commands(self) -> None:
        (org_id,) = await self.run_command("school", "create", "--name", "Средняя школа", "--short-name", "Школа")
        assert await self.run_command("school", "list") == [f"{org_id}  Школа"]
        assert len(await self.run_command("school", "class", "Школа", "5А", "9Б")) == 2
        names = ["--family", "Соколова", "--given", "Марина"]
        (boss,) = await self.run_command("school", "add", "Школа", *names, "--role", "teacher")
        with TemporaryDirectory() as folder:
            order, roster = Path(folder, "order.pdf"), Path(folder, "roster.csv")
            order.write_bytes(b"%PDF")
            roster.write_text(ROSTER, encoding="utf-8-sig")
            signed = ["--document", str(order), "--signed-on", "2026-09-01"]
            await self.run_command("school", "appoint", org_id, boss, *signed)
            assert (await self.run_command("school", "roster", org_id, str(roster), "--dry-run"))[-1].startswith("9 ")
            assert (await self.run_command("school", "roster", org_id, str(roster)))[-1] == "9 actions"
            roster.write_text(ROSTER + "x;;;;;\n")
            with pytest.raises(CommandFailed):
                await self.run_command("school", "roster", org_id, str(roster))
            roster.write_bytes(ROSTER.encode("cp1251"))
            with pytest.raises(CommandFailed, match="not UTF-8"):
                await self.run_command("school", "roster", org_id, str(roster))
        people = await self.run_command("school", "people", "Школа")
        assert len(people) == 5
        pupil = next(line for line in people if "Лисина" in line).split()[0]
        await self.run_command("school", "move", "Школа", pupil, "5А")
        assert (await self.run_command("school", "promote", "Школа", "9Б")) == ["9Б -> 10Б"]
        sheets = await self.run_command("school", "sheets", "Школа", "--class", "10Б")
        assert len(sheets) == 1
        await self.run_command("school", "verify", "Школа", pupil)
        await self.run_command("school", "dismiss", "Школа", pupil)
        await self.run_command("school", "settle", "Школа")
        assert "dismiss" in "".join(await self.run_command("school", "audit", "Школа"))
        waiting = [*names, "--role", "teacher", "--unverified"]
        (user_id,) = await self.run_command("school", "add", "Школа", *waiting)
        assert any("(unverified)" in line for line in await self.run_command("school", "people", "Школа"))
        assert user_id

    async def test_a_command_for_no_school_fails_in_one_line(self) -> None:
        with pytest.raises(CommandFailed, match="no organisation is called Школа"):
            await self.run_command("school", "people", "Школа")
        for _ in range(2):
            await self.run_command("school", "create", "--name", "Школа", "--short-name", "Школа")
        with pytest.raises(CommandFailed, match="more than one"):
            await self.run_command("school", "people", "Школа")

    async def test_the_demonstration_school_is_made_once_and_kept(self) -> None:
        first = await self.run_command("demo")
        assert len(first) == len(PEOPLE) + 1
        (org,) = await self.region.office.organisations(REGION)
        before = await self.region.desk.load(org.org_id)
        assert await self.run_command("demo") == first
        after = await self.region.desk.load(org.org_id)
        assert (before.people, before.roles, before.rooms) == (after.people, after.roles, after.rooms)
        for person in PEOPLE:
            account = await self.db.read(find_account, demo_user_id(person.login, SERVER))
            assert account is not None
            assert await self.passwords.matches(account.password_hash, PASSWORD)
            roles = after.roles_of(demo_user_id(person.login, SERVER))
            assert bool(roles) == (person.login != "dismissed")
            assert all((role.verified_ms is not None) == person.verified for role in roles)

    async def test_what_the_users_of_the_demonstration_changed_stays(self) -> None:
        await self.run_command("demo")
        (org,) = await self.region.office.organisations(REGION)
        pupil = demo_user_id("pupil1", SERVER)
        await self.region.office.dismiss(REGION, org.org_id, pupil)
        await self.run_command("demo")
        assert (await self.region.desk.load(org.org_id)).roles_of(pupil) == []

    async def test_a_document_may_be_typed_again_for_nobody(self) -> None:
        story = await found_school(self.region)
        teacher = await story.take_in("teacher")
        await story.office.appoint(REGION, story.org_id, teacher, document(5))
        with pytest.raises(Conflict):
            await story.office.appoint(REGION, story.org_id, teacher, document(5))
