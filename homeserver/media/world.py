"""What files need of the outside."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A thread pool with its reactor, the time and chance."""

    reactor: Any
    threads: ThreadPool
    now_ms: Callable[[], int]
    token_bytes: Callable[[int], bytes]

    def call(self, work: Callable[[*Ts], T], *args: *Ts) -> Deferred[T]:
        """Do blocking work in a thread."""
        return deferToThreadPool(self.reactor, self.threads, work, *args)
