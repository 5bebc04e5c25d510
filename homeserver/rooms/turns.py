"""Whose turn it is in a room, where one thing after the other must be done."""

from twisted.internet.defer import DeferredLock

from federation.ids import RoomID


class Turns:
    """Whose turn it is in each room: one at a time."""

    def __init__(self) -> None:
        self._locks: dict[RoomID, DeferredLock] = {}

    def of(self, room_id: RoomID) -> "Turn":
        """The turn in that room, an asynchronous context."""
        return Turn(self._locks, room_id)

    def is_taken(self, room_id: RoomID) -> bool:
        """Whether it is somebody's turn in that room."""
        return room_id in self._locks

    @property
    def taken(self) -> int:
        """In how many rooms it is somebody's turn."""
        return len(self._locks)


class Turn:
    """Waits for its turn in a room, and lets the next have theirs."""

    def __init__(self, locks: dict[RoomID, DeferredLock], room_id: RoomID) -> None:
        self._locks = locks
        self._room_id = room_id

    async def __aenter__(self) -> None:
        await self._locks.setdefault(self._room_id, DeferredLock()).acquire()

    async def __aexit__(self, *_: object) -> None:
        lock = self._locks[self._room_id]
        lock.release()  # those who wait may have their turn and end it within this
        if not lock.locked and self._locks.get(self._room_id) is lock:
            del self._locks[self._room_id]
