"""What is done for another server in a room only now and then, however often it gives cause."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from federation.ids import RoomID, ServerName

MOST_REMEMBERED: Final = 1_000


class Seldom:
    """When something was last done, by room and server; it is not done again for `again_ms`."""

    def __init__(self, now_ms: Callable[[], int], again_ms: int) -> None:
        self._now_ms = now_ms
        self._again_ms = again_ms
        self._next_ms: OrderedDict[tuple[RoomID, ServerName], int] = OrderedDict()

    def may(self, room_id: RoomID, server: ServerName) -> bool:
        """Whether it is to be done now; then it is taken as done."""
        key, now_ms = (room_id, server), self._now_ms()
        if now_ms < self._next_ms.get(key, 0):
            return False
        self._next_ms[key] = now_ms + self._again_ms
        self._next_ms.move_to_end(key)
        if len(self._next_ms) > MOST_REMEMBERED:
            self._next_ms.popitem(last=False)
        return True

    def forget(self, room_id: RoomID, server: ServerName) -> None:
        """It came to nothing, and may be done again."""
        self._next_ms.pop((room_id, server), None)
