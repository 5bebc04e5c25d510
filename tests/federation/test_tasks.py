"""What goes on at the same time: waited for together, or beside its owner."""

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from federation.transport.tasks import SLICE, Tasks, in_slices, side_by_side


class Fault(Exception):
    """Something goes wrong."""


async def wait(deferred: "Deferred[None]") -> None:
    await deferred


def outcome(waiting: "Deferred[Any]") -> object:
    results: list[object] = []
    waiting.addBoth(results.append)
    return results[0] if results else None


class TestSideBySide:
    def setup_method(self) -> None:
        self.first, self.second = Deferred[str](), Deferred[str]()
        self.both = Deferred.fromCoroutine(side_by_side([self.first, self.second]))

    def test_all_come_to_something_in_their_order_whoever_is_done_first(self) -> None:
        self.second.callback("second")
        self.first.callback("first")
        assert outcome(self.both) == ["first", "second"]

    def test_the_first_fault_is_raised_as_it_is(self) -> None:
        self.second.errback(Fault())
        fault = outcome(self.both)
        assert isinstance(fault, Failure)
        assert isinstance(fault.value, Fault)
        self.first.errback(Fault())  # the other's is dropped, and not reported by anybody


def test_no_more_go_on_at_a_time_than_may() -> None:
    begun: list[int] = []
    deferreds = [Deferred[str]() for _ in range(3)]

    async def work(number: int) -> str:
        begun.append(number)
        return await deferreds[number]

    all_of_them = Deferred.fromCoroutine(side_by_side([work(number) for number in range(3)], at_once=2))
    assert begun == [0, 1]
    deferreds[1].callback("second")
    assert begun == [0, 1, 2]
    deferreds[2].callback("third")
    deferreds[0].callback("first")
    assert outcome(all_of_them) == ["first", "second", "third"]


class Turns:
    """A clock by which only one thing happens at a time."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []

    def callLater(self, delay: float, call: Callable[..., object], *args: object) -> Any:
        self.waiting.append(partial(call, *args))


class TestSlices:
    def setup_method(self) -> None:
        self.clock = Turns()
        self.made: list[int] = []

    def make(self, thing: int) -> int:
        self.made.append(thing)
        return -thing

    def test_others_have_a_turn_after_some_of_many_things(self) -> None:
        things = range(2 * SLICE + 1)
        all_made = Deferred.fromCoroutine(in_slices(self.clock, self.make, things))
        for made in (SLICE, 2 * SLICE):
            assert self.made == list(things[:made])
            (go_on,) = self.clock.waiting
            self.clock.waiting.clear()
            go_on()
        assert outcome(all_made) == [-thing for thing in things]

    def test_few_things_are_made_at_once(self) -> None:
        for count in (0, SLICE):
            made = outcome(Deferred.fromCoroutine(in_slices(self.clock, str, range(count))))
            assert made == [str(number) for number in range(count)]


class TestTasks:
    def setup_method(self) -> None:
        self.reported: list[Failure] = []
        self.tasks = Tasks(self.reported.append)
        self.waiting: Deferred[None] = Deferred()
        self.tasks.run(wait(self.waiting))

    def test_they_are_idle_when_all_is_done(self) -> None:
        assert not self.tasks.is_idle
        self.waiting.callback(None)
        assert self.tasks.is_idle

    def test_a_failure_is_reported_and_ends_its_task(self) -> None:
        self.waiting.errback(Fault())
        assert [failure.type for failure in self.reported] == [Fault]
        assert self.tasks.is_idle

    def test_to_be_cancelled_is_no_failure(self) -> None:
        self.tasks.cancel()
        assert self.waiting.called
        assert (self.tasks.is_idle, self.reported) == (True, [])
