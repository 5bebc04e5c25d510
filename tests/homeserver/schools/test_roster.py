"""Rosters as text, and as plans for a school that is only a value."""

from itertools import count

import pytest

from federation.ids import UserID
from homeserver.policy import Conflict
from homeserver.schools import deeds
from homeserver.schools.deeds import Pen, RoleScope
from homeserver.schools.organisations import Application, build_organisation
from homeserver.schools.rights import Role
from homeserver.schools.roster.imports import Wish, check_leaving
from homeserver.schools.roster.plan import Plan, Terms, build_plan
from homeserver.schools.roster.rows import LONGEST, MOST_FAULTS, MOST_ROWS, BadRoster, parse_roster
from homeserver.schools.school import School
from homeserver.storage.schools.ledger import Ledger
from tests.kit.schools import OCTOBER_MS, YEAR

BOSS = UserID("@boss:north.example")
HEADER = "Фамилия;Имя;Отчество;Роль;Класс;ИД;Дети\n"
PUPIL = "Волков;Глеб;Ильич;ученик;9Б;17;\n"
MOTHER = "Волкова;Инна;;мать;;18;17\n"
TEACHER = "Орлов;Борис;Петрович;учитель;5А, 9Б;т1;\n"


# text


def test_russian_columns_and_semicolons_are_read() -> None:
    rows, faults = parse_roster(HEADER + PUPIL + MOTHER + TEACHER, graded=True)
    assert not faults
    assert [(row.line, row.role, row.key) for row in rows] == [
        (2, Role.PUPIL, "17"),
        (3, Role.PARENT, "18"),
        (4, Role.TEACHER, "т1"),
    ]
    assert rows[0].classes == ((9, "Б"),)
    assert rows[1].children == ("17",)
    assert rows[2].classes == ((5, "А"), (9, "Б"))


def test_english_columns_in_any_order_commas_quotes_and_a_byte_order_mark_are_read() -> None:
    text = (
        '\ufeffRole,Class,"Last  Name",FIRST NAME,id\r\npupil,"9Б",Volkov,Gleb,17\r\nteacher,"5А,9Б",Orlov,Boris,\r\n'
    )
    rows, faults = parse_roster(text, graded=True)
    assert not faults
    assert [(row.family, row.given, row.patronymic, row.key) for row in rows] == [
        ("Volkov", "Gleb", "", "17"),
        ("Orlov", "Boris", "", None),
    ]


def test_empty_lines_are_left_out_and_lines_still_counted() -> None:
    rows, faults = parse_roster(HEADER + "\n;;;;;;\n" + PUPIL + "\n", graded=True)
    assert [row.line for row in rows] == [4]
    assert not faults


def test_a_cell_over_two_lines_moves_the_count_on() -> None:
    text = HEADER + '"Волков\n";Глеб;;ученик;9Б;17;\n' + "Орлов;;;учитель;;;\n"
    rows, faults = parse_roster(text, graded=True)
    assert [row.line for row in rows] == [2]
    assert [fault.line for fault in faults] == [4]


@pytest.mark.parametrize(
    "row",
    [
        ";Глеб;;ученик;9Б;17;",
        "Волков;;;ученик;9Б;17;",
        "Волков;Глеб;;директор;9Б;17;",
        "Волков;Глеб;;administrator;9Б;17;",
        "Волков;Глеб;;;9Б;17;",
        "Волков;Глеб;;ученик;;17;",
        "Волков;Глеб;;ученик;9Б,9А;17;",
        "Волков;Глеб;;ученик;12Б;17;",
        "Волков;Глеб;;ученик;9Б;1 7;",
        "Волков;Глеб;;ученик;9Б;17;18",
        "Волкова;Инна;;мать;;18;",
        "Волкова;Инна;;мать;9Б;18;17",
        "<b>Волков</b>;Глеб;;ученик;9Б;17;",
        "Вол\u202eков;Глеб;;ученик;9Б;17;",
        "Вол\x07ков;Глеб;;ученик;9Б;17;",
        "Волков;Глеб;;ученик;9Б;17;;лишнее",
        "Волков;" + "Г" * 501 + ";;ученик;9Б;17;",
        "=HYPERLINK(1);Глеб;;ученик;9Б;17;",
    ],
)
def test_a_spoiled_row_is_a_fault_with_its_line_and_the_others_are_read(row: str) -> None:
    rows, faults = parse_roster(HEADER + MOTHER + row + "\n" + TEACHER, graded=True)
    assert [fault.line for fault in faults] == [3]
    assert [row.line for row in rows] == [2, 4]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "Фамилия;Имя;Роль;Оценка\n",
        "Фамилия;Имя\n",
        "Фамилия;Имя;Роль;Роль\n",
        'Фамилия;Имя;Роль\n"Волков;Глеб;ученик\n',
        HEADER + 'Волков;"Глеб"x;;ученик;9Б;17;\n',
        HEADER + "я" * LONGEST,
        HEADER + PUPIL * (MOST_ROWS + 1),
        "{}",
    ],
)
def test_what_is_no_roster_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(BadRoster):
        parse_roster(text, graded=True)


def test_faults_are_told_up_to_a_number() -> None:
    _, faults = parse_roster(HEADER + "x;;;;;;\n" * (MOST_FAULTS * 2), graded=True)
    assert len(faults) == MOST_FAULTS


def test_a_key_twice_and_namesakes_without_keys_are_faults() -> None:
    other = "Зайцева;Дарья;;ученица;9Б;17;\n"
    _, faults = parse_roster(HEADER + PUPIL + other, graded=True)
    assert [(fault.line, fault.why) for fault in faults] == [(3, "the id is that of line 2")]
    nameless = "Волков;Глеб;Ильич;ученик;9Б;;\nвОЛКОВ;глеб;Ильич;ученик;5А;;\n"
    _, faults = parse_roster(HEADER + nameless, graded=True)
    assert [fault.line for fault in faults] == [3]


def test_namesakes_with_keys_are_two_people() -> None:
    twin = PUPIL.replace(";17;", ";19;")
    rows, faults = parse_roster(HEADER + PUPIL + twin, graded=True)
    assert len(rows) == 2
    assert not faults


# plans


def new_pen(source: str = "office") -> Pen:
    numbers = count()
    return Pen(by=BOSS, now_ms=OCTOBER_MS, new_id=lambda: f"id{next(numbers)}-{source}", source=source)


def new_school() -> School:
    org = build_organisation(Application(name="Школа", short_name="Ш"), org_id="o", now_ms=1)
    school, pen = School.of(Ledger(org=org)), new_pen()
    for grade, letter in ((5, "А"), (9, "Б")):
        school, _ = deeds.open_class(school, grade, letter, YEAR, pen)
    return school


class Importer:
    """A school that rosters are read into, one after the other."""

    def __init__(self) -> None:
        self.school = new_school()
        self.pen = new_pen("roster")
        self.numbers = count()

    def plan(self, text: str, *, complete: bool = False) -> Plan:
        rows, faults = parse_roster(HEADER + text, graded=True)
        assert not faults
        terms = Terms(
            complete=complete,
            until_ms=OCTOBER_MS,
            new_user_id=lambda: UserID(f"@u{next(self.numbers)}:north.example"),
        )
        return build_plan(self.school, rows, terms)

    def take(self, text: str, *, complete: bool = False) -> Plan:
        plan = self.plan(text, complete=complete)
        assert not plan.faults
        for action in plan.actions:
            self.school = action.change(self.school, self.pen)
        return plan

    def roles(self, key: str) -> set[tuple[str, str]]:
        """Role and class title, or the child's key, of who has that key."""
        people = {person.roster_key: person.user_id for person in self.school.people.values()}
        found = set()
        for role in self.school.roles_of(people[key]):
            title = self.school.classes[role.class_id].title if role.class_id else ""
            child = self.school.people[UserID(role.child_id)].roster_key if role.child_id else None
            found.add((role.role, child or title))
        return found


def whats(plan: Plan) -> list[str]:
    return [action.what for action in plan.actions]


def test_people_are_taken_in_with_their_roles_verified() -> None:
    importer = Importer()
    plan = importer.take(MOTHER + TEACHER + PUPIL)
    assert whats(plan) == ["add", "role", "add", "role", "role", "role", "add", "role"]
    assert importer.roles("17") == {("pupil", "9Б")}
    assert importer.roles("18") == {("parent", "17")}
    assert importer.roles("т1") == {("teacher", ""), ("teacher", "5А"), ("teacher", "9Б")}
    assert all(role.verified_ms == OCTOBER_MS and role.source == "roster" for role in importer.school.current_roles())


def test_the_same_roster_again_does_nothing() -> None:
    importer = Importer()
    text = PUPIL + MOTHER + TEACHER
    importer.take(text)
    assert whats(importer.plan(text, complete=True)) == []


def test_a_roster_cut_off_anywhere_is_finished_by_the_same_roster() -> None:
    text = PUPIL + MOTHER + TEACHER
    whole = Importer()
    whole.take(text)
    for done in range(len(whole.plan(text).actions) + 8):
        importer = Importer()
        for action in importer.plan(text).actions[:done]:
            importer.school = action.change(importer.school, importer.pen)
        importer.take(text)
        for key in ("17", "18", "т1"):
            assert importer.roles(key) == whole.roles(key)


def test_a_pupil_in_another_class_is_moved_and_verified() -> None:
    importer = Importer()
    importer.take(PUPIL + MOTHER)
    assert whats(importer.take(PUPIL.replace("9Б", "5А") + MOTHER)) == ["move"]
    assert importer.roles("17") == {("pupil", "5А")}


def test_a_changed_name_is_taken_over_and_a_missing_patronymic_is_not() -> None:
    importer = Importer()
    importer.take(PUPIL)
    assert whats(importer.take("Волкова-Серая;Глеб;;ученик;9Б;17;\n")) == ["rename"]
    (person,) = importer.school.people.values()
    assert person.name == "Волкова-Серая Глеб Ильич"


def test_who_has_no_key_is_known_by_the_name_and_gets_the_key_later() -> None:
    importer = Importer()
    nameless = PUPIL.replace(";17;", ";;")
    importer.take(nameless)
    assert whats(importer.plan(nameless.replace("ё", "е"))) == []
    assert whats(importer.take(PUPIL)) == ["rename"]
    assert len(importer.school.people) == 1
    assert importer.roles("17") == {("pupil", "9Б")}


def test_a_name_that_several_people_have_needs_a_key() -> None:
    importer = Importer()
    importer.take(PUPIL + PUPIL.replace(";17;", ";19;").replace("9Б", "5А"))
    plan = importer.plan(PUPIL.replace(";17;", ";;"))
    assert [fault.line for fault in plan.faults] == [2]


@pytest.mark.parametrize("row", [PUPIL.replace("9Б", "7В"), MOTHER.replace(";17\n", ";99\n")])
def test_a_class_or_child_that_is_not_there_is_a_fault(row: str) -> None:
    assert [fault.line for fault in Importer().plan(row).faults] == [2]


def test_a_teacher_loses_the_classes_that_the_roster_no_longer_names() -> None:
    importer = Importer()
    importer.take(TEACHER)
    assert whats(importer.take(TEACHER.replace("5А, 9Б", "9Б"))) == ["end"]
    assert importer.roles("т1") == {("teacher", ""), ("teacher", "9Б")}


def test_what_the_office_gave_a_roster_does_not_take() -> None:
    importer = Importer()
    importer.take(TEACHER + PUPIL)
    teacher = next(p.user_id for p in importer.school.people.values() if p.roster_key == "т1")
    importer.school = deeds.give_role(importer.school, teacher, RoleScope(role=Role.EDITOR), new_pen(), verified=True)
    plan = importer.take(PUPIL, complete=True)
    assert whats(plan) == ["end", "end", "end"]
    assert importer.roles("т1") == {("editor", "")}


def test_with_a_pupil_who_is_missing_from_a_complete_roster_the_parents_roles_end() -> None:
    importer = Importer()
    importer.take(PUPIL + MOTHER + TEACHER)
    plan = importer.take(TEACHER, complete=True)
    assert len(plan.leaving) == 2
    assert importer.roles("17") == importer.roles("18") == set()


def test_a_roster_that_is_not_complete_lets_nobody_go() -> None:
    importer = Importer()
    importer.take(PUPIL + MOTHER + TEACHER)
    assert whats(importer.take(TEACHER)) == []


def test_who_waited_is_verified_by_the_roster() -> None:
    importer = Importer()
    importer.take(PUPIL)
    (role,) = importer.school.current_roles()
    unverified = Ledger(
        org=importer.school.org,
        classes=list(importer.school.classes.values()),
        people=list(importer.school.people.values()),
        roles=[type(role)(*[getattr(role, name) for name in role.__struct_fields__[:8]])],
    )
    importer.school = School.of(unverified)
    assert whats(importer.take(PUPIL)) == ["verify"]
    assert next(importer.school.current_roles()).verified_ms == OCTOBER_MS


def test_who_left_comes_back_as_the_same_person() -> None:
    importer = Importer()
    importer.take(PUPIL + TEACHER)
    importer.take(TEACHER, complete=True)
    assert whats(importer.take(PUPIL + TEACHER)) == ["role"]
    assert len(importer.school.people) == 2


def test_many_leave_only_if_it_was_said_how_many() -> None:
    importer = Importer()
    pupils = "".join(f"Волков;Глеб;;ученик;9Б;{number};\n" for number in range(30))
    importer.take(pupils)
    four = importer.plan("".join(pupils.splitlines(keepends=True)[4:]), complete=True)
    three = importer.plan("".join(pupils.splitlines(keepends=True)[3:]), complete=True)
    check_leaving(importer.school, three, Wish(complete=True))
    with pytest.raises(Conflict):
        check_leaving(importer.school, four, Wish(complete=True))
    check_leaving(importer.school, four, Wish(complete=True, leaving=4))
    with pytest.raises(Conflict):
        check_leaving(importer.school, four, Wish(complete=True, leaving=3))
