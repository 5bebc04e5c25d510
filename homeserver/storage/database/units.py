"""Work on its way: a function of a transaction, whoever waits for it, and what became of it."""

from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from homeserver.storage.database.txn import Change, Txn
from homeserver.storage.faults import Outcome


@dataclass(frozen=True, slots=True)
class Unit:
    """A function of a transaction that waits for its turn, the context it came from, and the answer awaited."""

    work: Callable[..., Any]
    args: tuple[Any, ...]
    context: Context
    answer: Deferred[Any]

    def run(self, txn: Txn) -> Any:
        """Do the work in the context that it came from.

        Raises: what the work raises; TypeError for work that does not end here, being asynchronous.
        """
        value = self.context.run(self.work, txn, *self.args)
        if isinstance(value, Deferred):
            raise TypeError(f"{self.work!r} is asynchronous: a transaction waits for nothing")
        return value

    def settle(self, outcome: Outcome[Any]) -> None:
        """Answer whoever waits; on the reactor's thread."""
        if outcome.error is None:
            self.answer.callback(outcome.value)
        else:
            self.answer.errback(outcome.error)


@dataclass(frozen=True, slots=True)
class Mark:
    """What the database says of itself: the last stream position, and the number of commits so far."""

    position: int
    commits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a batch of units.

    `committed`: whether something of it is in the database, which then stands at `mark`. `fault`: what the database
    failed of, if it did.
    """

    units: Sequence[Unit]
    outcomes: Sequence[Outcome[Any]]
    mark: Mark
    changes: Sequence[Change] = ()
    committed: bool = False
    commit_seconds: float = 0.0
    fault: BaseException | None = None
