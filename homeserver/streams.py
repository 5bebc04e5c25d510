"""The only place where this process learns that something is new: what a commit tells goes to those who listen, here.

Everybody who syncs has a `Feed`: what changed for them, in memory, complete above its floor. It is registered with the
rooms they are in, so an event costs as much as there are feeds in its room, whoever else is a member. Each room that
somebody listens to has a `RoomLog`, its last events and receipts, which all its feeds share. A sync whose token lies
above the floors reads no table to learn what changed.

Two clocks tick: `position`, that of commits, and `serial`, for what is never committed (typing, presence) or placed
into feeds later than its commit (device lists). Both are in a sync token. A serial starts at the time of the start, so
that those of an earlier run are smaller.

What does not live here: what a change means to a client. To add a kind of change: a record in `storage.changes`, and
its taking up in `Streams.advance`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from federation.ids import DeviceID, RoomID, UserID
from homeserver.storage.changes import EventAdded, ReceiptMoved, SessionsEnded, StateRewritten, UserDataChanged
from homeserver.storage.database import Change, Database, Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.members import load_memberships

K = TypeVar("K")
T = TypeVar("T")

MOST_EVENTS: Final = 200
"""How many events a room's log holds."""
MOST_MARKS: Final = 2000
"""How many changes of one kind a feed or log holds; what is older is read from the tables."""
MOST_FEEDS: Final = 20_000
IDLE_S: Final = 600
"""How long a feed outlives the last sync."""
SWEEP_S: Final = 60
WOKEN_AT_ONCE: Final = 100
"""How many waiters are woken in one turn of the reactor."""
FEW: Final = 20
"""Rooms with no more feeds than this wake them at once for typing and receipts; larger ones let them gather."""
GATHER_S: Final = 0.5

Why: TypeAlias = Literal["news", "time", "ended"]
"""Why a waiter was woken: something is new, its time is over, or its session or the server ends."""


class Clock(Protocol):
    """What streams need of the reactor."""

    def callLater(self, delay: float, f: Callable[..., object], *args: object) -> IDelayedCall:  # noqa: N802
        """Call `f` after so many seconds."""

    def seconds(self) -> float:
        """Read the reactor's clock."""


def mark(marks: dict[K, int], key: K, at: int) -> None:
    """Move a key to the end of `marks`, which is in the order of its values."""
    marks.pop(key, None)
    marks[key] = at


def mark_bounded(marks: dict[K, int], key: K, at: int) -> int:
    """The same, dropping the oldest where there are too many; the value that was dropped, or 0."""
    mark(marks, key, at)
    return marks.pop(next(iter(marks))) if len(marks) > MOST_MARKS else 0


def marked_after(marks: dict[K, int], at: int) -> Iterator[K]:
    """The keys that were marked after that, the latest first."""
    for key, value in reversed(marks.items()):
        if value <= at:
            return
        yield key


class RoomLog:
    """The last events and receipts of a room that somebody listens to: all those above the floors.

    `key` is the room's ID as JSON.
    """

    __slots__ = ("events", "feeds", "floor", "key", "receipts", "receipts_floor", "room_id")

    def __init__(self, room_id: RoomID, floor: int) -> None:
        self.room_id = room_id
        self.key = msgspec.json.encode(room_id)
        self.feeds: dict[Feed, None] = {}
        self.floor = floor
        self.events: deque[RoomEvent] = deque()
        self.receipts_floor = floor
        self.receipts: dict[tuple[UserID, str, str | None], ReceiptMoved] = {}

    def append(self, held: RoomEvent) -> None:
        """Add an event."""
        self.events.append(held)
        if len(self.events) > MOST_EVENTS:
            self.floor = self.events.popleft().stream

    def move(self, receipt: ReceiptMoved) -> None:
        """Put a receipt in the place of the one before."""
        key = (receipt.user_id, receipt.kind, receipt.thread_id)
        self.receipts.pop(key, None)
        self.receipts[key] = receipt
        if len(self.receipts) > MOST_MARKS:
            self.receipts_floor = self.receipts.pop(next(iter(self.receipts))).position

    def since(self, position: int, upto: int) -> list[RoomEvent]:
        """The events above a position that is not below the floor, and not above `upto`, in stream order."""
        found = []
        for held in reversed(self.events):
            if held.stream <= position:
                break
            if held.stream <= upto:
                found.append(held)
        found.reverse()
        return found

    def receipts_since(self, position: int) -> list[ReceiptMoved]:
        """The receipts that moved above a position that is not below their floor, in order."""
        found = []
        for receipt in reversed(self.receipts.values()):
            if receipt.position <= position:
                break
            found.append(receipt)
        found.reverse()
        return found


class _Waiter:
    """A sync that waits."""

    __slots__ = ("device_id", "feed", "fired", "timer")

    def __init__(self, feed: "Feed", device_id: DeviceID | None) -> None:
        self.feed = feed
        self.device_id = device_id
        self.fired: Deferred[Why] = Deferred(self._forget)
        self.timer: IDelayedCall | None = None

    def leave(self, result: T) -> T:
        self.wake("ended")
        return result

    def wake(self, why: Why) -> None:
        if self in self.feed.waiters:
            self._forget()
            self.fired.callback(why)

    def _forget(self, _cancelled: object = None) -> None:
        self.feed.waiters.pop(self, None)
        if self.timer is not None and self.timer.active():
            self.timer.cancel()


class Feed:
    """What changed for one person, complete above `floor` (position) and `serial_floor` (serial).

    `rooms` are those they are joined to. Marks, each in the order of its values: `changed`, rooms with new events or
    receipts (position); `stirred`, rooms with other people typing (serial); `own`, account data of the person by kind
    and room (position); `presence` and `devices`, people whom to show (serial). `moves` are the person's own membership
    events.
    """

    __slots__ = (
        "changed",
        "devices",
        "floor",
        "loading",
        "moves",
        "own",
        "presence",
        "rooms",
        "seen_s",
        "serial_floor",
        "stirred",
        "user_id",
        "users",
        "waiters",
    )

    def __init__(self, user_id: UserID) -> None:
        self.user_id = user_id
        self.floor = 0
        self.serial_floor = 0
        self.rooms: dict[RoomID, RoomLog] = {}
        self.changed: dict[RoomID, int] = {}
        self.stirred: dict[RoomID, int] = {}
        self.own: dict[tuple[str, RoomID | None], int] = {}
        self.presence: dict[UserID, int] = {}
        self.devices: dict[UserID, int] = {}
        self.moves: deque[RoomEvent] = deque()
        self.waiters: dict[_Waiter, None] = {}
        self.loading: list[Deferred[None]] | None = []
        self.users = 0
        self.seen_s = 0.0

    def moves_since(self, position: int, upto: int) -> list[RoomEvent]:
        """The person's own membership events above a position that is not below the floor, in stream order."""
        return [held for held in self.moves if position < held.stream <= upto]

    def note_move(self, held: RoomEvent) -> None:
        """Add a membership event of the person's."""
        self.moves.append(held)
        if len(self.moves) > MOST_EVENTS:
            self.floor = max(self.floor, self.moves.popleft().stream)


class Streams:
    """All feeds of this process. Everything is called on the reactor's thread.

    `position` is that of the last commit told here; `serial` ticks with everything else.
    """

    def __init__(self, database: Database, clock: Clock, start_ms: int) -> None:
        self.position = database.position
        self.serial = start_ms
        self._database = database
        self._clock = clock
        self._feeds: dict[UserID, Feed] = {}
        self._rooms: dict[RoomID, RoomLog] = {}
        self._gathering: dict[Feed, None] = {}
        self._gather: IDelayedCall | None = None
        self._sweep: IDelayedCall | None = None
        self._closed = False
        self._take_up: dict[type[Any], Callable[[Any, dict[Feed, None]], None]] = {
            EventAdded: self._add_event,
            UserDataChanged: self._change_own,
            ReceiptMoved: self._move_receipt,
            StateRewritten: self._rewrite_state,
            SessionsEnded: self._end_sessions,
        }

    # what is new

    def advance(self, position: int, changes: Sequence[Change]) -> None:
        """Take up what a commit tells and wake those it concerns."""
        self.position = position
        woken: dict[Feed, None] = {}
        for change in changes:
            take_up = self._take_up.get(type(change))
            if take_up is not None:
                take_up(change, woken)
        self._wake(woken)

    def stir(self, room_id: RoomID) -> int:
        """Tell those in a room that typing changed; the serial of that."""
        self.serial += 1
        log = self._rooms.get(room_id)
        if log is not None:
            for feed in log.feeds:
                mark(feed.stirred, room_id, self.serial)
            self._wake_softly(log.feeds)
        return self.serial

    def show_presence(self, user_id: UserID) -> int:
        """Tell those who share a room with that person that their presence changed; the serial of that."""
        self.serial += 1
        others = self.companions(user_id)
        for feed in others:
            feed.serial_floor = max(feed.serial_floor, mark_bounded(feed.presence, user_id, self.serial))
        self._wake_gathered(others)
        return self.serial

    def companions(self, user_id: UserID) -> dict[Feed, None]:
        """The feeds of those who share a room with that person, their own included; only while they have one."""
        feed = self._feeds.get(user_id)
        if feed is None:
            return {}
        return {feed: None} | {other: None for log in feed.rooms.values() for other in log.feeds}

    # who listens

    @contextmanager
    def listening(self, user_id: UserID) -> Iterator[Feed]:
        """The feed of that person, kept as long as the context lasts; await :meth:`ready` before it is used."""
        feed = self._feeds.get(user_id)
        if feed is None:
            feed = self._feeds[user_id] = Feed(user_id)
            self._database.read(load_joined_rooms, user_id).addCallbacks(
                self._register, self._fail, callbackArgs=(feed,), errbackArgs=(feed,)
            )
        feed.users += 1
        self._schedule_sweep()
        try:
            yield feed
        finally:
            feed.users -= 1
            feed.seen_s = self._clock.seconds()

    async def ready(self, feed: Feed) -> None:
        """Wait until the feed is registered with all its rooms; everything new since is then in it.

        Raises:
            StorageUnavailable: the rooms could not be read.
        """
        if feed.loading is not None:
            registered: Deferred[None] = Deferred()
            feed.loading.append(registered)
            await registered

    def find_room(self, room_id: RoomID) -> RoomLog | None:
        """The log of that room, if anybody listens to it."""
        return self._rooms.get(room_id)

    def wait(
        self, feed: Feed, device_id: DeviceID | None, timeout_s: float, gone: Deferred[None] | None = None
    ) -> Deferred[Why]:
        """Wait for something new in the feed, or until `gone` fires. Look before waiting, in the same turn."""
        waiter = _Waiter(feed, device_id)
        feed.waiters[waiter] = None
        if self._closed:
            waiter.wake("ended")
        else:
            waiter.timer = self._clock.callLater(timeout_s, waiter.wake, "time")
            if gone is not None:
                gone.addCallback(waiter.leave)
        return waiter.fired

    def close(self) -> None:
        """Wake everybody; from now on nobody waits."""
        self._closed = True
        for timer in (self._gather, self._sweep):
            if timer is not None and timer.active():
                timer.cancel()
        for feed in self._feeds.values():
            for waiter in tuple(feed.waiters):
                waiter.wake("ended")

    # kinds of changes

    def _add_event(self, change: EventAdded, woken: dict[Feed, None]) -> None:
        held = change.event
        event = held.event
        log = self._rooms.get(event.room_id)
        if log is not None:
            log.append(held)
            self._mark_room(log, change.position, woken)
        if event.type == "m.room.member":
            own = self._feeds.get(UserID(event.state_key or ""))
            if own is not None:
                self._move(own, held)
                woken[own] = None

    def _mark_room(self, log: RoomLog, position: int, woken: dict[Feed, None]) -> None:
        room_id = log.room_id
        for feed in log.feeds:
            changed = feed.changed
            changed.pop(room_id, None)
            changed[room_id] = position
            if feed.waiters:
                woken[feed] = None

    def _move(self, feed: Feed, held: RoomEvent) -> None:
        """The person themselves joined or left."""
        feed.note_move(held)
        room_id = held.event.room_id
        if held.event.membership != "join":
            self._leave(feed, room_id)
        elif room_id not in feed.rooms:
            self._join(feed, room_id)
            feed.changed[room_id] = held.stream

    def _change_own(self, change: UserDataChanged, woken: dict[Feed, None]) -> None:
        if change.kind == "device_lists":
            self._spread_devices(change.user_id)
            return
        feed = self._feeds.get(change.user_id)
        if feed is not None:
            key = (change.kind, change.room_id)
            feed.floor = max(feed.floor, mark_bounded(feed.own, key, change.position))
            woken[feed] = None

    def _spread_devices(self, user_id: UserID) -> None:
        """Show a person whose device list changed to all who share a room with them."""
        feed = self._feeds.get(user_id)
        if feed is not None and feed.loading is None:
            self._show_devices(tuple(feed.rooms), user_id)
        else:
            self._database.read(load_joined_rooms, user_id).addCallbacks(
                self._show_devices, self._distrust_feeds, callbackArgs=(user_id,)
            )

    def _show_devices(self, rooms: Sequence[RoomID], user_id: UserID) -> None:
        self.serial += 1
        reached = {feed: None for room_id in rooms if room_id in self._rooms for feed in self._rooms[room_id].feeds}
        own = self._feeds.get(user_id)
        if own is not None:
            reached[own] = None
        for feed in reached:
            feed.serial_floor = max(feed.serial_floor, mark_bounded(feed.devices, user_id, self.serial))
        self._wake(reached)

    def _distrust_feeds(self, _failure: Failure) -> None:
        """The tables did not say whom a change concerns: let everybody look there once they answer."""
        self.serial += 1
        for feed in self._feeds.values():
            feed.serial_floor = self.serial

    def _move_receipt(self, change: ReceiptMoved, woken: dict[Feed, None]) -> None:
        own = self._feeds.get(change.user_id)
        log = self._rooms.get(change.room_id)
        if log is None:
            return
        log.move(change)
        if change.kind == "m.read":
            silent: dict[Feed, None] = {}
            self._mark_room(log, change.position, silent)
            self._wake_softly(log.feeds)
        elif own is not None and change.room_id in own.rooms:
            mark(own.changed, change.room_id, change.position)
        if own is not None:
            woken[own] = None

    def _rewrite_state(self, change: StateRewritten, woken: dict[Feed, None]) -> None:
        log = self._rooms.get(change.room_id)
        if log is not None:
            log.events.clear()
            log.floor = change.position
            self._mark_room(log, change.position, woken)

    def _end_sessions(self, change: SessionsEnded, _woken: dict[Feed, None]) -> None:
        feed = self._feeds.get(change.user_id)
        for waiter in tuple(feed.waiters) if feed is not None else ():
            if change.device_id in (None, waiter.device_id):
                waiter.wake("ended")

    # waking

    def _wake(self, feeds: Mapping[Feed, None]) -> None:
        waiters = [waiter for feed in feeds for waiter in feed.waiters]
        if waiters:
            self._wake_some(waiters)

    def _wake_some(self, waiters: Sequence[_Waiter]) -> None:
        """Wake as many as one turn of the reactor bears, and the others in the next."""
        if len(waiters) > WOKEN_AT_ONCE:
            self._clock.callLater(0, self._wake_some, waiters[WOKEN_AT_ONCE:])
        for waiter in waiters[:WOKEN_AT_ONCE]:
            waiter.wake("news")

    def _wake_softly(self, feeds: Mapping[Feed, None]) -> None:
        """Wake few at once; let the many wait a moment for more of the same."""
        if len(feeds) <= FEW:
            self._wake(feeds)
        else:
            self._wake_gathered(feeds)

    def _wake_gathered(self, feeds: Mapping[Feed, None]) -> None:
        self._gathering.update(feeds)
        if self._gather is None and not self._closed and self._gathering:
            self._gather = self._clock.callLater(GATHER_S, self._wake_all_gathered)

    def _wake_all_gathered(self) -> None:
        self._gather = None
        gathered, self._gathering = self._gathering, {}
        self._wake(gathered)

    # keeping feeds

    def _register(self, rooms: Sequence[RoomID], feed: Feed) -> None:
        """Register the feed with the rooms its person is in; where they moved meanwhile, that counts."""
        moved = {held.event.room_id for held in feed.moves}
        for room_id in rooms:
            if room_id not in moved:
                self._join(feed, room_id)
        feed.floor, feed.serial_floor = self.position, self.serial
        waiting, feed.loading = feed.loading or (), None
        for registered in waiting:
            registered.callback(None)

    def _fail(self, failure: Failure, feed: Feed) -> None:
        self._drop(feed)
        waiting, feed.loading = feed.loading or (), []
        for registered in waiting:
            registered.errback(failure)

    def _join(self, feed: Feed, room_id: RoomID) -> None:
        log = self._rooms.get(room_id)
        if log is None:
            log = self._rooms[room_id] = RoomLog(room_id, self.position)
        log.feeds[feed] = None
        feed.rooms[room_id] = log

    def _leave(self, feed: Feed, room_id: RoomID) -> None:
        feed.changed.pop(room_id, None)
        feed.stirred.pop(room_id, None)
        log = feed.rooms.pop(room_id, None)
        if log is not None:
            del log.feeds[feed]
            if not log.feeds:
                del self._rooms[room_id]

    def _drop(self, feed: Feed) -> None:
        if self._feeds.get(feed.user_id) is feed:
            del self._feeds[feed.user_id]
        for room_id in tuple(feed.rooms):
            self._leave(feed, room_id)

    def _schedule_sweep(self) -> None:
        if self._sweep is None and not self._closed:
            self._sweep = self._clock.callLater(SWEEP_S, self._sweep_idle)

    def _sweep_idle(self) -> None:
        """Drop the feeds that nobody has asked for in a while, and more when there are too many."""
        self._sweep = None
        idle = sorted((feed for feed in self._feeds.values() if not feed.users), key=lambda feed: feed.seen_s)
        surplus = len(self._feeds) - MOST_FEEDS
        horizon = self._clock.seconds() - IDLE_S
        for at, feed in enumerate(idle):
            if at < surplus or feed.seen_s <= horizon:
                self._drop(feed)
        if self._feeds:
            self._schedule_sweep()


def load_joined_rooms(txn: Txn, user_id: UserID) -> list[RoomID]:
    """The rooms that person is in."""
    return [found.room_id for found in load_memberships(txn, user_id, membership="join")]
