"""What the gate must know of people and rooms, kept in memory and dropped when a commit changes it."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from twisted.internet.defer import Deferred

from federation.ids import RoomID, ServerName, UserID, server_of
from homeserver.schools.agreements import Agreement, Voucher
from homeserver.schools.rights import COOPERATIVE, Grant, Kind, Place, Role
from homeserver.schools.school import build_grant, place_of
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Change, Database, Txn
from homeserver.storage.schools.claims import load_held
from homeserver.storage.schools.cooperation import Cooperation, load_cooperations_of_room, load_pupils
from homeserver.storage.schools.guests import load_dismissed
from homeserver.storage.schools.people import has_person, load_grants
from homeserver.storage.schools.rooms import find_school_room

MOST_KEPT: Final = 200_000
"""How many people and how many rooms are kept; the one learned of the longest ago goes first."""
_TRIES: Final = 8

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The grants of a person with the time each of them ends; `first_end_ms` is the earliest."""

    grants: tuple[Grant, ...]
    ends_ms: tuple[int, ...]
    first_end_ms: int

    def at(self, now_ms: int) -> tuple[Grant, ...]:
        """The grants that count at that time. School: decided 2"""
        if now_ms < self.first_end_ms:
            return self.grants
        return tuple(grant for grant, end in zip(self.grants, self.ends_ms, strict=True) if now_ms < end)


class _Hold:
    """People about whom something is about to change, and who waits to learn what."""

    __slots__ = ("people", "waiting")

    def __init__(self, people: Set[UserID]) -> None:
        self.people = people
        self.waiting: list[Deferred[None]] = []


class Facts:
    """The grants of people and the places of rooms.

    The composition root hands `heed` the changes of each commit, as `Database.on_commit` brings them; nothing that was
    read before a change and may be older than it is kept or given out. `may_talk`: which regions there is anything to
    do with.
    """

    def __init__(self, database: Database, now_ms: Callable[[], int], *, most_kept: int = MOST_KEPT) -> None:
        self._database = database
        self._most_kept = most_kept
        self.now_ms = now_ms
        self.may_talk: Callable[[ServerName], bool] = _with_everybody
        self._people: dict[UserID, Holding] = {}
        self._vouchers: dict[UserID, tuple[Voucher, ...]] = {}
        self._places: dict[RoomID, Place | None] = {}
        self._changes = 0
        self._holds: list[_Hold] = []

    async def grants(self, user_id: UserID) -> tuple[Grant, ...]:
        """What counts for that person now; nothing for one whom no school knows."""
        await self._wait(user_id)
        holding = self._people.get(user_id)
        if holding is None:
            holding = await self._learn(self._people, user_id, _load_holding)
        return holding.at(self.now_ms())

    async def vouchers(self, user_id: UserID) -> tuple[Voucher, ...]:
        """What another region vouches for of that person of its own, some of which may have run out; nothing while
        there is nothing to do with that region.
        """
        await self._wait(user_id)
        if not self.may_talk(server_of(user_id)):
            return ()
        held = self._vouchers.get(user_id)
        return await self._learn(self._vouchers, user_id, _load_vouchers) if held is None else held

    async def is_known(self, user_id: UserID) -> bool:
        """Whether a school keeps a record of that person, whatever counts for them now."""
        return await self._database.read(has_person, user_id)

    async def place(self, room_id: RoomID) -> Place | None:
        """What that room is for; None when it is no school's, closed, or of a region that this one has nothing to do
        with any more. Agreements are those in force now.
        """
        if room_id in self._places:
            place = self._places[room_id]
        else:
            place = await self._learn(self._places, room_id, _find_place)
        if place is None or place.kind not in COOPERATIVE:
            return place
        return _at(place, self.now_ms()) if place.host is None or self.may_talk(place.host) else None

    @contextmanager
    def holding(self, people: Set[UserID]) -> Iterator[None]:
        """Let whoever asks about these people wait until what is being written about them is written.

        So nobody passes by what is true no more while the rooms are already being told.
        """
        hold = _Hold(people)
        self._holds.append(hold)
        try:
            yield
        finally:
            self._holds.remove(hold)
            for waiter in hold.waiting:
                waiter.callback(None)

    async def _wait(self, user_id: UserID) -> None:
        while (hold := self._find_hold(user_id)) is not None:
            waiter: Deferred[None] = Deferred()
            hold.waiting.append(waiter)
            await waiter

    def _find_hold(self, user_id: UserID) -> _Hold | None:
        return next((hold for hold in self._holds if user_id in hold.people), None) if self._holds else None

    def heed(self, changes: Iterable[Change]) -> None:
        """Forget what a commit has changed."""
        for change in changes:
            if isinstance(change, SchoolChanged):
                self._changes += 1
                for user_id in change.people:
                    self._people.pop(user_id, None)
                    self._vouchers.pop(user_id, None)
                for room_id in change.rooms:
                    self._places.pop(room_id, None)

    async def _learn(self, kept: dict[K, V], key: K, load: Callable[[Txn, K], V]) -> V:
        for _ in range(_TRIES):
            changes = self._changes
            found = await self._database.read(load, key)
            if changes == self._changes:  # else it may be older than what was just forgotten
                if len(kept) >= self._most_kept:
                    del kept[next(iter(kept))]
                kept[key] = found
                break
        return found


def _with_everybody(server: ServerName) -> bool:
    return True


def _load_holding(txn: Txn, user_id: UserID) -> Holding:
    rows = load_grants(txn, user_id)
    return Holding(
        grants=tuple(build_grant(row) for row in rows),
        ends_ms=tuple(row.until_ms for row in rows),
        first_end_ms=min((row.until_ms for row in rows), default=2**62),
    )


def _load_vouchers(txn: Txn, user_id: UserID) -> tuple[Voucher, ...]:
    return tuple(
        Voucher(cooperation_id=claim.cooperation_id, role=claim.role, until_ms=claim.valid_until_ms)
        for claim in load_held(txn, user_id)
    )


def _find_place(txn: Txn, room_id: RoomID) -> Place | None:
    room = find_school_room(txn, room_id)
    if room is None:
        return _find_shared_place(txn, room_id)
    return None if room.closed_ms is not None else place_of(room)


def _find_shared_place(txn: Txn, room_id: RoomID) -> Place | None:
    shared = [each for each in load_cooperations_of_room(txn, room_id) if each.is_agreed and not each.is_ended]
    if not shared:
        return None
    hosted = next((each for each in shared if each.is_hosted), None)
    return Place(
        kind=Kind(shared[0].kind),
        org_id=(hosted or shared[0]).org_id,
        agreements=tuple(build_agreement(each, load_pupils(txn, each)) for each in shared),
        host=None if hosted is not None else shared[0].peer_server,
        dismissed=frozenset() if hosted is None else load_dismissed(txn, hosted.org_id),
    )


def build_agreement(cooperation: Cooperation, pupils: frozenset[UserID]) -> Agreement:
    """What a cooperation says of who belongs in its rooms. Administrators always do: they answer for it."""
    return Agreement(
        cooperation_id=cooperation.cooperation_id,
        org_id=cooperation.org_id,
        server=cooperation.peer_server,
        roles=frozenset({*cooperation.roles.split(","), Role.ADMINISTRATOR.value}),
        until_ms=cooperation.until_ms,
        pupils=pupils,
    )


def _at(place: Place, now_ms: int) -> Place | None:
    """A room of cooperations with those that are in force at that time; None when there is none."""
    current = tuple(each for each in place.agreements if now_ms < each.until_ms)
    if len(current) == len(place.agreements):
        return place
    return replace(place, agreements=current) if current else None
