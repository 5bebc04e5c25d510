"""One organisation as a value: its classes, people, roles and rooms.

`deeds` makes one school out of another; `changes_between` says which records that touched, for storage; `grants_in`
says what counts in it at a moment, for `rights`.

School: rows 1-6, 17
"""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from immutables import Map

from federation.ids import RoomID, UserID
from homeserver.policy import NotFound
from homeserver.schools.rights import Grant, Kind, Place, Role
from homeserver.storage.schools.ledger import Ledger
from homeserver.storage.schools.organisations import Organisation, SchoolClass
from homeserver.storage.schools.people import GrantRow, Person, RoleRecord
from homeserver.storage.schools.rooms import SchoolRoom


@dataclass(frozen=True, slots=True, kw_only=True)
class School:
    """An organisation's records by their ids: all that are current, and those that ended by the deed that made it.

    `held` are the ids of the roles of each person; `with_roles` keeps it so.
    """

    org: Organisation
    classes: Map[str, SchoolClass]
    people: Map[UserID, Person]
    roles: Map[str, RoleRecord]
    rooms: Map[RoomID, SchoolRoom]
    held: Map[UserID, tuple[str, ...]]

    @classmethod
    def of(cls, ledger: Ledger) -> Self:
        """The school those records make; the organisation's own is among them."""
        if ledger.org is None:
            raise ValueError("a school needs its organisation")
        school = cls(
            org=ledger.org,
            classes=Map((entry.class_id, entry) for entry in ledger.classes),
            people=Map((entry.user_id, entry) for entry in ledger.people),
            roles=Map(),
            rooms=Map((entry.room_id, entry) for entry in ledger.rooms),
            held=Map(),
        )
        return school.with_roles(ledger.roles)

    def with_roles(self, roles: Iterable[RoleRecord]) -> Self:
        """The school with these roles, new or changed."""
        kept, held = self.roles.mutate(), self.held.mutate()
        for role in roles:
            if role.role_id not in kept:
                held[role.user_id] = (*held.get(role.user_id, ()), role.role_id)
            kept[role.role_id] = role
        return dataclasses.replace(self, roles=kept.finish(), held=held.finish())

    def current_roles(self) -> Iterator[RoleRecord]:
        """The roles that have not ended, verified or not."""
        return (role for role in self.roles.values() if role.ended_ms is None)

    def roles_of(self, user_id: UserID) -> list[RoleRecord]:
        """The current roles of a person, verified or not."""
        roles = [self.roles[role_id] for role_id in self.held.get(user_id, ())]
        return [role for role in roles if role.ended_ms is None]

    def load_person(self, user_id: UserID) -> Person:
        """Somebody of this school.

        Raises: NotFound.
        """
        person = self.people.get(user_id)
        if person is None:
            raise NotFound("There is no such person")
        return person

    def load_class(self, class_id: str) -> SchoolClass:
        """A class of this school that has not left.

        Raises: NotFound.
        """
        school_class = self.classes.get(class_id)
        if school_class is None or school_class.closed_ms is not None:
            raise NotFound("There is no such class")
        return school_class

    def find_class(self, grade: int, letter: str) -> SchoolClass | None:
        """The class of that title, of the latest year; None when there is none, or it has left."""
        named = [
            entry
            for entry in self.classes.values()
            if (entry.grade, entry.letter) == (grade, letter) and entry.closed_ms is None
        ]
        return max(named, key=lambda entry: entry.year, default=None)


def display_name(school: School, user_id: UserID) -> str:
    """How the school shows a person: pupils without their patronymic. School: row 27"""
    person = school.people[user_id]
    if any(role.role == Role.PUPIL for role in school.roles_of(user_id)):
        return f"{person.family} {person.given}"
    return person.name


def place_of(room: SchoolRoom) -> Place:
    """The place that a school's room is."""
    return Place(
        kind=Kind(room.kind),
        org_id=room.org_id,
        class_id=room.class_id or None,
        owners=frozenset(UserID(person) for person in (room.owner, room.peer) if person),
        supervisor=UserID(room.supervisor) if room.supervisor else None,
    )


def build_grant(row: GrantRow) -> Grant:
    """The grant that a current, verified role gives until it expires."""
    return Grant(
        role=Role(row.role),
        org_id=row.org_id,
        class_id=row.class_id or None,
        child=UserID(row.child_id) if row.child_id else None,
        chats=row.pupil_chats_from is not None and row.grade >= row.pupil_chats_from,
    )


class Moment:
    """A school at some time: what counts in it for whom, found when it is asked for.

    It agrees with `storage.schools.people.load_grants`, which says the same of one person from the tables.
    """

    __slots__ = ("_grants", "now_ms", "school")

    def __init__(self, school: School, now_ms: int) -> None:
        self.school = school
        self.now_ms = now_ms
        self._grants: dict[UserID, tuple[Grant, ...]] = {}

    def grants(self, user_id: UserID) -> tuple[Grant, ...]:
        """What counts for that person in this school."""
        found = self._grants.get(user_id)
        if found is None:
            rows = (self._row(role) for role in self.school.roles_of(user_id))
            found = self._grants[user_id] = tuple(build_grant(row) for row in rows if row is not None)
        return found

    def _row(self, role: RoleRecord) -> GrantRow | None:
        if role.verified_until_ms is None or role.verified_until_ms <= self.now_ms:
            return None
        class_id = self._class_of_pupil(UserID(role.child_id)) if role.child_id else role.class_id
        if class_id is None:
            return None
        school_class = self.school.classes.get(class_id)
        return GrantRow(
            role=role.role,
            org_id=role.org_id,
            class_id=class_id,
            child_id=role.child_id,
            until_ms=role.verified_until_ms,
            grade=school_class.grade if school_class else 0,
            pupil_chats_from=self.school.org.pupil_chats_from,
        )

    def _class_of_pupil(self, child: UserID) -> str | None:
        return next((role.class_id for role in self.school.roles_of(child) if role.role == Role.PUPIL), None)


def changes_between(before: School | None, after: School) -> Ledger:
    """The records of `after` that are new or other than before."""
    if before is None:
        return Ledger(
            org=after.org,
            classes=list(after.classes.values()),
            people=list(after.people.values()),
            roles=list(after.roles.values()),
            rooms=list(after.rooms.values()),
        )
    return Ledger(
        org=None if after.org is before.org else after.org,
        classes=[c for c in after.classes.values() if before.classes.get(c.class_id) is not c],
        people=[p for p in after.people.values() if before.people.get(p.user_id) is not p],
        roles=[r for r in after.roles.values() if before.roles.get(r.role_id) is not r],
        rooms=[r for r in after.rooms.values() if before.rooms.get(r.room_id) is not r],
    )


def touched_by(changed: Ledger, after: School) -> frozenset[UserID]:
    """Everybody for whom something else may count, or who is called otherwise, since those records changed.

    With a pupil's class the parents' changes, with a class that of all who are in it.
    """
    classes = {entry.class_id for entry in changed.classes}
    pupils = {r.user_id for r in changed.roles if r.role == Role.PUPIL}
    people = {role.user_id for role in changed.roles} | {person.user_id for person in changed.people}
    for room in changed.rooms:
        people |= {UserID(person) for person in (room.owner, room.peer, room.supervisor) if person}
    if classes:
        of_class = [role for role in after.current_roles() if role.class_id in classes]
        people |= {role.user_id for role in of_class}
        pupils |= {role.user_id for role in of_class if role.role == Role.PUPIL}
    if pupils:
        people |= {role.user_id for role in after.current_roles() if role.child_id in pupils}
    return frozenset(people)
