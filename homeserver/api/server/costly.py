"""Questions of other servers that cost much, as whole states of rooms: a few at a time, fewer of one server."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from federation.errors import PeerUnreachable
from federation.ids import ServerName
from federation.transport.lines import FairTurns
from homeserver.api.errors import RateLimited

T = TypeVar("T")

AT_ONCE: Final = 8
AT_ONCE_EACH: Final = 2
MOST_WAITING: Final = 200
_BUSY_MS: Final = 5_000


class Costly:
    """Lets servers have their turns."""

    def __init__(self) -> None:
        self._turns = FairTurns(AT_ONCE, AT_ONCE_EACH, MOST_WAITING)

    async def answer(self, origin: ServerName, find: Callable[[], Awaitable[T]]) -> T:
        """What `find` finds, once it is the server's turn.

        Raises: RateLimited when too much waits; what `find` raises.
        """
        try:
            await self._turns.enter(origin)
        except PeerUnreachable:
            raise RateLimited(_BUSY_MS) from None
        try:
            return await find()
        finally:
            self._turns.leave(origin)
