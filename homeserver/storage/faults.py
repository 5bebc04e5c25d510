"""What may go wrong with a database, told apart by what has to be done about it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class StorageUnavailable(Exception):
    """The database cannot be reached, is full or is closed: nothing was acknowledged, and later it may work again."""


class CannotOpen(Exception):
    """The database may not be used as it is: one line for the operator that says why."""


class Fault(Enum):
    """Whose fault an error is."""

    UNIT = "the unit's own, be it a refusal or a bug"
    STORAGE = "the database can't do anything of the kind now"
    LOST = "the connection is gone, and with it the knowledge of what became of the transaction"


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What came of something: a value, or the error that it raised."""

    value: T
    error: BaseException | None = None


def attempt(work: Callable[[*Ts], T], *args: *Ts) -> Outcome[T]:
    """Do work for somebody in another thread: what it raises, be it what it may, is theirs."""
    try:
        return Outcome(work(*args))
    except BaseException as error:  # noqa: BLE001 - handed on, never dropped: the caller's Deferred fails with it
        failed: Outcome[Any] = Outcome(None, error)
        return failed
