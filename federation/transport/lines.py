"""Lines: how many may ask at once, who waits, and how long a destination is left alone. No I/O."""

from collections import Counter, OrderedDict, deque
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


class Turns:
    """At most `limit` at a time; at most `most_waiting` wait, in their order."""

    __slots__ = ("_is_calling", "_most_waiting", "_running", "_waiting", "limit")

    def __init__(self, limit: int, most_waiting: int) -> None:
        self.limit = limit
        self._most_waiting = most_waiting
        self._running = 0
        self._waiting: deque[Deferred[None]] = deque()
        self._is_calling = False

    @property
    def is_idle(self) -> bool:
        """Whether nobody has a turn or waits for one."""
        return not (self._running or self._waiting)

    async def enter(self, check: Callable[[], None]) -> None:
        """Wait for a turn, unless `check` raises; whoever got one must `leave`.

        Raises: PeerUnreachable when too many wait already, and what `check` raises, before waiting and after it.
        """
        check()
        while self._running >= self.limit:
            if len(self._waiting) >= self._most_waiting:
                raise PeerUnreachable("too much waits for it already")
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
            check()
        self._running += 1

    def leave(self) -> None:
        """Let the next ones go: one after the other from here, however quickly each of them is done."""
        self._running -= 1
        if self._is_calling:
            return
        self._is_calling = True
        while self._waiting and self._running < self.limit:
            turn = self._waiting.popleft()
            if not turn.called:
                turn.callback(None)
        self._is_calling = False


class FairTurns:
    """At most `limit` at a time, `each` of them of one party; parties take their turns one after the other.

    At most `most_waiting` wait: where that many do, one more takes the place of the last of the party that has most of
    them, unless that is its own.
    """

    def __init__(self, limit: int, each: int, most_waiting: int) -> None:
        self._limit = limit
        self._each = each
        self._most_waiting = most_waiting
        self._running: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[Deferred[None]]] = OrderedDict()
        self._is_calling = False

    async def enter(self, party: str) -> None:
        """Wait for a turn; whoever got one must `leave`.

        Raises: PeerUnreachable when too many wait.
        """
        if self._may_go(party) and party not in self._waiting:
            self._running[party] += 1
            return
        self._make_room(party)
        turn: Deferred[None] = Deferred()
        self._waiting.setdefault(party, deque()).append(turn)
        await turn

    def leave(self, party: str) -> None:
        """Let the next ones go: one after the other from here, however quickly each of them is done."""
        self._running[party] -= 1
        if not self._running[party]:
            del self._running[party]
        if self._is_calling:
            return
        self._is_calling = True
        while following := next((each for each in self._waiting if self._may_go(each)), None):
            turn = self._take(following, 0)
            if following in self._waiting:
                self._waiting.move_to_end(following)
            self._running[following] += 1
            turn.callback(None)
        self._is_calling = False

    def _may_go(self, party: str) -> bool:
        return self._running.total() < self._limit and self._running[party] < self._each

    def _make_room(self, party: str) -> None:
        if sum(map(len, self._waiting.values())) < self._most_waiting:
            return
        largest = max(self._waiting, key=lambda each: len(self._waiting[each]))
        if len(self._waiting[largest]) <= len(self._waiting.get(party, ())) + 1:
            raise PeerUnreachable("too much waits already")
        self._take(largest, -1).errback(PeerUnreachable("others wait, too"))

    def _take(self, party: str, at: int) -> Deferred[None]:
        """One of those of a party that wait."""
        turns = self._waiting[party]
        turn = turns[at]
        del turns[at]
        if not turns:
            del self._waiting[party]
        return turn


class Line:
    """What is going on with one destination.

    `failures`: how often in a row it could not be reached; while that is not 0 one request at a time tries. `retry_ms`:
    until when even that is not done.
    """

    __slots__ = ("_turns", "failures", "retry_ms")

    def __init__(self) -> None:
        self.failures = 0
        self.retry_ms = 0
        self._turns = Turns(AT_ONCE, MOST_WAITING)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember."""
        return not self.failures and self._turns.is_idle

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is going on, whatever there is to remember."""
        return self._turns.is_idle

    async def enter(self, now_ms: Callable[[], int]) -> None:
        """Wait for a turn; whoever got one must `leave`.

        Raises: PeerUnreachable when the destination is left alone, or too many wait already.
        """
        await self._turns.enter(lambda: self._check(now_ms()))

    def leave(self) -> None:
        """Let the next one go."""
        self._turns.leave()

    def remember(self, failures: int, retry_ms: int) -> None:
        """It could not be reached so often, before a restart."""
        self.failures, self.retry_ms = failures, retry_ms
        self._turns.limit = 1

    def fail(self, now_ms: int, chance: float) -> None:
        """It could not be reached: leave it alone, twice as long each time, less up to a half by `chance` (0 to 1)."""
        whole = min(FIRST_DELAY_MS << min(self.failures, 20), LONGEST_DELAY_MS)
        self.remember(self.failures + 1, now_ms + int(whole * (1 - chance / 2)))

    def mend(self) -> None:
        """It is there."""
        self.failures = self.retry_ms = 0
        self._turns.limit = AT_ONCE

    def _check(self, now_ms: int) -> None:
        if self.failures and now_ms < self.retry_ms:
            raise PeerUnreachable(f"left alone for {self.retry_ms - now_ms} ms after {self.failures} failures")
