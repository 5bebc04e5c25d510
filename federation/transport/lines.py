"""The line before one destination: how many may ask at once, who waits, and how long it is left alone. No I/O."""

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

from federation.errors import PeerUnreachable

AT_ONCE: Final = 8
"""How many requests wait for one destination's answer at a time."""
MOST_WAITING: Final = 200
"""How many wait for their turn; one more is told that the destination cannot be reached."""
FIRST_DELAY_MS: Final = 2_000
LONGEST_DELAY_MS: Final = 60 * 60 * 1000


class Line:
    """What is going on with one destination.

    `failures`: how often in a row it could not be reached; while that is not 0 one request at a time tries. `retry_ms`:
    until when even that is not done.
    """

    __slots__ = ("_running", "_waiting", "failures", "retry_ms")

    def __init__(self) -> None:
        self.failures = 0
        self.retry_ms = 0
        self._running = 0
        self._waiting: deque[Deferred[None]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.failures or self._running or self._waiting)

    async def enter(self, now_ms: Callable[[], int]) -> None:
        """Wait for a turn; whoever got one must `leave`.

        Raises: PeerUnreachable when the destination is left alone, or too many wait already.
        """
        self._check(now_ms())
        while not self._has_room:
            if len(self._waiting) >= MOST_WAITING:
                raise PeerUnreachable("too much waits for it already")
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
            try:
                self._check(now_ms())
            except PeerUnreachable:
                self._wake()
                raise
        self._running += 1
        if self._has_room:
            self._wake()

    def leave(self) -> None:
        """Let the next one go."""
        self._running -= 1
        self._wake()

    def fail(self, now_ms: int, chance: float) -> None:
        """It could not be reached: leave it alone, twice as long each time, less up to a half by `chance` (0 to 1)."""
        self.failures += 1
        whole = min(FIRST_DELAY_MS << min(self.failures - 1, 20), LONGEST_DELAY_MS)
        self.retry_ms = now_ms + int(whole * (1 - chance / 2))

    def mend(self) -> None:
        """It is there."""
        self.failures = self.retry_ms = 0

    @property
    def _has_room(self) -> bool:
        return self._running < (1 if self.failures else AT_ONCE)

    def _check(self, now_ms: int) -> None:
        if self.failures and now_ms < self.retry_ms:
            raise PeerUnreachable(f"left alone for {self.retry_ms - now_ms} ms after {self.failures} failures")

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.called:
                turn.callback(None)
                return
