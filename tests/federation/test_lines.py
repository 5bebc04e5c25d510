"""The line before a destination: how many go at once, who waits, and how long it is left alone."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from federation.errors import PeerUnreachable
from federation.transport.lines import AT_ONCE, FIRST_DELAY_MS, LONGEST_DELAY_MS, MOST_WAITING, FairTurns, Line


class Lines(SynchronousTestCase):
    """A line whose clock the test moves."""

    def setUp(self) -> None:
        self.line = Line()
        self.now = 1_000_000

    def enter(self) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self.line.enter(lambda: self.now))

    def entered(self, number: int) -> list[Deferred[Any]]:
        """So many that have tried; those that got in have fired."""
        return [self.enter() for _ in range(number)]

    def test_a_few_go_at_once_and_the_others_in_their_order(self) -> None:
        tries = self.entered(AT_ONCE + 3)
        assert [each.called for each in tries] == [True] * AT_ONCE + [False] * 3
        self.line.leave()
        self.line.leave()
        assert [each.called for each in tries[AT_ONCE:]] == [True, True, False]

    def test_too_many_that_wait_are_turned_away(self) -> None:
        self.entered(AT_ONCE + MOST_WAITING)
        self.failureResultOf(self.enter(), PeerUnreachable)

    def test_one_that_gave_up_waiting_takes_nobodys_turn(self) -> None:
        self.entered(AT_ONCE)
        first, second = self.entered(2)
        first.addErrback(lambda failure: None)
        first.cancel()
        self.line.leave()
        self.successResultOf(second)

    def test_after_a_failure_nobody_goes_then_one_tries_and_the_others_wait_for_what_becomes_of_it(self) -> None:
        self.successResultOf(self.enter())
        self.line.fail(self.now, 0.0)
        self.line.leave()
        self.failureResultOf(self.enter(), PeerUnreachable)
        self.now += FIRST_DELAY_MS
        probe, second, third = self.entered(3)
        self.successResultOf(probe)
        assert not (second.called or third.called)
        self.line.mend()
        self.line.leave()
        self.successResultOf(second)
        self.successResultOf(third)

    def test_when_the_probe_fails_those_who_waited_for_it_fail_too(self) -> None:
        self.line.fail(self.now, 0.0)
        self.now += FIRST_DELAY_MS
        probe, second, third = self.entered(3)
        self.successResultOf(probe)
        self.line.fail(self.now, 0.0)
        self.line.leave()
        self.failureResultOf(second, PeerUnreachable)
        self.failureResultOf(third, PeerUnreachable)

    def test_many_that_wait_end_one_after_the_other(self) -> None:
        tries = self.entered(AT_ONCE + MOST_WAITING)
        for each in tries[AT_ONCE:]:
            each.addCallback(lambda entered: self.line.leave())
        self.line.leave()
        assert all(each.called for each in tries)

    def test_when_it_fails_all_who_wait_are_told(self) -> None:
        tries = self.entered(AT_ONCE + MOST_WAITING)
        self.line.fail(self.now, 0.0)
        for _ in range(AT_ONCE):
            self.line.leave()
        for each in tries[AT_ONCE:]:
            self.failureResultOf(each, PeerUnreachable)

    def test_a_line_is_idle_when_there_is_nothing_to_remember(self) -> None:
        assert self.line.is_idle
        self.enter()
        assert not self.line.is_idle
        self.line.fail(self.now, 0.0)
        self.line.leave()
        assert not self.line.is_idle
        self.line.mend()
        assert self.line.is_idle


@given(st.integers(1, 200), st.floats(0, 1))
def test_it_is_left_alone_longer_each_time_within_bounds(failures: int, chance: float) -> None:
    line = Line()
    for _ in range(failures):
        line.fail(0, chance)
    whole = min(FIRST_DELAY_MS * 2 ** (failures - 1), LONGEST_DELAY_MS)
    assert whole // 2 - 1 <= line.retry_ms <= whole


class Fair(SynchronousTestCase):
    """Two at a time, one of a party, and four that wait."""

    def setUp(self) -> None:
        self.turns = FairTurns(2, 1, 4)

    def enter(self, party: str) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self.turns.enter(party))

    def test_a_party_has_no_more_turns_than_are_for_one(self) -> None:
        first, second, other, third = (self.enter(party) for party in ("a", "a", "b", "c"))
        assert [each.called for each in (first, second, other, third)] == [True, False, True, False]
        self.turns.leave("b")
        assert [each.called for each in (second, third)] == [False, True]
        self.turns.leave("a")
        assert second.called

    def test_parties_take_their_turns_one_after_the_other(self) -> None:
        turns = FairTurns(1, 1, 100)
        Deferred.fromCoroutine(turns.enter("x"))
        order: list[str] = []

        async def wait(party: str) -> None:
            await turns.enter(party)
            order.append(party)

        for party in ("a", "a", "a", "b", "c", "b"):
            Deferred.fromCoroutine(wait(party))
        for party in ("x", "a", "b", "c", "a", "b"):
            turns.leave(party)
        assert order == ["a", "b", "c", "a", "b", "a"]

    def test_where_too_many_wait_the_party_of_most_of_them_makes_room(self) -> None:
        flood = [self.enter("a") for _ in range(5)]
        self.failureResultOf(self.enter("a"), PeerUnreachable)
        assert self.enter("b").called
        waiting = self.enter("b")
        self.failureResultOf(flood[-1], PeerUnreachable)
        assert not waiting.called
        assert [each.called for each in flood[:-1]] == [True, False, False, False]
        self.turns.leave("b")
        assert waiting.called
