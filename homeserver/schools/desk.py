"""The desk at which a school is changed: one deed at a time, each in one unit of work.

A deed changes the school's tables, the memberships and powers in its rooms, the accounts and sessions of those it is
about and the audit log together, or nothing. So there is no order in which a crash could leave somebody inside:
before the commit nothing has happened, after it the tables refuse (`gate`), the rooms refuse (Matrix rules) and the
sessions are gone. Rooms that come newly into being follow, each in a unit of its own; `settle` makes those that a
crash left out, and can be repeated as often as one likes.

School: rows 1, 2, 6, 24
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from msgspec.structs import replace
from twisted.internet.defer import DeferredLock

from federation.ids import RoomID, UserID
from federation.versions import ROOM_VERSIONS
from homeserver.policy import Hidden, NotFound
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Changes, Rooms
from homeserver.rooms.seal import Draft
from homeserver.schools.books import Deed, Entry, Step, World, build_step
from homeserver.schools.deeds import Pen, add_room
from homeserver.schools.enrolment import (
    Registrar,
    Roll,
    build_admission,
    build_drafts,
    build_roll,
    build_rolls,
    may_be_direct,
    tidy_direct_rooms,
)
from homeserver.schools.facts import Facts
from homeserver.schools.rooms import VERSION, Founder, RoomKey, build_beginning, find_parent, needed_rooms, room_keys
from homeserver.schools.school import Moment, School, changes_between, place_of, touched_by
from homeserver.schools.visitors import Visitors
from homeserver.storage.accounts import NewAccount, append_account
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Database, Txn
from homeserver.storage.schools.ledger import Ledger, find_ledger
from homeserver.storage.schools.organisations import Organisation, load_organisations
from homeserver.storage.schools.rooms import SchoolRoom, load_people_in_rooms, set_school_room

Plan: TypeAlias = Callable[[School], Iterable[Deed]]

_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRoom:
    """A room somebody asks for: who is to supervise it, and which events it is to begin with besides the usual."""

    key: RoomKey
    asker: UserID
    supervisor: UserID | None = None
    extra: Sequence[Draft] = ()


class Desk:
    """Changes schools: one deed at a time in each, in the order of asking."""

    def __init__(
        self, database: Database, rooms: Rooms, facts: Facts, world: World, visitors: Visitors | None = None
    ) -> None:
        self._visitors = visitors
        self._database = database
        self._rooms = rooms
        self._facts = facts
        self.world = world
        self._locks: dict[str, DeferredLock] = {}

    async def load(self, org_id: str) -> School:
        """The school as it is.

        Raises: NotFound.
        """
        ledger = await self._database.read(find_ledger, org_id)
        if ledger is None:
            raise NotFound("There is no such organisation")
        return School.of(ledger)

    async def found(self, org: Organisation, by: UserID) -> School:
        """Bring a new school into being, with its rooms."""
        async with self._lock(org.org_id):
            school, pen = School.of(Ledger(org=org)), self.world.pen(by)
            deed = Deed(entries=[Entry("found", org.org_id, {"name": org.name})])
            await self._write(school, {}, build_step(None, school, deed, pen))
            return await self._complete(school)

    async def perform(self, org_id: str, by: UserID, plan: Plan) -> School:
        """Do the deeds that the plan makes of the school, each in a unit of its own; the school afterwards.

        Raises: NotFound, and what the deeds raise: then those before it are done.
        """
        async with self._lock(org_id):
            school = await self.load(org_id)
            for deed in plan(school):
                school = await self._do(school, deed, self.world.pen(by, deed.source))
            return await self._complete(school)

    async def settle(self, org_id: str, *, thorough: bool = True) -> School:
        """Put right what in the rooms disagrees with the school: verifications that ran out, rooms that are missing.

        Not `thorough`, only rooms are looked at in which there are others than belong there.
        """
        async with self._lock(org_id):
            school, pen = await self.load(org_id), self.world.pen(self.world.service)
            after = tidy_direct_rooms(Moment(school, pen.now_ms), None, pen)
            rolls = build_rolls(Moment(after, pen.now_ms))
            if not thorough:
                present = await self._database.read(load_people_in_rooms, org_id)
                rolls = {r: roll for r, roll in rolls.items() if not self._agrees(roll, present.get(r, set()))}
            if rolls or after is not school:
                await self._write(after, rolls, build_step(school, after, Deed(), pen))
            return await self._complete(after)

    async def settle_all(self) -> None:
        """Open the service account if it is not there, and settle every school: what a start begins with."""
        account = NewAccount(user_id=self.world.service, created_ms=self.world.now_ms(), kind="server")
        await self._database.write(append_account, account)
        after = ""
        while page := await self._database.read(load_organisations, after, _PAGE):
            for org in page:
                await self.settle(org.org_id, thorough=False)
            after = page[-1].org_id

    async def open_room(self, org_id: str, wanted: WantedRoom) -> RoomID:
        """The open room of that key, made if there is none yet; the asker is in it then, even after having left.

        Raises: Hidden: meanwhile the two may no longer write to each other.
        """
        async with self._lock(org_id):
            school = await self.load(org_id)
            if not may_be_direct(Moment(school, self.world.now_ms()), wanted.key, wanted.supervisor):
                raise Hidden
            found = room_keys(school).get(wanted.key)
            if found is None:
                return room_keys(await self._open(school, wanted))[wanted.key]
            room = await self._rooms.load(found)
            if room is not None and wanted.asker not in room.head.joined:
                admission = build_admission(wanted.asker, wanted.key.kind, self._registrar(school))
                await self._rooms.commit([(room, list(admission))])
            return found

    def _lock(self, org_id: str) -> DeferredLock:
        return self._locks.setdefault(org_id, DeferredLock())

    def _agrees(self, roll: Roll, present: Set[UserID]) -> bool:
        return roll.enrolled <= present <= roll.allowed | {self.world.service}

    async def _do(self, school: School, deed: Deed, pen: Pen) -> School:
        """Do a deed in one unit of work, with all that follows from it in the rooms that are there."""
        after = deed.change(school, pen)
        touched = touched_by(changes_between(school, after), after)
        after = tidy_direct_rooms(Moment(after, pen.now_ms), touched, pen)
        step = build_step(school, after, deed, pen)
        about = step.changed.people
        old, new = (build_rolls(Moment(value, pen.now_ms), about) for value in (school, after))
        differing = {
            room_id: roll
            for room_id, roll in new.items()
            if old.get(room_id) != roll or not roll.enrolled.isdisjoint(step.names)
        }
        await self._write(after, differing, step)
        return after

    async def _write(self, school: School, rolls: Mapping[RoomID, Roll], step: Step) -> None:
        """Write a step with the events that follow from it; meanwhile nobody is judged by what was before."""
        with self._facts.holding(step.changed.people):
            await self._rooms.commit(await self._changes(school, rolls), [step.write])
            self._facts.heed([step.changed])

    async def _changes(self, school: School, rolls: Mapping[RoomID, Roll]) -> Changes:
        """The events that make those rooms agree with their rolls."""
        loaded = [
            (room, await self._with_visitors(school, room, roll))
            for room_id, roll in rolls.items()
            if (room := await self._rooms.load(room_id))
        ]
        registrar = self._registrar(school)
        return [(room, list(build_drafts(roll, room.head.state, registrar))) for room, roll in loaded]

    async def _with_visitors(self, school: School, room: Room, roll: Roll) -> Roll:
        """The same roll, by which the application services stay that may be there."""
        record = school.rooms.get(room.room_id)
        if self._visitors is None or record is None or record.closed_ms is not None:
            return roll
        there = await self._visitors.among(room.head.joined, room.room_id, place_of(record))
        return dataclasses.replace(roll, allowed=roll.allowed | there) if there else roll

    def _registrar(self, school: School) -> Registrar:
        return Registrar(service=self.world.service, server=self.world.server, school=school)

    async def _complete(self, school: School) -> School:
        """Make the rooms that are missing, and show them in their spaces."""
        missing = [key for key in needed_rooms(school) if key not in room_keys(school)]
        for key in missing:
            school = await self._open(school, WantedRoom(key=key, asker=self.world.service))
        return school

    async def _open(self, school: School, wanted: WantedRoom) -> School:
        """Make a room with everybody in it who belongs there, then show it in its space."""
        key = wanted.key
        parent = find_parent(school, key)
        record = SchoolRoom(
            room_id=RoomID(""),
            org_id=school.org.org_id,
            class_id=key.class_id,
            kind=key.kind,
            owner=key.owner,
            peer=key.peer,
            supervisor=wanted.supervisor or "",
            created_ms=self.world.now_ms(),
        )
        founder = Founder(service=self.world.service, server=self.world.server, nonce=self.world.new_id())
        drafts = [
            *build_beginning(key.kind, founder, parent),
            *build_drafts(build_roll(Moment(school, record.created_ms), record), {}, self._registrar(school)),
            *wanted.extra,
        ]
        live = await self._rooms.create(
            ROOM_VERSIONS[VERSION],
            drafts,
            kind=key.kind,
            also=lambda live: [partial(_append_room, record, live.room_id)],
        )
        school = add_room(school, replace(record, room_id=live.room_id))
        if parent is not None:
            roll = build_roll(Moment(school, record.created_ms), school.rooms[parent])
            await self._rooms.commit(await self._changes(school, {parent: roll}))
        return school


def _append_room(record: SchoolRoom, room_id: RoomID, txn: Txn) -> None:
    """Part of the unit that makes a room: what it is for."""
    set_school_room(txn, replace(record, room_id=room_id))
    txn.tell(SchoolChanged(position=txn.position(), people=frozenset(), rooms=frozenset({room_id})))
