"""Who is typing, in memory only.

Spec: client-server-api#typing-notifications
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from twisted.internet.interfaces import IDelayedCall

from federation.ids import RoomID, UserID
from homeserver.policy import Ephemeral, Hidden, Policy, RoomFacts
from homeserver.storage.changes import EventAdded
from homeserver.storage.database import Change
from homeserver.streams import Clock, Streams

DEFAULT_MS: Final = 30_000
LONGEST_MS: Final = 120_000


class Typing:
    """The people who are typing, by room; each stops by themselves or when their time is over."""

    def __init__(
        self, streams: Streams, policy: Policy, load_room: Callable[[str], Awaitable[RoomFacts | None]], clock: Clock
    ) -> None:
        self._streams = streams
        self._policy = policy
        self._load_room = load_room
        self._clock = clock
        self._ends: dict[RoomID, dict[UserID, IDelayedCall]] = {}

    def users(self, room_id: RoomID) -> tuple[UserID, ...]:
        """Who is typing in that room, the longest first."""
        return tuple(self._ends.get(room_id, ()))

    async def begin(self, by: UserID, room_id: str, timeout_ms: int = DEFAULT_MS) -> None:
        """Somebody types, for at most so long unless they say so again.

        Raises:
            Refused: they are not in the room, or may not tell it anything.

        Spec: client-server-api#put_matrixclientv3roomsroomidtypinguserid
        """
        room = await self._check(by, room_id)
        ends = self._ends.setdefault(room.room_id, {})
        before = ends.get(by)
        timeout_s = min(max(timeout_ms, 0), LONGEST_MS) / 1000
        if before is not None:
            before.reset(timeout_s)
            return
        ends[by] = self._clock.callLater(timeout_s, self._stop, room.room_id, by)
        self._streams.stir(room.room_id)

    async def end(self, by: UserID, room_id: str) -> None:
        """Somebody has stopped typing.

        Raises:
            Refused: they are not in the room, or may not tell it anything.

        Spec: client-server-api#put_matrixclientv3roomsroomidtypinguserid
        """
        room = await self._check(by, room_id)
        self._stop(room.room_id, by)

    def heed(self, changes: Iterable[Change]) -> None:
        """Who leaves a room types there no more."""
        for change in changes:
            if isinstance(change, EventAdded) and change.event.event.membership in ("leave", "ban"):
                event = change.event.event
                self._stop(event.room_id, UserID(event.state_key or ""))

    def close(self) -> None:
        """Everybody stops."""
        for room_id, ends in tuple(self._ends.items()):
            for user_id in tuple(ends):
                self._stop(room_id, user_id)

    async def _check(self, by: UserID, room_id: str) -> RoomFacts:
        room = await self._load_room(room_id)
        if room is None or room.membership(by) != "join":
            raise Hidden
        await self._policy.check(Ephemeral(by=by, room=room, type="m.typing"))
        return room

    def _stop(self, room_id: RoomID, user_id: UserID) -> None:
        ends = self._ends.get(room_id, {})
        end = ends.pop(user_id, None)
        if end is None:
            return
        if end.active():
            end.cancel()
        if not ends:
            del self._ends[room_id]
        self._streams.stir(room_id)
