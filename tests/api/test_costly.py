"""Questions of other servers that cost much: one server that asks many delays no other."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from federation.ids import ServerName
from homeserver.api.errors import RateLimited
from homeserver.api.server.costly import AT_ONCE_EACH, MOST_WAITING, Costly

GREEDY, OTHER = ServerName("greedy.test"), ServerName("other.test")


class Asked(SynchronousTestCase):
    def setUp(self) -> None:
        self.costly = Costly()
        self.asked: list[Deferred[str]] = []
        self.addCleanup(self.answer_all)

    def answer_all(self) -> None:
        for each in self.asked:  # it grows
            if not each.called:
                each.callback("")

    def find(self) -> "Deferred[str]":
        self.asked.append(Deferred())
        return self.asked[-1]

    def ask(self, origin: ServerName) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self.costly.answer(origin, self.find))

    def test_a_server_is_answered_a_few_at_a_time_and_another_at_once(self) -> None:
        many = [self.ask(GREEDY) for _ in range(AT_ONCE_EACH + 3)]
        assert len(self.asked) == AT_ONCE_EACH
        other = self.ask(OTHER)
        self.asked[-1].callback("other")
        assert self.successResultOf(other) == "other"
        for number in range(len(many)):
            self.asked[number if number < AT_ONCE_EACH else number + 1].callback(str(number))
        assert [self.successResultOf(each) for each in many] == [str(number) for number in range(len(many))]

    def test_who_asks_without_end_is_told_to_wait_and_a_fault_ends_a_turn(self) -> None:
        for _ in range(AT_ONCE_EACH + MOST_WAITING):
            self.ask(GREEDY).addErrback(lambda failure: failure.trap(RateLimited))
        self.failureResultOf(self.ask(GREEDY), RateLimited)
        fine = [self.ask(OTHER) for _ in range(2)]
        self.asked[-2].errback(ValueError("a fault"))
        self.failureResultOf(fine[0], ValueError)
        again = self.ask(OTHER)
        self.asked[-1].callback("again")
        assert self.successResultOf(again) == "again"
