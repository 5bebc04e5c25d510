"""All feeds of this process, and how what is new reaches them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from federation.ids import DeviceID, RoomID, UserID
from homeserver.storage.changes import EventAdded, ReceiptMoved, SessionsEnded, StateRewritten, UserDataChanged
from homeserver.storage.database import Change, Database, Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.members import load_memberships
from homeserver.streams.feeds import Feed, RoomLog, Waiter, Why, mark, mark_bounded, marked_after

MOST_FEEDS: Final = 20_000
IDLE_S: Final = 600
"""How long a feed outlives the last sync."""
SWEEP_S: Final = 60
WOKEN_AT_ONCE: Final = 100
"""How many waiters are woken in one turn of the reactor."""
FEW: Final = 20
"""Rooms with no more feeds than this wake them at once for typing and receipts; larger ones let them gather."""
GATHER_S: Final = 0.5


class Clock(Protocol):
    """What streams need of the reactor."""

    def callLater(self, delay: float, call: Callable[..., object], /, *args: object) -> IDelayedCall:  # noqa: N802
        """Call something after so many seconds."""

    def seconds(self) -> float:
        """Read the reactor's clock."""


class Bystander(Protocol):
    """Hears of what is never committed without being anybody's feed."""

    def stir(self, room_id: RoomID, /) -> None:
        """Typing changed in a room."""

    def show(self, user_id: UserID, /) -> None:
        """Somebody's presence changed."""


class Streams:
    """All feeds of this process. Everything is called on the reactor's thread.

    `position` is that of the last commit told here; `serial` ticks with everything else, of which `bystanders` hear.
    """

    def __init__(self, database: Database, clock: Clock, start_ms: int) -> None:
        self.position = database.position
        self.serial = start_ms
        self._database = database
        self._clock = clock
        self._feeds: dict[UserID, Feed] = {}
        self._rooms: dict[RoomID, RoomLog] = {}
        self._stirred: dict[RoomID, int] = {}
        self._gathering: dict[Feed, None] = {}
        self._gather: IDelayedCall | None = None
        self._sweep: IDelayedCall | None = None
        self._closed = False
        self.bystanders: list[Bystander] = []
        self._take_up: dict[type[Any], Callable[[Any, dict[Feed, None]], None]] = {
            EventAdded: self._add_event,
            UserDataChanged: self._change_own,
            ReceiptMoved: self._move_receipt,
            StateRewritten: self._rewrite_state,
            SessionsEnded: self._end_sessions,
        }

    # what is new

    def advance(self, position: int, changes: Sequence[Change]) -> None:
        """Take up what a commit tells and wake those it concerns: none of them before all of it is taken up."""
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
        mark_bounded(self._stirred, room_id, self.serial)
        log = self._rooms.get(room_id)
        if log is not None:
            for feed in log.feeds:
                mark(feed.stirred, room_id, self.serial)
            self._wake_softly(log.feeds)
        for bystander in self.bystanders:
            bystander.stir(room_id)
        return self.serial

    def stirred_since(self, serial: int) -> frozenset[RoomID]:
        """The rooms where typing changed after that serial, for who has had no feed meanwhile."""
        return frozenset(marked_after(self._stirred, serial))

    def show_presence(self, user_id: UserID, rooms: Iterable[RoomID] = ()) -> int:
        """Tell those who share a room with that person that their presence changed; the serial of that.

        `rooms` are theirs, where it is somebody of another server.
        """
        self.serial += 1
        others = self.companions(user_id)
        others |= {feed: None for room_id in rooms if (log := self._rooms.get(room_id)) for feed in log.feeds}
        for feed in others:
            feed.serial_floor = max(feed.serial_floor, mark_bounded(feed.presence, user_id, self.serial))
        self._wake_gathered(others)
        for bystander in self.bystanders:
            bystander.show(user_id)
        return self.serial

    def companions(self, user_id: UserID) -> dict[Feed, None]:
        """The feeds of those who share a room with that person, their own included; only while they have one."""
        feed = self._feeds.get(user_id)
        if feed is None:
            return {}
        return {feed: None} | {other: None for log in feed.rooms.values() for other in log.feeds}

    def rooms_of(self, user_id: UserID) -> Iterable[RoomID]:
        """The rooms that a person is in; only while they have a feed."""
        feed = self._feeds.get(user_id)
        return () if feed is None else feed.rooms

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
        waiter = Waiter(feed, device_id)
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
        self._put(feed, held.event.room_id, joined=held.event.membership == "join")
        if held.event.membership == "join":
            mark(feed.changed, held.event.room_id, held.stream)

    def _put(self, feed: Feed, room_id: RoomID, *, joined: bool) -> None:
        """Let the feed listen to a room, or not."""
        if not joined:
            self._leave(feed, room_id)
        elif room_id not in feed.rooms:
            self._join(feed, room_id)

    def _change_own(self, change: UserDataChanged, woken: dict[Feed, None]) -> None:
        feed = self._feeds.get(change.user_id)
        if change.kind == "device_lists":
            self._show_devices(change, feed, woken)
            return
        if feed is not None:
            key = (change.kind, change.room_id)
            feed.floor = max(feed.floor, mark_bounded(feed.own, key, change.position))
            woken[feed] = None

    def _show_devices(self, change: UserDataChanged, own: Feed | None, woken: dict[Feed, None]) -> None:
        """Note in the feeds of all who share a room with a person that their devices changed."""
        reached = {feed: None for room_id in change.rooms if (log := self._rooms.get(room_id)) for feed in log.feeds}
        if own is not None:
            reached[own] = None
        for feed in reached:
            feed.floor = max(feed.floor, mark_bounded(feed.devices, change.user_id, change.position))
        woken.update(reached)

    def _move_receipt(self, change: ReceiptMoved, woken: dict[Feed, None]) -> None:
        own = self._feeds.get(change.user_id)
        log = self._rooms.get(change.room_id)
        if log is None:
            return
        log.move(change)
        if change.kind == "m.read":
            reached: dict[Feed, None] = {}
            self._mark_room(log, change.position, reached)
            if len(log.feeds) <= FEW:
                woken.update(reached)
            else:
                self._wake_gathered(log.feeds)
        elif own is not None and change.room_id in own.rooms:
            mark(own.changed, change.room_id, change.position)
        if own is not None:
            woken[own] = None

    def _rewrite_state(self, change: StateRewritten, woken: dict[Feed, None]) -> None:
        log = self._rooms.get(change.room_id)
        if log is not None:
            log.forget(change.position)
            self._mark_room(log, change.position, woken)
        for user_id, is_joined in change.moved.items():
            feed = self._feeds.get(user_id)
            if feed is not None:
                self._put(feed, change.room_id, joined=is_joined)
                feed.floor = max(feed.floor, change.position)
                woken[feed] = None

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

    def _wake_some(self, waiters: Sequence[Waiter]) -> None:
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
