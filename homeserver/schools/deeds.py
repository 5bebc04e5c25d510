"""What the school's office does, as functions from a school to the school as it is afterwards.

Nothing is written here. A deed refuses what makes no sense; whether the doer may is `rights.may_command`, asked by
`office`. Ended roles stay in the school that a deed gives, so that they are written as ended.

School: rows 1-6, 17, 26, 28, 31
"""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from federation.ids import UserID
from homeserver.policy import Conflict
from homeserver.schools.classes import end_of_year_ms, next_year, year_end_ms
from homeserver.schools.organisations import GRADED
from homeserver.schools.rights import Role
from homeserver.schools.school import School
from homeserver.storage.schools.organisations import SchoolClass
from homeserver.storage.schools.people import Person, RoleRecord
from homeserver.storage.schools.rooms import SchoolRoom

_SCOPES: Final = {
    Role.ADMINISTRATOR: {(False, False)},
    Role.EDITOR: {(False, False)},
    Role.TEACHER: {(False, False), (True, False)},
    Role.PUPIL: {(True, False)},
    Role.PARENT: {(False, True)},
}
"""Which scopes a role may have: (a class, a child)."""


class Senseless(Conflict):
    """The school is not such that this could be done."""

    def __init__(self, why: str) -> None:
        super().__init__("M_INVALID_PARAM", why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pen:
    """Whose hand writes: the doer, the time, and where new ids come from. `source` is office or roster."""

    by: UserID
    now_ms: int
    new_id: Callable[[], str]
    source: str = "office"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleScope:
    """A role somebody is to have, and where it counts: in a class, for a child, or in all of the organisation."""

    role: Role
    class_id: str = ""
    child_id: str = ""


def open_class(school: School, grade: int, letter: str, year: int, pen: Pen) -> tuple[School, SchoolClass]:
    """Open a class; grade 0 and the name as letter for a group without grades.

    Raises: Senseless: that class is there in that year, or the grade is not for this organisation.

    School: rows 17, 21, 31
    """
    if (grade > 0) != (school.org.kind in GRADED):
        raise Senseless("Schools have grades, other organisations have groups")
    if 0 < grade < school.org.lowest_grade:
        raise Senseless(f"This organisation has classes from grade {school.org.lowest_grade} on")
    opened = SchoolClass(class_id=pen.new_id(), org_id=school.org.org_id, grade=grade, letter=letter, year=year)
    _check_title_free(school, opened)
    return dataclasses.replace(school, classes=school.classes.set(opened.class_id, opened)), opened


def _check_title_free(school: School, wanted: SchoolClass) -> None:
    title = (wanted.grade, wanted.letter, wanted.year)
    if any((c.grade, c.letter, c.year) == title for c in school.classes.values()):
        raise Senseless(f"There is a class {wanted.title} in that school year already")


def take_in(school: School, person: Person) -> School:
    """Take in somebody's record, new or under other names."""
    return dataclasses.replace(school, people=school.people.set(person.user_id, person))


def check_key_free(school: School, person: Person) -> None:
    """Refuse somebody whom the organisation's journal has under the key of another.

    Raises: Senseless.
    """
    if person.roster_key is None:
        return
    if any(other.roster_key == person.roster_key for other in school.people.values()):
        raise Senseless(f"Somebody else has the key {person.roster_key}")


def give_role(school: School, user_id: UserID, scope: RoleScope, pen: Pen, *, verified: bool) -> School:
    """Give somebody a role: verified until the end of the school year, or waiting to be.

    Raises: NotFound, Senseless: the role does not have that scope, or is held already.
    """
    school.load_person(user_id)
    _check_scope(school, user_id, scope)
    role = RoleRecord(
        role_id=pen.new_id(),
        user_id=user_id,
        org_id=school.org.org_id,
        role=scope.role,
        class_id=scope.class_id,
        child_id=scope.child_id,
        source=pen.source,
        began_ms=pen.now_ms,
    )
    return renew(school, [role], pen) if verified else school.with_roles([role])


def _check_scope(school: School, user_id: UserID, scope: RoleScope) -> None:
    if (bool(scope.class_id), bool(scope.child_id)) not in _SCOPES[scope.role]:
        raise Senseless(f"This is not where the role of {scope.role} counts")
    if scope.class_id:
        school.load_class(scope.class_id)
    held = school.roles_of(user_id)
    if any((r.role, r.class_id, r.child_id) == (scope.role, scope.class_id, scope.child_id) for r in held):
        raise Senseless("The person has this role already")
    if scope.role is Role.PUPIL and any(r.role == Role.PUPIL for r in held):
        raise Senseless("A pupil is in one class; move the pupil instead")
    if scope.child_id and not _is_child_of_another(school, UserID(scope.child_id), user_id):
        raise Senseless("The child is not a pupil here")


def _is_child_of_another(school: School, child: UserID, user_id: UserID) -> bool:
    return child != user_id and any(role.role == Role.PUPIL for role in school.roles_of(child))


def verify(school: School, user_id: UserID, pen: Pen) -> School:
    """Verify all roles of a person until the end of the school year, or renew that.

    Raises: NotFound, Senseless: there is no role to verify, or it is one's own.

    School: row 26
    """
    school.load_person(user_id)
    roles = school.roles_of(user_id)
    if not roles:
        raise Senseless("The person has no role here")
    if user_id == pen.by:
        raise Senseless("Nobody verifies themselves")
    return renew(school, roles, pen)


def renew(school: School, roles: Iterable[RoleRecord], pen: Pen) -> School:
    """Verify some roles until the end of the school year, whether they were verified before or not."""
    return school.with_roles([_verified(role, pen, year_end_ms(pen.now_ms)) for role in roles])


def _verified(role: RoleRecord, pen: Pen, until_ms: int) -> RoleRecord:
    return replace(role, verified_ms=pen.now_ms, verified_by=pen.by, verified_until_ms=until_ms)


def dismiss(school: School, user_id: UserID, pen: Pen) -> School:
    """End all roles of a person, and those that parents have by a pupil who leaves.

    Raises: NotFound, Senseless: there is no role to end, or the school would be without administrator.

    School: rows 1, 2, 4
    """
    school.load_person(user_id)
    if not school.roles_of(user_id):
        raise Senseless("The person has no role here")
    if {r.user_id for r in school.current_roles() if r.role == Role.ADMINISTRATOR} == {user_id}:
        raise Senseless("The last administrator stays until another one is appointed")
    return end_roles(school, [r for r in school.current_roles() if user_id in {r.user_id, r.child_id}], pen)


def end_with_dependents(school: School, role: RoleRecord, pen: Pen) -> School:
    """End one role, and with a pupil's those that parents have by the child; one that has ended stays as it is."""
    ending = [role] if role.ended_ms is None else []
    if role.role == Role.PUPIL:
        ending += [r for r in school.current_roles() if r.child_id == role.user_id]
    return end_roles(school, ending, pen)


def end_roles(school: School, roles: Iterable[RoleRecord], pen: Pen) -> School:
    """End some roles of people and leave their others."""
    return school.with_roles([replace(role, ended_ms=pen.now_ms, ended_by=pen.by) for role in roles])


def move(school: School, user_id: UserID, class_id: str, pen: Pen) -> School:
    """Move a pupil to another class; the verification goes along, and the parents follow.

    Raises: NotFound, Senseless: it is no pupil, or the class is the pupil's already.
    """
    school.load_person(user_id)
    old = next((role for role in school.roles_of(user_id) if role.role == Role.PUPIL), None)
    if old is None:
        raise Senseless("Only pupils are moved from class to class")
    if old.class_id == class_id:
        raise Senseless("The pupil is in this class already")
    school.load_class(class_id)
    new = replace(old, role_id=pen.new_id(), class_id=class_id, began_ms=pen.now_ms, source=pen.source)
    return end_roles(school, [old], pen).with_roles([new])


def promote(school: School, class_id: str, pen: Pen) -> School:
    """Take a class into the next school year, or let it leave school after the last grade.

    Pupils, parents and teachers stay with the class; those verified before are so until the end of the new year. The
    roles in a class that leaves end, and its rooms close.

    Raises: NotFound, Senseless: the next class of that title is there already. Conflict: it is of the next year.

    School: rows 17, 31
    """
    promoted = next_year(school.load_class(class_id), pen.now_ms)
    if promoted.closed_ms is None:
        _check_title_free(school, promoted)
    pupils = {r.user_id for r in school.current_roles() if r.class_id == class_id and r.role == Role.PUPIL}
    roles = [r for r in school.current_roles() if r.class_id == class_id or r.child_id in pupils]
    school = dataclasses.replace(school, classes=school.classes.set(class_id, promoted))
    if promoted.closed_ms is not None:
        left = end_roles(school, roles, pen)
        return close_rooms(left, [room for room in left.rooms.values() if room.class_id == class_id], pen)
    until_ms = end_of_year_ms(promoted.year)
    return school.with_roles([_verified(role, pen, until_ms) for role in roles if role.verified_ms is not None])


def add_room(school: School, room: SchoolRoom) -> School:
    """Take in a room, or what has changed of it."""
    return dataclasses.replace(school, rooms=school.rooms.set(room.room_id, room))


def close_rooms(school: School, rooms: Iterable[SchoolRoom], pen: Pen) -> School:
    """Close some rooms: nobody belongs there any more."""
    closed = ((room.room_id, replace(room, closed_ms=pen.now_ms)) for room in rooms)
    return dataclasses.replace(school, rooms=school.rooms.update(closed))
