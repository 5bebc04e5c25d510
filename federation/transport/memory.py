"""What was learnt of other servers: bounded, and asked for once however many want to know."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Remembers a value for each of at most `most` keys; what was not wanted for longest is forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[K, V] = OrderedDict()
        self._asked: dict[K, list[Deferred[V]]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def peek(self, key: K) -> V | None:
        """What is known, None if nothing is."""
        return self._known.get(key)

    def put(self, key: K, value: V) -> None:
        """Remember."""
        self._known[key] = value
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, key: K) -> None:
        """Remember no longer."""
        self._known.pop(key, None)

    async def get(self, key: K, is_good: Callable[[V], bool], ask: Callable[[K, V | None], Awaitable[V]]) -> V:
        """What is known if that is good, else what `ask(key, known)` finds; it is asked once for all who wait.

        Fails for all of them as `ask` fails.
        """
        known = self._known.get(key)
        if known is not None and is_good(known):
            self._known.move_to_end(key)
            return known
        waiting: Deferred[V] = Deferred()
        if key in self._asked:
            self._asked[key].append(waiting)
        else:
            self._asked[key] = [waiting]
            Deferred.fromCoroutine(self._ask(key, known, ask)).addErrback(self._fail, key)
        return await waiting

    async def _ask(self, key: K, known: V | None, ask: Callable[[K, V | None], Awaitable[V]]) -> None:
        value = await ask(key, known)
        self.put(key, value)
        for waiting in self._asked.pop(key):
            waiting.callback(value)

    def _fail(self, failure: Failure, key: K) -> None:
        for waiting in self._asked.pop(key, ()):
            waiting.errback(failure)
