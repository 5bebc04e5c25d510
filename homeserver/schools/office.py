"""The school's office: what administrators ask for, checked against `rights`, done at the desk, named in the audit.

Every method takes the asker first. To one who may not ask, an organisation is as if it did not exist.

School: rows 1, 6, 8, 24, 26
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec import Struct
from twisted.internet.defer import DeferredLock

from federation.ids import UserID
from homeserver.policy import Conflict, Invalid, NotFound
from homeserver.schools import deeds
from homeserver.schools.books import Deed, Entry
from homeserver.schools.classes import parse_class_title, parse_day, parse_group_title, school_year
from homeserver.schools.deeds import Pen, RoleScope
from homeserver.schools.desk import Desk
from homeserver.schools.facts import Facts
from homeserver.schools.names import parse_key, parse_part
from homeserver.schools.organisations import GRADED, Application, build_organisation
from homeserver.schools.rights import Command, Role, may_command
from homeserver.schools.school import School
from homeserver.storage.audit import AuditEntry, Which, append_audit, load_audit
from homeserver.storage.database import Database
from homeserver.storage.schools.organisations import (
    Organisation,
    SchoolClass,
    find_organisation_by_inn,
    load_organisations,
)
from homeserver.storage.schools.people import Appointment, Person

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PAGE: Final = 100
_GIVEN: Final = frozenset({Role.TEACHER, Role.PUPIL, Role.PARENT, Role.EDITOR})
"""Roles that the office gives; an administrator is appointed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks the office for something; `region` for an operator of the region."""

    user_id: UserID
    region: bool = False


class RoleWish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role somebody is to have: in a class, named by its title, or for a child, named by user ID."""

    role: str
    class_title: str = ""
    child: str = ""
    verified: bool = True


class Applicant(RoleWish, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody to be taken in, with a first role; `roster_key` is how the organisation's journal knows them."""

    family: str
    given: str
    patronymic: str = ""
    roster_key: str | None = None


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The director's act that makes somebody administrator: its SHA-256, and the day it was signed. School: row 6"""

    sha256: str
    signed_on: str


class Office:
    """The office of every school of the region."""

    def __init__(self, database: Database, facts: Facts, desk: Desk) -> None:
        self._database = database
        self._facts = facts
        self._desk = desk
        self._founding = DeferredLock()

    async def found(self, asker: Asker, application: Application) -> School:
        """Register an organisation and make its rooms.

        Raises: NotFound: the asker is not the region. Invalid; Conflict: it is registered already.

        School: rows 8, 12
        """
        if not asker.region:
            raise NotFound("There is no such organisation")
        world = self._desk.world
        org = build_organisation(application, org_id=world.new_id(), now_ms=world.now_ms())
        async with self._founding:
            if org.inn is not None and org.kpp is not None and await self._find_by_inn(org.inn, org.kpp) is not None:
                raise Conflict("M_INVALID_PARAM", "An organisation is registered under this INN and KPP")
            return await self._desk.found(org, asker.user_id)

    async def organisations(self, asker: Asker, after: str = "") -> list[Organisation]:
        """The organisations whose office serves the asker, a page from behind `after`: all of them for the region."""
        if asker.region:
            return await self._database.read(load_organisations, after, _PAGE)
        grants = await self._facts.grants(asker.user_id)
        served = sorted({g.org_id for g in grants if may_command(grants, Command.SEE, g.org_id) and g.org_id > after})
        return [(await self._desk.load(org_id)).org for org_id in served[:_PAGE]]

    async def see(self, asker: Asker, org_id: str) -> School:
        """An organisation with its people, classes and rooms.

        Raises: NotFound.
        """
        await check_may_command(self._facts, asker, Command.SEE, org_id)
        school = await self._desk.load(org_id)
        await self._note_look(asker, org_id, "people")
        return school

    async def audit(self, asker: Asker, org_id: str, before: int | None, limit: int) -> list[AuditEntry]:
        """What was done in an organisation, newest first, from below the entry `before` on.

        Raises: NotFound.
        """
        await check_may_command(self._facts, asker, Command.SEE, org_id)
        await self._note_look(asker, org_id, "audit")
        return await self._database.read(load_audit, Which(before=before, org_id=org_id), max(1, min(limit, _PAGE)))

    async def open_class(self, asker: Asker, org_id: str, title: str, year: int | None = None) -> SchoolClass:
        """Open a class of that title, in the present school year unless another one is named.

        Raises: NotFound, Invalid, Conflict.

        School: row 17
        """
        await check_may_command(self._facts, asker, Command.STRUCTURE, org_id)
        now_year = school_year(self._desk.world.now_ms())
        year = now_year if year is None else year
        if year not in {now_year, now_year + 1}:
            raise Invalid("M_INVALID_PARAM", "A class is opened in this school year or the next one")
        opened: list[SchoolClass] = []

        def plan(school: School) -> list[Deed]:
            grade, letter = parse_title(school, title)

            def change(school: School, pen: Pen) -> School:
                school, school_class = deeds.open_class(school, grade, letter, year, pen)
                opened.append(school_class)
                return school

            return [Deed(change=change, entries=[Entry("open_class", f"{grade or ''}{letter}", {"year": year})])]

        await self._desk.perform(org_id, asker.user_id, plan)
        return opened[-1]

    async def take_in(
        self, asker: Asker, org_id: str, applicant: Applicant, *, user_id: UserID | None = None
    ) -> Person:
        """Take somebody in with one role, and open their account; not verified, they wait in their help room.

        The account has a user ID that says nothing unless the region gives one.

        Raises: NotFound, Invalid, Conflict.

        School: rows 24, 26
        """
        await check_may_command(self._facts, asker, Command.ENROL, org_id)
        world = self._desk.world
        person = Person(
            user_id=user_id if user_id is not None and asker.region else world.new_user_id(),
            org_id=org_id,
            family=parse_part("family", applicant.family),
            given=parse_part("given", applicant.given),
            patronymic=parse_part("patronymic", applicant.patronymic, optional=True),
            roster_key=None if applicant.roster_key is None else parse_key(applicant.roster_key),
            created_ms=world.now_ms(),
        )

        def plan(school: School) -> list[Deed]:
            scope = _scope(school, applicant)

            def change(school: School, pen: Pen) -> School:
                deeds.check_key_free(school, person)
                school = deeds.take_in(school, person)
                return deeds.give_role(school, person.user_id, scope, pen, verified=applicant.verified)

            return [Deed(change=change, entries=[Entry("take_in", person.user_id, _scope_detail(scope))])]

        await self._desk.perform(org_id, asker.user_id, plan)
        return person

    async def give_role(self, asker: Asker, org_id: str, user_id: UserID, wish: RoleWish) -> None:
        """Give somebody who is known here another role.

        Raises: NotFound, Invalid, Conflict.

        School: row 5, decided 3
        """
        await check_may_command(self._facts, asker, Command.ENROL, org_id)

        def plan(school: School) -> list[Deed]:
            scope = _scope(school, wish)

            def change(school: School, pen: Pen) -> School:
                return deeds.give_role(school, user_id, scope, pen, verified=wish.verified)

            return [Deed(change=change, entries=[Entry("give_role", user_id, _scope_detail(scope))])]

        await self._desk.perform(org_id, asker.user_id, plan)

    async def appoint(self, asker: Asker, org_id: str, user_id: UserID, document: Document) -> None:
        """Make somebody of the organisation its administrator, by the director's act; for the region to do.

        Raises: NotFound, Invalid, Conflict: the document has served before.

        School: row 6
        """
        if not asker.region:
            raise NotFound("There is no such organisation")
        if _SHA256.fullmatch(document.sha256) is None:
            raise Invalid("M_INVALID_PARAM", "sha256: 64 hexadecimal digits")
        appointment = Appointment(
            document_sha256=document.sha256,
            org_id=org_id,
            user_id=user_id,
            signed_on=parse_day(document.signed_on),
            accepted_by=asker.user_id,
            accepted_ms=self._desk.world.now_ms(),
        )

        def change(school: School, pen: Pen) -> School:
            return deeds.give_role(school, user_id, RoleScope(role=Role.ADMINISTRATOR), pen, verified=True)

        entry = Entry("appoint", user_id, {"document": document.sha256, "signed_on": appointment.signed_on})
        deed = Deed(change=change, entries=[entry], appointment=appointment)
        await self._desk.perform(org_id, asker.user_id, lambda _: [deed])

    async def verify(self, asker: Asker, org_id: str, user_id: UserID) -> None:
        """Verify somebody until the end of the school year: from here on they are in their rooms.

        Raises: NotFound, Conflict.

        School: rows 24, 26
        """
        await check_may_command(self._facts, asker, Command.ENROL, org_id)
        entry = Entry("verify", user_id, {})
        await self._do(asker, org_id, entry, lambda school, pen: deeds.verify(school, user_id, pen))

    async def dismiss(self, asker: Asker, org_id: str, user_id: UserID) -> None:
        """End all that somebody is here: rooms, rights and sessions are gone when this returns.

        Raises: NotFound, Conflict: the last administrator stays.

        School: rows 2, 4
        """
        await check_may_command(self._facts, asker, Command.DISMISS, org_id)
        entry = Entry("dismiss", user_id, {})
        await self._do(asker, org_id, entry, lambda school, pen: deeds.dismiss(school, user_id, pen))

    async def move(self, asker: Asker, org_id: str, user_id: UserID, class_id: str) -> None:
        """Move a pupil to another class; the parents follow.

        Raises: NotFound, Conflict.
        """
        await check_may_command(self._facts, asker, Command.STRUCTURE, org_id)

        entry = Entry("move", user_id, {"class_id": class_id})
        await self._do(asker, org_id, entry, lambda school, pen: deeds.move(school, user_id, class_id, pen))

    async def promote(self, asker: Asker, org_id: str, class_id: str) -> SchoolClass:
        """Take a class into the next school year; its rooms go along, renamed, or close with the last grade.

        Raises: NotFound, Conflict.

        School: rows 17, 31
        """
        await check_may_command(self._facts, asker, Command.STRUCTURE, org_id)
        entry = Entry("promote", class_id, {})
        school = await self._do(asker, org_id, entry, lambda school, pen: deeds.promote(school, class_id, pen))
        return school.classes[class_id]

    async def _find_by_inn(self, inn: str, kpp: str) -> Organisation | None:
        return await self._database.read(find_organisation_by_inn, inn, kpp)

    async def _do(self, asker: Asker, org_id: str, entry: Entry, change: Callable[[School, Pen], School]) -> School:
        return await self._desk.perform(org_id, asker.user_id, lambda _: [Deed(change=change, entries=[entry])])

    async def _note_look(self, asker: Asker, org_id: str, subject: str) -> None:
        now_ms = self._desk.world.now_ms()
        entry = AuditEntry(org_id=org_id, at_ms=now_ms, done_by=asker.user_id, deed="look", subject=subject)
        await self._database.write(append_audit, entry)


async def check_may_command(facts: Facts, asker: Asker, command: Command, org_id: str) -> None:
    """Refuse one for whom the office does not do this, as if there were no such organisation.

    Raises: NotFound.
    """
    if not asker.region and not may_command(await facts.grants(asker.user_id), command, org_id):
        raise NotFound("There is no such organisation")


def parse_title(school: School, title: str) -> tuple[int, str]:
    """Grade and letter of a class as its organisation calls it; grade 0 and the name for a group.

    Raises: Invalid.
    """
    return parse_class_title(title) if school.org.kind in GRADED else (0, parse_group_title(title))


def load_class_named(school: School, title: str) -> SchoolClass:
    """The class of that title.

    Raises: NotFound, Invalid.
    """
    found = school.find_class(*parse_title(school, title))
    if found is None:
        raise NotFound(f"There is no class {title}")
    return found


def _scope(school: School, wish: RoleWish) -> RoleScope:
    if wish.role not in _GIVEN:
        raise Invalid("M_INVALID_PARAM", f"role: one of {', '.join(sorted(_GIVEN))}")
    class_id = load_class_named(school, wish.class_title).class_id if wish.class_title else ""
    return RoleScope(role=Role(wish.role), class_id=class_id, child_id=wish.child)


def _scope_detail(scope: RoleScope) -> dict[str, object]:
    detail = {"role": scope.role.value, "class_id": scope.class_id, "child": scope.child_id}
    return {name: value for name, value in detail.items() if value}
