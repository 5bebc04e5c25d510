"""A demonstration school: everybody a story needs, with logins that are easy to type.

All names are invented. What is there already is left as it is, so that a second start keeps everything, and one after
a start that was cut off does the rest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Final

from federation.ids import ServerName, UserID
from homeserver.accounts.passwords import Passwords
from homeserver.schools import deeds
from homeserver.schools.books import Deed, Entry, World
from homeserver.schools.classes import parse_class_title, school_year
from homeserver.schools.deeds import Pen, RoleScope
from homeserver.schools.desk import Desk
from homeserver.schools.office import Asker, Office
from homeserver.schools.organisations import Application
from homeserver.schools.rights import Role
from homeserver.schools.school import School
from homeserver.storage.schools.people import Appointment, Person

PASSWORD: Final = "parta-demo-5"
CLASSES: Final = ("5А", "9Б")
_SCHOOL: Final = Application(
    name="Муниципальное общеобразовательное учреждение «Средняя школа № 7 города Озёрска-Северного»",
    short_name="Школа № 7",
    settlement="Озёрск-Северный",
    inn="7700000016",
    kpp="770001001",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPerson:
    """Somebody of the demonstration school; `child` is the login of a parent's child."""

    login: str
    name: str
    role: Role
    classes: tuple[str, ...] = ()
    child: str = ""
    verified: bool = True
    note: str


PEOPLE: Final[Sequence[DemoPerson]] = (
    DemoPerson(
        login="admin1", name="Соколова Марина Викторовна", role=Role.TEACHER, note="администратор, назначена директором"
    ),
    DemoPerson(
        login="teacher1",
        name="Громов Илья Андреевич",
        role=Role.TEACHER,
        classes=("9Б", "5А"),
        note="учитель в 9Б и 5А",
    ),
    DemoPerson(login="teacher2", name="Белова Анна Сергеевна", role=Role.TEACHER, classes=("5А",), note="учитель в 5А"),
    DemoPerson(login="pupil1", name="Лапин Артём", role=Role.PUPIL, classes=("5А",), note="ученик 5А"),
    DemoPerson(login="pupil2", name="Журавлёва Полина", role=Role.PUPIL, classes=("5А",), note="ученица 5А"),
    DemoPerson(login="pupil3", name="Рябинин Максим", role=Role.PUPIL, classes=("9Б",), note="ученик 9Б"),
    DemoPerson(login="pupil4", name="Крылова Дарья", role=Role.PUPIL, classes=("9Б",), note="ученица 9Б"),
    DemoPerson(login="pupil5", name="Садыков Тимур", role=Role.PUPIL, classes=("9Б",), note="ученик 9Б"),
    DemoPerson(
        login="parent1", name="Лапина Ольга Николаевна", role=Role.PARENT, child="pupil1", note="мать Артёма, 5А"
    ),
    DemoPerson(
        login="parent2", name="Журавлёв Пётр Алексеевич", role=Role.PARENT, child="pupil2", note="отец Полины, 5А"
    ),
    DemoPerson(
        login="parent3", name="Рябинина Елена Юрьевна", role=Role.PARENT, child="pupil3", note="мать Максима, 9Б"
    ),
    DemoPerson(login="parent4", name="Крылов Денис Олегович", role=Role.PARENT, child="pupil4", note="отец Дарьи, 9Б"),
    DemoPerson(
        login="newcomer",
        name="Зимин Олег Павлович",
        role=Role.TEACHER,
        verified=False,
        note="ещё не подтверждён: видит только «Помощь»",
    ),
    DemoPerson(
        login="dismissed", name="Котов Роман Игоревич", role=Role.TEACHER, classes=("9Б",), note="уволенный учитель"
    ),
)
_APPOINTED: Final = "admin1"
_SIGNED_ON: Final = "2026-08-25"
_DISMISSED: Final = "dismissed"


async def make_demo(office: Office, desk: Desk, passwords: Passwords) -> str:
    """Make the demonstration school, or what is missing of it; its id."""
    region = Asker(user_id=desk.world.service, region=True)
    org_id = await _find_demo(office, region) or (await office.found(region, _SCHOOL)).org.org_id
    password_hash = await passwords.hash(PASSWORD)
    await desk.perform(org_id, region.user_id, lambda school: _plan(school, desk.world, password_hash))
    return org_id


async def _find_demo(office: Office, region: Asker) -> str | None:
    after = ""
    while page := await office.organisations(region, after):
        for org in page:
            if (org.inn, org.kpp) == (_SCHOOL.inn, _SCHOOL.kpp):
                return org.org_id
        after = page[-1].org_id
    return None


def _plan(school: School, world: World, password_hash: str) -> Iterator[Deed]:
    """What is missing: the classes of a school without people, and each person in a unit of their own."""
    if not school.classes:
        yield Deed(change=_open_classes, entries=[Entry("open_class", title, {}) for title in CLASSES])
    for person in PEOPLE:
        user_id = demo_user_id(person.login, world.server)
        if user_id in school.people:
            continue
        yield Deed(
            change=partial(_take_in, person, world.server),
            entries=[Entry("take_in", user_id, {"demo": True})],
            passwords={user_id: password_hash},
            appointment=_appointment(school, user_id, world) if person.login == _APPOINTED else None,
        )
        if person.login == _DISMISSED:
            yield Deed(change=partial(_dismiss, user_id), entries=[Entry("dismiss", user_id, {})])


def demo_user_id(login: str, server: ServerName) -> UserID:
    """The user ID of somebody of the demonstration school; only there it is no random one."""
    return UserID(f"@{login}:{server}")


def _open_classes(school: School, pen: Pen) -> School:
    for title in CLASSES:
        school, _ = deeds.open_class(school, *parse_class_title(title), school_year(pen.now_ms), pen)
    return school


def _take_in(person: DemoPerson, server: ServerName, school: School, pen: Pen) -> School:
    family, given, patronymic = (*person.name.split(), "")[:3]
    user_id = demo_user_id(person.login, server)
    record = Person(
        user_id=user_id,
        org_id=school.org.org_id,
        family=family,
        given=given,
        patronymic=patronymic,
        roster_key=None,
        created_ms=pen.now_ms,
    )
    school = deeds.take_in(school, record)
    for scope in _scopes(person, server, school):
        school = deeds.give_role(school, user_id, scope, pen, verified=person.verified)
    if person.login == _APPOINTED:
        school = deeds.give_role(school, user_id, RoleScope(role=Role.ADMINISTRATOR), pen, verified=True)
    return school


def _scopes(person: DemoPerson, server: ServerName, school: School) -> Iterator[RoleScope]:
    if person.role is Role.TEACHER:
        yield RoleScope(role=Role.TEACHER)
    for title in person.classes:
        school_class = school.find_class(*parse_class_title(title))
        if school_class is not None:
            yield RoleScope(role=person.role, class_id=school_class.class_id)
    if person.child:
        yield RoleScope(role=person.role, child_id=demo_user_id(person.child, server))


def _dismiss(user_id: UserID, school: School, pen: Pen) -> School:
    return deeds.dismiss(school, user_id, pen)


def _appointment(school: School, user_id: UserID, world: World) -> Appointment:
    return Appointment(
        document_sha256=sha256(f"приказ директора {school.org.org_id}".encode()).hexdigest(),
        org_id=school.org.org_id,
        user_id=user_id,
        signed_on=_SIGNED_ON,
        accepted_by=world.service,
        accepted_ms=world.now_ms(),
    )
