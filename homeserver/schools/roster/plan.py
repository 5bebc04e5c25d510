"""What has to be done so that a school agrees with a roster. Pure.

A person is known by the key; where the roster gives none, by the name among those of the same role, if only one has
it. Whoever is in a roster is verified by it. In a complete roster, who is missing is to leave; what somebody is by the
office's own doing stays.

School: row 28, decided 2
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, TypeAlias

from msgspec.structs import replace

from federation.ids import UserID
from homeserver.schools import deeds
from homeserver.schools.deeds import Pen, RoleScope
from homeserver.schools.rights import Role
from homeserver.schools.roster.rows import Fault, RosterRow, fold_name
from homeserver.schools.school import School
from homeserver.storage.schools.people import Person, RoleRecord

What: TypeAlias = Literal["add", "rename", "role", "move", "verify", "end"]
Scope: TypeAlias = tuple[str, str, str]
"""A role as it is compared: the role, its class and its child."""

SOURCE: Final = "roster"
_ORDER: Final = (Role.PUPIL, Role.TEACHER, Role.PARENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to be done for one person, from one line (0 where the roster does not name the person)."""

    what: What
    user_id: UserID
    line: int
    change: Callable[[School, Pen], School]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done, in order: children before their parents, whoever leaves last. With faults it is no plan."""

    actions: Sequence[Action]
    faults: Sequence[Fault]
    leaving: frozenset[UserID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms a roster is read: whether it is complete, until when it verifies, where user IDs come from."""

    complete: bool
    until_ms: int
    new_user_id: Callable[[], UserID]


class _Puzzled(Exception):
    """A row that cannot be understood in this school."""


@dataclass(slots=True, kw_only=True)
class _Reading:
    """A roster being compared with a school."""

    school: School
    terms: Terms
    people: dict[int, Person] = field(default_factory=dict)
    actions: list[Action] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)


def build_plan(school: School, rows: Sequence[RosterRow], terms: Terms) -> Plan:
    """What makes the school agree with the rows of a roster."""
    reading = _Reading(school=school, terms=terms)
    by_role = [row for role in _ORDER for row in rows if row.role is role]
    _identify(reading, by_role)
    by_key = {person.roster_key: person for person in (*school.people.values(), *reading.people.values())}
    for row in by_role:
        if row.line in reading.people:
            _compare(reading, row, by_key)
    leaving: frozenset[UserID] = frozenset()
    if terms.complete:
        missing = [r for r in school.current_roles() if r.source == SOURCE and r.role_id not in reading.seen]
        leaving = frozenset(role.user_id for role in missing)
        _end(reading, missing, 0)
    return Plan(actions=reading.actions, faults=sorted(reading.faults, key=lambda fault: fault.line), leaving=leaving)


def _identify(reading: _Reading, rows: Iterable[RosterRow]) -> None:
    """Find out who each row is about: somebody of the school, or somebody new."""
    school = reading.school
    by_key: dict[str | None, Person] = {p.roster_key: p for p in school.people.values() if p.roster_key is not None}
    named: dict[tuple[str, tuple[str, str, str]], set[UserID]] = {}
    for role in school.current_roles():
        person = school.people[role.user_id]
        name = fold_name(person.family, person.given, person.patronymic)
        named.setdefault((role.role, name), set()).add(role.user_id)
    for row in rows:
        if row.key in by_key:
            reading.people[row.line] = by_key[row.key]
            continue
        same = [school.people[user_id] for user_id in named.get((row.role, row.name), ())]
        same = [person for person in same if row.key is None or person.roster_key is None]
        if len(same) > 1 and row.key is None:
            reading.faults.append(Fault(line=row.line, why="several people have this name: give an id"))
            continue
        reading.people[row.line] = same[0] if len(same) == 1 else _newcomer(reading, row)


def _newcomer(reading: _Reading, row: RosterRow) -> Person:
    return Person(
        user_id=reading.terms.new_user_id(),
        org_id=reading.school.org.org_id,
        family=row.family,
        given=row.given,
        patronymic=row.patronymic,
        roster_key=row.key,
        created_ms=0,
    )


def _compare(reading: _Reading, row: RosterRow, by_key: Mapping[str | None, Person]) -> None:
    """What one row changes."""
    person = reading.people[row.line]
    try:
        wanted = set(_scopes(reading, row, by_key))
    except _Puzzled as fault:
        reading.faults.append(Fault(line=row.line, why=str(fault)))
        return
    if person.user_id not in reading.school.people:
        _act(reading, "add", person, row.line, partial(_take_in, person))
    else:
        renamed = _renamed(person, row)
        if renamed != person:
            _act(reading, "rename", person, row.line, partial(_take_in, renamed))
    held = {(r.role, r.class_id, r.child_id): r for r in reading.school.roles_of(person.user_id) if r.role == row.role}
    if row.role is Role.PUPIL and held and not wanted & held.keys():
        _move(reading, row, person, next(iter(held.values())), next(iter(wanted)))
        return
    for scope in sorted(wanted):
        _hold(reading, row, person, scope, held.get(scope))
    _end(reading, [r for s, r in held.items() if s not in wanted and r.source == SOURCE], row.line)


def _scopes(reading: _Reading, row: RosterRow, by_key: Mapping[str | None, Person]) -> Iterator[Scope]:
    """The roles that a row gives: a teacher's in the organisation and in the classes."""
    if row.role is Role.TEACHER:
        yield (row.role, "", "")
    for grade, letter in row.classes:
        school_class = reading.school.find_class(grade, letter)
        if school_class is None:
            raise _Puzzled(f"there is no class {grade or ''}{letter}: open it first")
        yield (row.role, school_class.class_id, "")
    for key in row.children:
        child = by_key.get(key)
        if child is None:
            raise _Puzzled(f"there is no child with the id {key}")
        yield (row.role, "", child.user_id)


def _renamed(person: Person, row: RosterRow) -> Person:
    return replace(
        person,
        family=row.family,
        given=row.given,
        patronymic=row.patronymic or person.patronymic,
        roster_key=row.key or person.roster_key,
    )


def _hold(reading: _Reading, row: RosterRow, person: Person, scope: Scope, role: RoleRecord | None) -> None:
    if role is None:
        kind, class_id, child_id = scope
        given = RoleScope(role=Role(kind), class_id=class_id, child_id=child_id)
        _act(reading, "role", person, row.line, partial(_give_role, person.user_id, given))
        return
    reading.seen.add(role.role_id)
    if role.verified_until_ms is None or role.verified_until_ms < reading.terms.until_ms:
        _act(reading, "verify", person, row.line, partial(_renew, role.role_id))


def _move(reading: _Reading, row: RosterRow, person: Person, role: RoleRecord, scope: Scope) -> None:
    reading.seen.add(role.role_id)
    _act(reading, "move", person, row.line, partial(_move_pupil, person.user_id, scope[1]))


def _end(reading: _Reading, roles: Iterable[RoleRecord], line: int) -> None:
    for role in roles:
        _act(reading, "end", reading.school.people[role.user_id], line, partial(_end_role, role.role_id))


def _act(reading: _Reading, what: What, person: Person, line: int, change: Callable[[School, Pen], School]) -> None:
    reading.actions.append(Action(what=what, user_id=person.user_id, line=line, change=change))


def _take_in(person: Person, school: School, pen: Pen) -> School:
    return deeds.take_in(school, replace(person, created_ms=person.created_ms or pen.now_ms))


def _give_role(user_id: UserID, scope: RoleScope, school: School, pen: Pen) -> School:
    return deeds.give_role(school, user_id, scope, pen, verified=True)


def _renew(role_id: str, school: School, pen: Pen) -> School:
    return deeds.renew(school, [school.roles[role_id]], pen)


def _move_pupil(user_id: UserID, class_id: str, school: School, pen: Pen) -> School:
    moved = deeds.move(school, user_id, class_id, pen)
    return deeds.renew(moved, [role for role in moved.roles_of(user_id) if role.class_id == class_id], pen)


def _end_role(role_id: str, school: School, pen: Pen) -> School:
    return deeds.end_with_dependents(school, school.roles[role_id], pen)
