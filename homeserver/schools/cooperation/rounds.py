"""What cooperation needs again and again: sides told, claims renewed and taken back, rooms put right.

A round is soon after something has changed, and every minute; once an hour, and at the start, it looks at everything.
What it does follows from the tables alone, so that it can be cut off anywhere and be begun again.

School: rows 63, 67, 68
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from federation.errors import Refused
from federation.ids import RoomID, ServerName, UserID
from homeserver.policy import Invalid
from homeserver.schools.books import World
from homeserver.schools.cooperation.claims import Claims
from homeserver.schools.cooperation.network import Network
from homeserver.schools.cooperation.notices import Notices
from homeserver.storage.changes import EventAdded, SchoolChanged
from homeserver.storage.database import Change, Database, StorageUnavailable
from homeserver.storage.schools.cooperation import load_rooms_page, load_rooms_with
from homeserver.storage.schools.guests import Tally, count_cooperations, load_hosts, load_rooms_of_hosts

EVERY_S: Final = 60.0
_ALL_MS: Final = 60 * 60 * 1000
_PAGE: Final = 100

_log: Final = logging.getLogger(__name__)


class Rounds:
    """Goes on rounds through what organisations share."""

    def __init__(
        self,
        database: Database,
        parts: tuple[Network, Notices, Claims],
        world: World,
        reactor: IReactorTime,
        may_talk: Callable[[ServerName], bool],
    ) -> None:
        self._database = database
        self._network, self._notices, self._claims = parts
        self.world = world
        self.may_talk = may_talk
        self._reactor = reactor
        self._loop = LoopingCall(self._begin)
        self._loop.clock = reactor
        self._turn = DeferredLock()
        self._going: Deferred[None] | None = None
        self._is_wanted = False
        self._stopped = True
        self._all_at_ms = 0
        self._people: set[UserID] = set()
        self._rooms: set[RoomID] = set()
        self._tally: Tally | None = None

    def start(self) -> None:
        """Go on rounds from now on; the first looks at everything."""
        self._stopped = False
        self._loop.start(EVERY_S, now=True)

    def stop(self) -> None:
        """Go on no more rounds; one that is on its way is given up."""
        self._stopped = True
        if self._loop.running:
            self._loop.stop()
        if self._going is not None:
            self._going.cancel()

    def hurry(self, people: Iterable[UserID] = ()) -> None:
        """Go now: somebody has changed something. Nobody waits for it, the other region may be far."""
        self._people |= set(people)
        self._begin()

    def heed(self, changes: Iterable[Change]) -> None:
        """Look at who has other roles now, and at the rooms of cooperations that somebody has come into."""
        if self._stopped:
            return
        seen = len(self._people) + len(self._rooms)
        for change in changes:
            if isinstance(change, SchoolChanged):
                self._people |= change.people
                self._rooms |= change.rooms
            elif isinstance(change, EventAdded):
                held = change.event
                if held.event.type == "m.room.member" and held.event.membership == "join":
                    self._rooms |= self._network.find_shared(held.event.room_id)
        if len(self._people) + len(self._rooms) > seen:
            self._reactor.callLater(0, self._begin)

    def measure(self) -> dict[str, float]:
        """Sizes for the metrics, as the last round has found them; nothing before the first."""
        if self._tally is None:
            return {}
        return {
            "cooperations_waiting": self._tally.waiting,
            "cooperations_in_force": self._tally.in_force,
            "cooperations_ended": self._tally.ended,
            "cooperations_untold": self._tally.untold,
            "cooperation_guests": self._tally.guests,
            **self._claims.measure(),
        }

    async def go(self) -> None:
        """One round: what has changed since the last, and everything once an hour. First what needs nobody else, then
        whom others must not trust any more.
        """
        async with self._turn:
            people, self._people = self._people, set()
            rooms, self._rooms = self._rooms, set()
            looked_ms, self._all_at_ms = self._all_at_ms, 0  # a round that is cut off is made up for by a whole one
            everything = self.world.now_ms() - looked_ms >= _ALL_MS
            if everything:
                looked_ms = self.world.now_ms()
                left = await self._settle_all()
            else:
                found = await self._database.read(load_rooms_with, sorted(people))
                left = await self._network.settle_each(rooms.union(*found.values(), await self._load_refused()))
            untold = await self._claims.recall(None if everything else people)
            await self._notices.tell()
            await self._claims.renew()
            self._people |= untold
            self._rooms |= left
            self._tally = await self._database.read(count_cooperations, self.world.now_ms())
            self._all_at_ms = looked_ms

    async def _load_refused(self) -> list[RoomID]:
        """The rooms of regions that this one has nothing to do with any more."""
        hosts = await self._database.read(load_hosts)
        refused = [host for host in hosts if not self.may_talk(host)]
        return await self._database.read(load_rooms_of_hosts, refused) if refused else []

    async def _settle_all(self) -> set[RoomID]:
        after, left = "", set[RoomID]()
        while page := await self._database.read(load_rooms_page, after, _PAGE):
            left |= await self._network.settle_each(page)
            after = page[-1]
        return left

    def _begin(self) -> None:
        if self._stopped:
            return
        if self._going is not None:
            self._is_wanted = True
            return
        self._is_wanted = False
        self._going = Deferred.fromCoroutine(self._try())
        self._going.addErrback(_note_end).addBoth(self._end)

    def _end(self, _: object) -> None:
        self._going = None
        if self._is_wanted:
            self._begin()

    async def _try(self) -> None:
        try:
            await self.go()
        except (StorageUnavailable, Refused, Invalid) as fault:
            _log.warning("cooperations were not seen to, but will be the next time: %s", fault)


def _note_end(failure: Failure) -> None:
    if not isinstance(failure.value, CancelledError):
        _log.error("cooperations were not seen to", exc_info=failure.value)
