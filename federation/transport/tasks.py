"""Coroutines that go on at the same time: waited for together, or running beside their owner until that ends."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, FirstError, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

S = TypeVar("S")
T = TypeVar("T")

SLICE: Final = 200
"""How many things are made before others have a turn."""


async def side_by_side(waiting: Iterable[Awaitable[T]], *, at_once: int | None = None) -> list[T]:
    """What all of them come to, in their order; with `at_once` no more of them go on at a time.

    Raises: the first fault of any of them; the others go on, and what they come to is dropped.
    """
    if at_once is None:
        tasks = [_begin(each) for each in waiting]
    else:
        turns = DeferredSemaphore(at_once)
        tasks = [turns.run(_begin, each) for each in waiting]
    try:
        done: list[T] = await gatherResults(tasks, consumeErrors=True)
    except FirstError as fault:
        fault.subFailure.raiseException()
        raise
    return done


class CallsLater(Protocol):
    """A clock, as far as it is needed to let others go first."""

    def callLater(self, delay: float, call: Callable[..., object], /, *args: object) -> IDelayedCall:  # noqa: N802 - Twisted's name
        """Call something after so many seconds."""


async def in_slices(clock: CallsLater, make: Callable[[S], T], things: Sequence[S]) -> list[T]:
    """What is made of each of many things; others have their turns in between."""
    made: list[T] = []
    for at in range(0, len(things), SLICE):
        if at:
            turn: Deferred[None] = Deferred()
            clock.callLater(0, turn.callback, None)
            await turn
        made += map(make, things[at : at + SLICE])
    return made


class Tasks:
    """What runs beside its owner; `report` gets the failure of each that failed."""

    __slots__ = ("_report", "_running")

    def __init__(self, report: Callable[[Failure], None]) -> None:
        self._report = report
        self._running: set[Deferred[None]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs."""
        return not self._running

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin with something and don't wait for it."""
        running: Deferred[None] = Deferred.fromCoroutine(work)
        if not running.called:
            self._running.add(running)
        running.addErrback(self._fail)
        running.addBoth(lambda _: self._running.discard(running))

    def cancel(self) -> None:
        """End all that runs; that is no failure."""
        for running in tuple(self._running):
            running.cancel()

    def _fail(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            self._report(failure)


def _begin(waiting: Awaitable[T]) -> Deferred[T]:
    return Deferred.fromCoroutine(_wait(waiting))


async def _wait(waiting: Awaitable[T]) -> T:
    return await waiting
