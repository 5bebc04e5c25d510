"""Guests: which rooms of cooperations are open to whom, who of elsewhere is in ours, and sending them away.

What is open to somebody is told to them alone. It follows from the tables of their own region, so that no other region
is asked, and learns who looks.

School: rows 63, 67, 68
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final

from msgspec import Struct

from federation.ids import RoomID, ServerName, UserID, server_of
from homeserver.policy import Conflict
from homeserver.schools.books import World
from homeserver.schools.cooperation.network import Network, Without
from homeserver.schools.cooperation.office import check_may_cooperate
from homeserver.schools.facts import Facts
from homeserver.schools.office import Asker
from homeserver.schools.rights import Action, find_standing, may
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Database, Txn
from homeserver.storage.schools import guests as table
from homeserver.storage.schools.cooperation import load_rooms_with
from homeserver.storage.schools.guests import OpenRoom

PAGE: Final = 100


class Opening(Struct, frozen=True, kw_only=True):
    """A room that is open to somebody: joined with its ID, by way of the `server` that hosts it."""

    room_id: RoomID
    name: str
    kind: str
    titles: tuple[str, ...]
    server: ServerName
    until_ms: int


class Guest(Struct, frozen=True, kw_only=True):
    """Somebody of elsewhere in rooms of ours, with the role that their region vouches for; None: it is this one."""

    user_id: UserID
    server: ServerName
    role: str | None
    rooms: tuple[RoomID, ...]


class Guests:
    """Knows what is open to people, and who is in."""

    def __init__(self, database: Database, facts: Facts, network: Network, world: World) -> None:
        self._database = database
        self._facts = facts
        self._network = network
        self._world = world

    async def find_open(self, by: UserID, after: str = "") -> tuple[list[Opening], str | None]:
        """A page of the rooms that somebody of ours may enter, from behind `after`; and where the next begins."""
        grants = await self._facts.grants(by)
        organisations = sorted({grant.org_id for grant in grants})
        rooms, is_more = await self._database.read(_load_open, organisations, self._world.now_ms(), after)
        openings = []
        for room_id, of_room in groupby(rooms, key=attrgetter("room_id")):
            place = await self._facts.place(room_id)
            if place is not None and may(find_standing(by, grants, place), Action.ENTER, place.kind):
                openings.append(_build_opening(list(of_room), place.host or self._world.server))
        return openings, rooms[-1].room_id if is_more else None

    async def list(self, asker: Asker, org_id: str, after: str = "") -> tuple[list[Guest], frozenset[UserID]]:
        """A page of the guests in an organisation's rooms, from behind `after`; and whom it has sent away.

        Raises: NotFound.
        """
        await check_may_cooperate(self._database, self._facts, asker, org_id)
        await self._database.write(append_audit, self._entry(asker, org_id, "look", "guests"))
        found = await self._database.read(table.load_guests, org_id, self._world.service, after, PAGE)
        guests = [_build_guest(list(rows)) for _, rows in groupby(found, key=attrgetter("user_id"))]
        return guests, await self._database.read(table.load_dismissed, org_id)

    async def dismiss(self, asker: Asker, org_id: str, user_id: UserID) -> None:
        """Send somebody of elsewhere away: out of all rooms that the organisation hosts, and into none of them again.

        Raises: NotFound; Conflict: it is one of its own, who is dismissed in its lists.
        """
        await check_may_cooperate(self._database, self._facts, asker, org_id)
        if any(grant.org_id == org_id for grant in await self._facts.grants(user_id)) or user_id == self._world.service:
            raise Conflict("M_INVALID_PARAM", "This is no guest: those of the organisation are dismissed by its lists")
        hosted = await self._database.read(table.load_hosted_rooms, org_id)
        inside = (await self._database.read(load_rooms_with, [user_id])).get(user_id, set())
        work = partial(_write_dismissal, self._entry(asker, org_id, "dismiss_guest", user_id), hosted)
        without = Without(people=frozenset({user_id}))
        await self._network.settle(hosted & inside, [work], without=without, why="dismissed as guest")

    async def readmit(self, asker: Asker, org_id: str, user_id: UserID) -> None:
        """Let somebody who was sent away come in again, as others may.

        Raises: NotFound.
        """
        await check_may_cooperate(self._database, self._facts, asker, org_id)
        hosted = await self._database.read(table.load_hosted_rooms, org_id)
        entry = self._entry(asker, org_id, "readmit_guest", user_id)
        await self._database.write(_write_readmission, entry, hosted)

    def _entry(self, asker: Asker, org_id: str, deed: str, subject: str) -> AuditEntry:
        now_ms = self._world.now_ms()
        return AuditEntry(org_id=org_id, at_ms=now_ms, done_by=asker.user_id, deed=deed, subject=subject)


def _load_open(txn: Txn, organisations: Sequence[str], now_ms: int, after: str) -> tuple[list[OpenRoom], bool]:
    """The next rooms that are open to some of these organisations, and whether there are more."""
    found = [room for each in organisations for room in table.load_open_rooms(txn, each, now_ms, after, PAGE + 1)]
    ids = sorted({room.room_id for room in found})
    page = frozenset(ids[:PAGE])
    return sorted((room for room in found if room.room_id in page), key=attrgetter("room_id")), len(ids) > PAGE


def _build_opening(of_room: Sequence[OpenRoom], server: ServerName) -> Opening:
    return Opening(
        room_id=of_room[0].room_id,
        name=of_room[0].name,
        kind=of_room[0].kind,
        titles=tuple(dict.fromkeys(room.title for room in of_room)),
        server=server,
        until_ms=max(room.until_ms for room in of_room),
    )


def _build_guest(rows: Sequence[table.Guest]) -> Guest:
    user_id = rows[0].user_id
    rooms = tuple(row.room_id for row in rows)
    return Guest(user_id=user_id, server=server_of(user_id), role=rows[0].role, rooms=rooms)


def _write_dismissal(entry: AuditEntry, hosted: frozenset[RoomID], txn: Txn) -> None:
    table.set_dismissed(txn, entry.org_id, UserID(entry.subject), UserID(entry.done_by), entry.at_ms)
    _tell(entry, hosted, txn)


def _write_readmission(txn: Txn, entry: AuditEntry, hosted: frozenset[RoomID]) -> None:
    table.remove_dismissed(txn, entry.org_id, UserID(entry.subject))
    _tell(entry, hosted, txn)


def _tell(entry: AuditEntry, hosted: frozenset[RoomID], txn: Txn) -> None:
    append_audit(txn, entry)
    people = frozenset({UserID(entry.subject)})
    txn.tell(SchoolChanged(position=txn.position(), people=people, rooms=hosted))
