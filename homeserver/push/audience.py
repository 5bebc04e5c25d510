"""Who of a room is to be notified through pushers: found once for a room, then kept by what changes.

A message so costs nothing for the members who have none.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final

from federation.ids import RoomID, UserID
from homeserver.rooms.room import Room

MOST_ROOMS: Final = 20_000
"""Of how many rooms it is remembered."""


class Audience:
    """By room, the joined members who have pushers; `people` are all who have some, kept by its owner."""

    def __init__(self, people: Collection[UserID], find_live: Callable[[str], Room | None]) -> None:
        self._people = people
        self._find_live = find_live
        self._rooms: OrderedDict[RoomID, dict[UserID, None]] = OrderedDict()

    def of(self, room: Room) -> Collection[UserID]:
        """The joined members of that room who have pushers."""
        known = self._rooms.get(room.room_id)
        if known is None:
            known = self._rooms[room.room_id] = self._search(room)
            if len(self._rooms) > MOST_ROOMS:
                self._rooms.popitem(last=False)
        else:
            self._rooms.move_to_end(room.room_id)
        return known

    def move(self, room_id: RoomID, user_id: UserID, *, joined: bool) -> None:
        """Somebody joined that room, or is there no longer."""
        known = self._rooms.get(room_id)
        if known is None:
            return
        if joined and user_id in self._people:
            known[user_id] = None
        else:
            known.pop(user_id, None)

    def forget_room(self, room_id: RoomID) -> None:
        """The members of that room are to be found anew."""
        self._rooms.pop(room_id, None)

    def add(self, user_id: UserID) -> None:
        """Somebody has pushers from now on."""
        for room_id, known in tuple(self._rooms.items()):
            room = self._find_live(room_id)
            if room is None:
                del self._rooms[room_id]
            elif user_id in room.shown.joined:
                known[user_id] = None

    def remove(self, user_id: UserID) -> None:
        """Somebody has no pushers any more."""
        for known in self._rooms.values():
            known.pop(user_id, None)

    def _search(self, room: Room) -> dict[UserID, None]:
        joined = room.shown.joined
        if len(self._people) < len(joined):
            return {user_id: None for user_id in self._people if user_id in joined}
        return {user_id: None for user_id in joined if user_id in self._people}
