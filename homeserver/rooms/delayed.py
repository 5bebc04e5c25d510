"""Delayed events: scheduled now, sent by this server later, unless somebody cancels them.

Whoever schedules an event is judged then and again when it is sent: what matters is what they may do at that moment. An
event goes out once, also if the server stops half way: its delay ID is its transaction ID, by which it is found again.

One timer waits for the next event of all. What fell due while the server was down is sent first, in order.

Spec: MSC4140
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from federation.errors import Refused
from federation.ids import EventID, RoomID, UserID
from homeserver.policy import Conflict, Invalid, NotFound
from homeserver.rooms.send import Sending
from homeserver.rooms.state import Settings
from homeserver.rooms.transactions import Request, Transactions
from homeserver.storage.accounts import find_account
from homeserver.storage.database import Database, StorageUnavailable, Txn
from homeserver.storage.delayed import (
    DelayedEvent,
    Later,
    append_delayed,
    count_scheduled,
    find_delayed,
    find_next_due,
    find_requested,
    load_due,
    load_scheduled,
    set_finalised,
    set_restarted,
)
from homeserver.storage.events import DELAYED, Origin

SLICE: Final = 100
"""How many events that are due are looked up at once."""
PAUSE_MS: Final = 1_000
"""How long to wait for storage that is not there."""

_log = logging.getLogger(__name__)


class DelayTooLong(Refused):
    """The delay is longer than this server waits."""

    def __init__(self, most_ms: int) -> None:
        super().__init__("delay", f"The delay may be {most_ms} ms at most")
        self.most_ms = most_ms


class TooManyDelayed(Exception):
    """The person has as many events scheduled as one may; the next of them is due in `wait_ms`."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__(f"Too many delayed events; one is due in {wait_ms} ms")
        self.wait_ms = wait_ms


class SentTooFast(Exception):
    """The person sends more events at this moment than one may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The longest delay, and how many events one person may have scheduled; with 0 nobody may schedule any."""

    max_delay_ms: int
    max_scheduled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What delayed events need of the world.

    `may_send` takes one event out of what somebody may send now; `explain` gives the Matrix error of an exception, None
    for a bug of ours.
    """

    clock: Any
    now_ms: Callable[[], int]
    make_id: Callable[[], str]
    may_send: Callable[[UserID], bool]
    explain: Callable[[BaseException], dict[str, object] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Senders:
    """The doors through which delayed events go out."""

    sending: Sending
    settings: Settings
    transactions: Transactions


class DelayedEvents:
    """Schedules events, and sends them when they are due. `resume` once at the start, `stop` at the end.

    To everybody but who scheduled it a delayed event is not there (NotFound).
    """

    def __init__(self, database: Database, senders: Senders, bounds: Bounds, world: World) -> None:
        self._db = database
        self._senders = senders
        self.bounds = bounds
        self._world = world
        self._locks: dict[str, DeferredLock] = {}
        self._is_running = False
        self._is_busy = False
        self._timer: Any = None

    async def schedule(self, origin: Origin, room_id: str, later: Later, delay_ms: int) -> str:
        """Schedule an event; its delay ID. A repeated transaction gets the first one's, an empty one is none.

        Raises: Hidden for a room that its sender is not in; Refused; Invalid; DelayTooLong; TooManyDelayed.
        """
        self._check_bounds(delay_ms)
        by = origin.user_id
        if later.state_key is None:
            await self._senders.sending.check(by, room_id, later.type, later.content)
        else:
            await self._senders.settings.check(by, room_id, (later.type, later.state_key), later.content)
        now_ms = self._world.now_ms()
        wanted = DelayedEvent(
            delay_id=self._world.make_id(),
            user_id=by,
            device_id=origin.device_id,
            room_id=RoomID(room_id),
            txn_id=origin.txn_id or None,
            stored=msgspec.json.encode(later),
            delay_ms=delay_ms,
            since_ms=now_ms,
            due_ms=now_ms + delay_ms,
        )
        delay_id = await self._db.write(_schedule, wanted, self.bounds.max_scheduled)
        self._wake_at(now_ms + delay_ms)
        return delay_id

    def _check_bounds(self, delay_ms: int) -> None:
        if not self.bounds.max_scheduled:
            raise Refused("delay", "Nothing may be scheduled here")
        if delay_ms < 1:
            raise Invalid("M_INVALID_PARAM", "The delay must be a positive number of milliseconds")
        if delay_ms > self.bounds.max_delay_ms:
            raise DelayTooLong(self.bounds.max_delay_ms)

    async def find(self, by: UserID, delay_id: str) -> DelayedEvent:
        """A delayed event of one's own, finalised or not.

        Raises: NotFound.
        """
        found = await self._db.read(find_delayed, delay_id)
        if found is None or found.user_id != by:
            raise NotFound("There is no such delayed event")
        return found

    async def load(self, by: UserID) -> list[DelayedEvent]:
        """All that somebody has scheduled, what is due first in front."""
        return await self._db.read(load_scheduled, by)

    async def restart(self, by: UserID, delay_id: str) -> None:
        """Let the delay begin anew.

        Raises: NotFound; Conflict when it is sent or cancelled.
        """
        async with self._alone(delay_id):
            _check_open(await self.find(by, delay_id))
            self._wake_at(await self._db.write(set_restarted, delay_id, self._world.now_ms()))

    async def cancel(self, by: UserID, delay_id: str) -> None:
        """Never send it; for what was cancelled or given up before nothing happens.

        Raises: NotFound; Conflict when it is sent.
        """
        async with self._alone(delay_id):
            found = await self.find(by, delay_id)
            if found.event_id is not None:
                raise Conflict("M_UNKNOWN", "The event has been sent")
            if found.due_ms is not None:
                await self._db.write(set_finalised, found, self._world.now_ms(), None)

    async def send(self, by: UserID, delay_id: str) -> None:
        """Send it now; for what was sent before nothing happens, and what cannot be sent now stays scheduled.

        Raises: NotFound; Conflict when it is cancelled; what sending raises.
        """
        async with self._alone(delay_id):
            found = await self.find(by, delay_id)
            if found.event_id is None:
                _check_open(found)
                event_id = await self._send(found)
                await self._db.write(set_finalised, found, self._world.now_ms(), event_id)

    # what is due

    def resume(self) -> None:
        """Send what has become due, and from now on what becomes so."""
        self._is_running = True
        self._wake_at(self._world.now_ms())

    def stop(self) -> None:
        """Send nothing any more."""
        self._is_running = False
        self._stop_waiting()

    def _wake_at(self, at_ms: int) -> None:
        """Look for what is due at that time, if nothing is due before."""
        if not self._is_running:
            return
        delay_s = max(at_ms - self._world.now_ms(), 0) / 1000
        if self._timer is not None:
            if self._timer.getTime() <= self._world.clock.seconds() + delay_s:
                return
            self._stop_waiting()
        self._timer = self._world.clock.callLater(delay_s, self._begin)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._timer = None
        if self._is_busy:
            self._wake_at(self._world.now_ms() + PAUSE_MS)
            return
        self._is_busy = True
        Deferred.fromCoroutine(self._send_due()).addErrback(self._rest).addBoth(self._end)

    def _end(self, next_ms: int | None) -> None:
        self._is_busy = False
        if next_ms is not None:
            self._wake_at(next_ms)

    def _rest(self, failure: Failure) -> int:
        """Nothing more can be done for now."""
        if not isinstance(failure.value, StorageUnavailable):
            _log.error("sending delayed events failed: %s", failure.getTraceback())
        return self._world.now_ms() + PAUSE_MS

    async def _send_due(self) -> int | None:
        """Send all that is due; gives when the next event will be."""
        while self._is_running:
            due = await self._db.read(load_due, self._world.now_ms(), SLICE)
            for delay_id in due:
                if self._is_running:
                    await self._send_one(delay_id)
            if len(due) < SLICE:
                return await self._db.read(find_next_due)
        return None

    async def _send_one(self, delay_id: str) -> None:
        """Send an event, if it is still scheduled and due; what cannot be sent now never is."""
        async with self._alone(delay_id):
            now_ms = self._world.now_ms()
            found = await self._db.read(find_delayed, delay_id)
            if found is None or found.due_ms is None or found.due_ms > now_ms:
                return
            sending: Deferred[EventID | bytes] = Deferred.fromCoroutine(self._send_timed(found))
            outcome: Any = await sending.addErrback(self._explain)
            event_id, error = (None, outcome) if isinstance(outcome, bytes) else (outcome, None)
            await self._db.write(set_finalised, found, now_ms, event_id, error)

    async def _send_timed(self, delayed: DelayedEvent) -> EventID | bytes:
        if not self._world.may_send(delayed.user_id):
            raise SentTooFast
        return await self._send(delayed)

    def _explain(self, failure: Failure) -> Failure | bytes:
        """The Matrix error of what went wrong."""
        fault = failure.value
        if fault is None or isinstance(fault, StorageUnavailable):
            return failure
        error = self._world.explain(fault)
        if error is None:
            _log.error("a delayed event could not be sent: %s", failure.getTraceback())
            error = {"errcode": "M_UNKNOWN", "error": "Internal server error"}
        return msgspec.json.encode(error)

    async def _send(self, delayed: DelayedEvent) -> EventID:
        """Send an event, unless it was sent before: its event."""
        by, room_id, later = delayed.user_id, delayed.room_id, delayed.later
        account = await self._db.read(find_account, by)
        if account is None or account.deactivated or account.locked or account.suspended:
            raise Refused("delay", "This account may not send")
        origin = Origin(by, DELAYED, delayed.delay_id)
        if later.state_key is None:
            return await self._senders.sending.send(origin, room_id, later.type, later.content)
        key, content, guest = (later.type, later.state_key), later.content, account.kind == "guest"
        put, request = self._senders.settings.put, Request(room_id, later.type, delayed.delay_id)
        return await self._senders.transactions.once(
            origin, request, lambda: put(by, room_id, key, content, guest=guest, origin=origin)
        )

    @asynccontextmanager
    async def _alone(self, delay_id: str) -> AsyncIterator[None]:
        """Hold while something is done with an event that only one may do."""
        lock = self._locks.setdefault(delay_id, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked:
                self._locks.pop(delay_id, None)


def _check_open(delayed: DelayedEvent) -> None:
    """Refuse to do anything with what is finalised."""
    if delayed.due_ms is None:
        raise Conflict("M_UNKNOWN", "The event has been sent" if delayed.event_id else "The event has been cancelled")


def _schedule(txn: Txn, wanted: DelayedEvent, most: int) -> str:
    """The unit of scheduling."""
    known = find_requested(txn, wanted)
    if known is not None:
        return known
    crowd = count_scheduled(txn, wanted.user_id)
    if crowd.scheduled >= most:
        raise TooManyDelayed(max(crowd.first_ms - wanted.since_ms, 0))
    append_delayed(txn, wanted)
    return wanted.delay_id
