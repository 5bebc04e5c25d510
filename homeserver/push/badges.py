"""The number on the icon: how many notifications wait for a person in all their rooms together.

Counted once from the tables, then carried on; a room where memory does not tell is counted again when it is asked for.
"""

from collections import OrderedDict
from typing import Final

from twisted.internet.defer import DeferredLock

from federation.ids import RoomID, UserID
from homeserver.push.counts import Counts
from homeserver.storage.database import Database
from homeserver.storage.unread import MOST_NEW
from homeserver.streams.streams import load_joined_rooms

MOST_KNOWN: Final = 20_000
"""Of how many people the number is at hand."""


class _Badge:
    """By room: as of which position, and how many. Rooms that are `stale` are to be counted, or counted again.

    `turn` is held while somebody counts.
    """

    __slots__ = ("counting", "is_new", "rooms", "stale", "turn")

    def __init__(self) -> None:
        self.rooms: dict[RoomID, tuple[int, int]] = {}
        self.stale: set[RoomID] = set()
        self.counting: set[RoomID] = set()
        self.is_new = True
        self.turn = DeferredLock()


class Badges:
    """Everybody's number, as far as somebody has asked for it."""

    def __init__(self, database: Database, counts: Counts) -> None:
        self._database = database
        self._counts = counts
        self._known: OrderedDict[UserID, _Badge] = OrderedDict()

    async def total(self, user_id: UserID) -> int:
        """How many notifications wait for a person.

        Raises: StorageUnavailable.
        """
        badge = self._known.get(user_id)
        if badge is None:
            badge = self._known[user_id] = _Badge()
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        if badge.is_new or badge.stale or badge.counting:
            await badge.turn.acquire()
            try:
                await self._bring_up(badge, user_id)
            finally:
                badge.turn.release()
        return sum(number for _, number in badge.rooms.values())

    async def _bring_up(self, badge: _Badge, user_id: UserID) -> None:
        if badge.is_new:
            badge.stale.update(await self._database.read(load_joined_rooms, user_id))
            badge.is_new = False
        while badge.stale:
            await self._count(badge, user_id)

    async def _count(self, badge: _Badge, user_id: UserID) -> None:
        rooms, badge.stale = badge.stale, set()
        badge.counting |= rooms
        try:
            counted = await self._counts.load(user_id, rooms)
        except BaseException:
            badge.stale |= rooms
            raise
        finally:
            badge.counting -= rooms
        for room_id, unread in counted.items():
            badge.rooms[room_id] = unread.upto, unread.total[0]

    def add(self, user_id: UserID, room_id: RoomID, stream: int) -> None:
        """Another notification waits, of the event at that position."""
        badge = self._known.get(user_id)
        if badge is None:
            return
        if room_id in badge.counting or room_id not in badge.rooms:
            badge.stale.add(room_id)
            return
        upto, number = badge.rooms[room_id]
        if stream > upto:
            badge.rooms[room_id] = stream, min(number + 1, MOST_NEW)

    def spoil(self, user_id: UserID, room_id: RoomID) -> None:
        """Something happened in that room that only the tables can tell the number after."""
        badge = self._known.get(user_id)
        if badge is not None:
            badge.stale.add(room_id)

    def waits(self, user_id: UserID, room_id: RoomID) -> bool:
        """Whether something waits there, or might."""
        badge = self._known.get(user_id)
        return badge is not None and (badge.is_new or room_id in badge.stale or badge.rooms.get(room_id, (0, 1))[1] > 0)

    def forget(self, user_id: UserID) -> None:
        """Count anew when somebody asks for it."""
        self._known.pop(user_id, None)
