"""Erasing a person, so that nothing is left to find: noted first, then done bit by bit, whatever happens between.

1. In one unit of work the account is closed and everything that is the person's own goes; the school's record loses
   the name. 2. What they said is redacted room by room, so that other regions forget it, too. 3. They leave all rooms.
4. The bytes of their files and what databases keep beside themselves are taken from the disk.

The audit log stays: it names people by user IDs, which say nothing.

School: row 47
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from federation.ids import UserID
from homeserver.accounts.accounts import end_account
from homeserver.accounts.propagation import Propagations
from homeserver.policy import Conflict, NotFound
from homeserver.storage.accounts import append_propagation, find_account
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.database import Database, StorageUnavailable, Txn
from homeserver.storage.erasure import (
    Erasure,
    empty_log,
    find_erasure,
    has_waiting_reports,
    load_running_erasures,
    set_erasure,
)
from homeserver.storage.search.index import clear_index

_log = logging.getLogger(__name__)
_TRIES = 5


class Traces(Protocol):
    """What rooms do for the erasure of a person."""

    async def forget(self, erasure: Erasure, note: Callable[[Erasure], Awaitable[None]], /) -> Erasure:
        """Redact what the person said, and what rooms tell of them, from where that was left off; `note` keeps how
        far it has come.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What erasures need of the outside; `sweep` takes the bytes of doomed files away."""

    database: Database
    propagations: Propagations
    traces: Traces
    sweep: Callable[[], Awaitable[None]]
    now_ms: Callable[[], int]


class Erasures:
    """Erases people."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._db = world.database

    async def erase(self, user_id: UserID, entry: AuditEntry, *, reported: bool = False) -> None:
        """Erase a person for good, with all that they said; `entry` goes to the audit log.

        Raises: NotFound; Conflict while reports about them wait to be settled, unless `reported` says that it is known.
        """
        await self._go_on(await self._note_wish(user_id, entry, reported=reported))

    async def begin(self, user_id: UserID, entry: AuditEntry, *, reported: bool = False) -> None:
        """The same, done when there is no such person any more; what they said goes by itself after that.

        Raises: as `erase`.
        """
        erasure = await self._note_wish(user_id, entry, reported=reported)
        Deferred.fromCoroutine(self._follow(erasure)).addErrback(_log_failure, user_id)

    async def find(self, user_id: UserID) -> Erasure:
        """How far the erasure of a person has come.

        Raises: NotFound when there is none.
        """
        found = await self._db.read(find_erasure, user_id)
        if found is None:
            raise NotFound("Nobody is erasing this person")
        return found

    async def resume(self) -> None:
        """Go on with what an earlier run of the server left."""
        for erasure in await self._db.read(load_running_erasures):
            await self._follow(erasure)

    async def finish(self) -> None:
        """Take from the disk what is in no table any more."""
        await self._world.sweep()
        more = await self._db.write(partial(clear_index, first=True))
        while more:
            more = await self._db.write(partial(clear_index, first=False))
        for _ in range(_TRIES):
            if await self._db.read(empty_log):
                return
        _log.warning("the database's log is still read from; what was erased leaves it with the next checkpoint")

    async def _note_wish(self, user_id: UserID, entry: AuditEntry, *, reported: bool) -> Erasure:
        erasure = Erasure(user_id=user_id, by=entry.done_by, stage="messages", began_ms=self._world.now_ms())
        await self._db.write(_begin, erasure, entry, reported)
        return erasure

    async def _follow(self, erasure: Erasure) -> None:
        try:
            await self._go_on(erasure)
        except StorageUnavailable as fault:
            _log.warning("the erasure of %s goes on at the next start: %s", erasure.user_id, fault)

    async def _go_on(self, erasure: Erasure) -> None:
        user_id = erasure.user_id
        if erasure.stage == "messages":
            erasure = await self._world.traces.forget(erasure, self._note)
            erasure, number = await self._db.write(_depart, erasure)
            await self._world.propagations.settle(user_id, "departure", number)
        await self.finish()
        await self._note(replace(erasure, stage="done", ended_ms=self._world.now_ms()))

    async def _note(self, erasure: Erasure) -> None:
        await self._db.write(set_erasure, erasure)


def _begin(txn: Txn, erasure: Erasure, entry: AuditEntry, reported: bool) -> None:
    """Unit of work: from now on there is no such person.

    Raises: NotFound; Conflict.
    """
    account = find_account(txn, erasure.user_id)
    if account is None or account.kind == "server":
        raise NotFound("There is no such account")
    if not reported and has_waiting_reports(txn, erasure.user_id):
        raise Conflict("M_UNKNOWN", "Reports about this person are to be settled first")
    end_account(txn, erasure.user_id, erasure.began_ms, erase=True)
    set_erasure(txn, erasure)
    append_audit(txn, entry)


def _depart(txn: Txn, erasure: Erasure) -> tuple[Erasure, int]:
    """Unit of work: what the person said is forgotten, now they are to leave."""
    departing = replace(erasure, stage="departure")
    set_erasure(txn, departing)
    return departing, append_propagation(txn, erasure.user_id, "departure")


def _log_failure(failure: Failure, user_id: UserID) -> None:
    _log.error("the erasure of %s has failed: %s", user_id, failure.getTraceback())
