"""Whose turn it is to go into rooms of others from here.

Spec: server-server-api#joining-rooms
"""

from contextlib import suppress
from typing import Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from federation.ids import RoomID
from homeserver.rooms.turns import Turns

WAIT_S: Final = 20.0
"""How long what others tell of a room may be kept waiting by somebody's way into it."""


class Entries(Turns):
    """The turns of those who go into a room."""

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock

    async def wait_for(self, room_id: RoomID) -> bool:
        """Wait for those who are on the way into a room, but not for long; False when there is nobody."""
        if not self.is_taken(room_id):
            return False
        with suppress(TimeoutError):
            await Deferred.fromCoroutine(self._pass_by(room_id)).addTimeout(WAIT_S, self._clock)
        return True

    async def _pass_by(self, room_id: RoomID) -> None:
        async with self.of(room_id):
            return
