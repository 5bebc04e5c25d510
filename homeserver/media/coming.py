"""A file on its way here: who wants it reads what has come while the rest still comes.

What has come is on the disk, so nobody who reads slowly holds up the others, and nothing is held in memory for anybody.
"""

from collections.abc import Callable
from typing import Any, BinaryIO, Final

from twisted.internet.defer import Deferred

from homeserver.media.files import Arriving
from homeserver.media.names import Label

MOMENT_S: Final = 0.1
"""A file that is whole within that time is given like one that was here before: of known length, and for caches."""


class Coming:
    """A file that is being fetched. Whoever fetches it calls `show`, `grow` and `conclude`; everybody else waits."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._shown: tuple[Label, Arriving] | None = None
        self._size = 0
        self._is_open = False
        self._timer: Any = None
        self._ended = False
        self._fault: BaseException | None = None
        self._waiting: list[Deferred[None]] = []

    def show(self, label: Label, arriving: Arriving) -> None:
        """Let it be read, a moment from now."""
        self._shown = label, arriving
        self._timer = self._reactor.callLater(MOMENT_S, self._open)

    def grow(self, size: int) -> None:
        """So much of it is on the disk."""
        self._size = size
        self._wake()

    def conclude(self, fault: BaseException | None) -> None:
        """It is here for good, or (with a fault) nothing of it is."""
        self._ended, self._fault = True, fault
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._wake()

    async def begun(self) -> Label | None:
        """What is said of it, as soon as it can be read while it comes; None when it is here for good.

        Raises: what went wrong with the fetching.
        """
        await self._until(lambda: self._is_open)
        return None if self._ended or self._shown is None else self._shown[0]

    async def whole(self) -> None:
        """Wait until it is here for good.

        Raises: what went wrong with the fetching.
        """
        await self._until(lambda: False)

    async def more(self, have: int) -> int:
        """How many bytes can be read, once these are more than `have`; `have` itself when that is the whole file.

        Raises: what went wrong with the fetching: then what was read is not the file.
        """
        await self._until(lambda: self._size > have)
        return self._size

    def open(self) -> BinaryIO:
        """What has come, after `begun`.

        Raises: StorageUnavailable.
        """
        assert self._shown is not None
        return self._shown[1].open()

    async def _until(self, is_ready: Callable[[], bool]) -> None:
        """Wait for something, or the end."""
        while not self._ended and not is_ready():
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
        if self._fault is not None:
            raise self._fault

    def _open(self) -> None:
        self._is_open = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.callback(None)
