"""What was learnt of other servers: bounded, and asked for once."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from federation.transport.memory import Memory


class Memories(SynchronousTestCase):
    """A memory of two, and questions that the test answers."""

    def setUp(self) -> None:
        self.memory: Memory[str, int] = Memory(2)
        self.asked: list[tuple[str, int | None, Deferred[int]]] = []

    async def ask(self, key: str, known: int | None) -> int:
        answer: Deferred[int] = Deferred()
        self.asked.append((key, known, answer))
        return await answer

    def get(self, key: str, least: int = 0) -> "Deferred[int]":
        return Deferred.fromCoroutine(self.memory.get(key, lambda value: value >= least, self.ask))

    def test_it_is_asked_once_for_all_who_wait(self) -> None:
        waiting = [self.get("a"), self.get("a"), self.get("b")]
        assert [key for key, _, _ in self.asked] == ["a", "b"]
        self.asked[0][2].callback(1)
        assert [self.successResultOf(each) for each in waiting[:2]] == [1, 1]
        self.assertNoResult(waiting[2])
        assert self.successResultOf(self.get("a")) == 1

    def test_what_is_not_good_enough_is_asked_for_anew(self) -> None:
        self.memory.put("a", 1)
        waiting = self.get("a", least=2)
        key, known, answer = self.asked[0]
        assert (key, known) == ("a", 1)
        answer.callback(2)
        assert self.successResultOf(waiting) == 2

    def test_a_failure_is_that_of_all_who_wait_and_is_not_remembered(self) -> None:
        waiting = [self.get("a"), self.get("a")]
        self.asked[0][2].errback(LookupError("no"))
        for each in waiting:
            self.failureResultOf(each, LookupError)
        self.get("a")
        assert len(self.asked) == 2

    def test_who_gives_up_waiting_spoils_it_for_nobody(self) -> None:
        first, second = self.get("a"), self.get("a")
        first.addErrback(lambda failure: None)
        first.cancel()
        self.asked[0][2].callback(1)
        assert self.successResultOf(second) == 1

    def test_what_was_not_wanted_for_longest_is_forgotten(self) -> None:
        self.memory.put("a", 1)
        self.memory.put("b", 2)
        self.successResultOf(self.get("a"))
        self.memory.put("c", 3)
        assert [self.memory.peek(key) for key in "abc"] == [1, None, 3]
        assert len(self.memory) == 2


def test_what_is_forgotten_is_not_known() -> None:
    memory: Memory[str, int] = Memory(1)
    memory.put("a", 1)
    memory.forget("a")
    memory.forget("a")
    assert memory.peek("a") is None
