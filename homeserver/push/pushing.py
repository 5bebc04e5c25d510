"""Tells push gateways what people are to be notified of.

`heed` notes what each commit tells and returns at once; the work is done in later turns of the reactor, in the order of
the stream. Rules are evaluated where somebody with a pusher is in the room (`audience`), and what they want to hear of
waits in a `Line` for each of their pushers until its gateway has taken it.

What waits is in memory. The tables know for each pusher up to where it was told, while something waits, and one horizon
for all others; they are written every few seconds. After a crash what was told in the last of these is told again, and
gateways know it by its event ID.

Spec: client-server-api#push-notifications, push-gateway-api#homeserver-behaviour
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from twisted.internet.task import deferLater
from twisted.logger import Logger

from federation.errors import RemoteFault
from federation.ids import RoomID, UserID
from federation.transport.tasks import Tasks
from homeserver.push.audience import Audience
from homeserver.push.badges import Badges
from homeserver.push.counts import Counts
from homeserver.push.gateway import Asks, Gateways, Notice, build_badge, build_notification
from homeserver.push.lines import MOST_WAITING, Line
from homeserver.push.rulebook import Rulebook
from homeserver.rooms.preview import build_preview
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.storage.changes import (
    EventAdded,
    PushersChanged,
    ReceiptMoved,
    SessionsEnded,
    StateRewritten,
    UserDataChanged,
)
from homeserver.storage.data import load_ignored
from homeserver.storage.database import Change, Database, StorageUnavailable
from homeserver.storage.events import RoomEvent, find_event
from homeserver.storage.invites import Outlying, find_outlying
from homeserver.storage.pushers import (
    Pusher,
    PusherKey,
    load_invitations,
    load_pushers,
    load_standing,
    remove_pusher,
    set_told,
)
from homeserver.storage.threads import MAIN, relation_of
from homeserver.streams.streams import load_joined_rooms

SLICE: Final = 200
"""For how many people one event is judged in one turn of the reactor."""
NOTE_S: Final = 5.0
"""How often it is written down how far everybody was told."""
PAUSE_S: Final = 1.0
"""How long to wait for storage that is not there."""
MEMBER: Final = "m.room.member"

_log = Logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What pushing uses. `bare`: no gateway learns more of an event than its ID and room."""

    database: Database
    rooms: Rooms
    rulebook: Rulebook
    counts: Counts
    outward: Asks
    clock: Any
    now_ms: Callable[[], int]
    token_bytes: Callable[[int], bytes]
    bare: bool


class _Reached:
    """Somebody with pushers; `ignored` is whose messages they do not want, None while that is not known."""

    __slots__ = ("ignored", "lines")

    def __init__(self) -> None:
        self.lines: dict[PusherKey, Line] = {}
        self.ignored: frozenset[str] | None = None


class Pushing:
    """All pushers' lines, on the reactor's thread. `resume` once at the start, `stop` at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._people: dict[UserID, _Reached] = {}
        self._audience = Audience(self._people, world.rooms.find)
        self._badges = Badges(world.database, world.counts)
        self._gateways = Gateways(world.outward)
        self._news: deque[Change] = deque()
        self._owed: deque[tuple[UserID, int]] = deque()
        self._position = 0
        self._is_dirty = False
        self._is_working = False
        self._state: Literal["new", "running", "stopped"] = "new"
        self._tasks = Tasks(lambda failure: _log.failure("pushing failed", failure))
        self._timer: Any = None
        self._take_up: dict[type[Any], Callable[[Any], Any]] = {
            EventAdded: self._take_event,
            ReceiptMoved: self._take_receipt,
            SessionsEnded: self._take_pushers,
            PushersChanged: self._take_pushers,
        }

    # from outside

    @property
    def is_idle(self) -> bool:
        """Whether all is told that can be by now."""
        return self._tasks.is_idle and not (self._news or self._owed)

    async def resume(self) -> None:
        """Load all pushers, and begin to tell what they missed and what is new.

        Raises: StorageUnavailable.
        """
        self._position = max(self._position, self._world.database.position)
        standing = await self._world.database.read(load_standing)
        for pusher in standing.pushers:
            self._open(pusher)
        self._owed.extend((user_id, standing.horizon) for user_id in standing.behind)
        self._state = "running"
        self._timer = self._world.clock.callLater(NOTE_S, self._note_again)
        self._begin_work()

    def heed(self, position: int, changes: Sequence[Change]) -> None:
        """Take note of what a commit tells."""
        self._position = position
        for change in changes:
            if self._concerns(change):
                self._news.append(change)
        if self._news:
            self._begin_work()

    async def stop(self) -> None:
        """Tell nobody any more, and write down how far everybody was told."""
        was, self._state = self._state, "stopped"
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for line in self._lines():
            line.stop_waiting()
        self._tasks.cancel()
        if was == "running":
            await self._note()

    def _concerns(self, change: Change) -> bool:
        """Whether there is work to do for it, and what must not wait."""
        if isinstance(change, EventAdded):
            return bool(self._people or self._news) or self._state == "new"
        if isinstance(change, ReceiptMoved):
            return change.user_id in self._people
        if isinstance(change, SessionsEnded | PushersChanged):
            for line in self._lines_of(change.user_id):
                line.is_held = True
            return True
        if isinstance(change, UserDataChanged):
            reached = self._people.get(change.user_id)
            if reached is not None and change.kind == "account_data" and change.room_id is None:
                reached.ignored = None
        elif isinstance(change, StateRewritten):
            self._audience.forget_room(change.room_id)
        return False

    # what is new, in order

    def _begin_work(self) -> None:
        if self._state == "running" and not self._is_working:
            self._is_working = True
            self._tasks.run(self._work_later())

    async def _work_later(self) -> None:
        try:
            await self._breathe()
            while self._state == "running" and (self._owed or self._news):
                await self._work_on()
        finally:
            self._is_working = False

    async def _work_on(self) -> None:
        """Do the next thing there is to do, and once more if storage is away."""
        queue: deque[Any] = self._owed or self._news
        first, is_done = queue[0], True
        try:
            await (self._catch_up(*first) if queue is self._owed else self._take_up[type(first)](first))
        except StorageUnavailable as fault:
            is_done = False
            _log.warn("cannot tell push gateways what is new: {fault}", fault=str(fault))
            await self._breathe(PAUSE_S)
        finally:
            if is_done:
                queue.popleft()
            self._is_dirty = True

    async def _breathe(self, delay_s: float = 0) -> None:
        await deferLater(self._world.clock, delay_s, lambda: None)

    async def _take_event(self, change: EventAdded) -> None:
        held = change.event
        room = await self._world.rooms.load(held.event.room_id)
        if room is None:
            await self._take_invitation(held)
            return
        if held.type == MEMBER:
            await self._move(held, room)
        for number, user_id in enumerate(tuple(self._audience.of(room)), 1):
            await self._offer(user_id, held, room)
            if number % SLICE == 0:
                await self._breathe()

    async def _take_invitation(self, held: RoomEvent) -> None:
        """Somebody is asked into a room elsewhere, or that has ended."""
        user_id = UserID(held.state_key or "")
        if user_id in self._people:
            found = await self._world.database.read(find_outlying, user_id, held.event.room_id)
            if found is not None and found.event.event_id == held.event_id:
                await self._move(held, _preview(found))

    async def _move(self, held: RoomEvent, room: Room) -> None:
        """Somebody came into a room, left it or is invited."""
        user_id = UserID(held.state_key or "")
        self._audience.move(room.room_id, user_id, joined=held.membership == "join")
        if user_id not in self._people:
            return
        self._badges.spoil(user_id, room.room_id)
        if held.membership != "join":
            for line in self._lines_of(user_id):
                line.leave(room.room_id)
        if held.membership == "invite":
            await self._offer(user_id, held, room)

    async def _offer(self, user_id: UserID, held: RoomEvent, room: Room) -> None:
        """Let somebody's lines tell of an event, if their rules say so."""
        reached, event = self._people.get(user_id), held.event
        if reached is None:
            return
        is_own = event.sender == user_id
        if (is_own or event.redacts is not None) and self._badges.waits(user_id, room.room_id):
            self._badges.spoil(user_id, room.room_id)
            self._renew_badge(reached)
        if is_own or event.sender in await self._load_ignored(user_id, reached):
            return
        notice = await self._judge(user_id, held, room)
        if notice is None:
            return
        for line in reached.lines.values():
            line.put(notice)
            self._start(line)

    async def _judge(self, user_id: UserID, held: RoomEvent, room: Room) -> Notice | None:
        """What somebody is to be told of an event of somebody else's, and count it."""
        rules = self._world.rulebook.find(user_id) or await self._world.rulebook.load(user_id)
        outcome = self._world.counts.judge(held, user_id, rules, room)
        if not outcome.notify:
            return None
        relation = relation_of(held.event.content)
        if relation is None or relation.type == "m.thread":
            self._badges.add(user_id, room.room_id, held.stream)
        else:
            self._badges.spoil(user_id, room.room_id)
        thread = relation.event_id if relation is not None and relation.type == "m.thread" else MAIN
        return Notice(held=held, room=room, outcome=outcome, thread=thread, at_ms=self._world.now_ms())

    async def _load_ignored(self, user_id: UserID, reached: _Reached) -> frozenset[str]:
        while (ignored := reached.ignored) is None:
            reached.ignored = frozenset()  # a change that comes while it is read makes it None again
            try:
                ignored = await self._world.database.read(load_ignored, user_id)
            except BaseException:
                reached.ignored = None
                raise
            if reached.ignored is not None:
                reached.ignored = ignored
        return ignored

    async def _take_receipt(self, change: ReceiptMoved) -> None:
        reached = self._people.get(change.user_id)
        if reached is None:
            return
        self._badges.spoil(change.user_id, change.room_id)
        for line in reached.lines.values():
            line.read(change)
            self._start(line)

    def _renew_badge(self, reached: _Reached) -> None:
        for line in reached.lines.values():
            line.is_due = True
            self._start(line)

    # who has pushers

    async def _take_pushers(self, change: SessionsEnded | PushersChanged) -> None:
        """Look somebody's pushers up again."""
        user_id = change.user_id
        there = {pusher.key: pusher for pusher in await self._world.database.read(load_pushers, user_id)}
        for line in tuple(self._lines_of(user_id)):
            if line.pusher.key not in there:
                self._close(line)
        for pusher in there.values():
            line = self._open(pusher)
            line.is_held = False
            if pusher.set_ms != line.pusher.set_ms:
                line.stop_waiting()
                line.failures, line.shown = 0, None
            line.pusher = pusher
            self._start(line)

    def _open(self, pusher: Pusher) -> Line:
        user_id = pusher.key.user_id
        reached = self._people.get(user_id)
        if reached is None:
            reached = self._people[user_id] = _Reached()
            self._audience.add(user_id)
        return reached.lines.setdefault(pusher.key, Line(pusher))

    def _close(self, line: Line) -> None:
        line.close()
        user_id = line.pusher.key.user_id
        lines = self._people[user_id].lines
        lines.pop(line.pusher.key, None)
        if not lines:
            del self._people[user_id]
            self._audience.remove(user_id)
            self._badges.forget(user_id)

    def _lines_of(self, user_id: UserID) -> Sequence[Line]:
        reached = self._people.get(user_id)
        return () if reached is None else tuple(reached.lines.values())

    def _lines(self) -> list[Line]:
        return [line for reached in self._people.values() for line in reached.lines.values()]

    # telling

    def _start(self, line: Line) -> None:
        if line.is_ready and not line.is_busy and self._state == "running":
            line.is_busy = True
            self._tasks.run(self._tell_all(line))

    async def _tell_all(self, line: Line) -> None:
        try:
            while line.is_ready and self._state == "running":
                await self._tell(line)
        except (RemoteFault, StorageUnavailable) as fault:
            self._try_later(line, fault)
        finally:
            line.is_busy = False

    async def _tell(self, line: Line) -> None:
        """Tell the next thing there is to tell."""
        line.is_due = False
        try:
            await self._tell_next(line)
        except (RemoteFault, StorageUnavailable):
            line.is_due = True
            raise

    async def _tell_next(self, line: Line) -> None:
        unread = await self._badges.total(line.pusher.key.user_id)
        notice, pusher = line.find_next(self._world.now_ms()), line.pusher
        if line.is_closed or line.is_held or (notice is None and unread == line.shown):
            return
        if notice is None:
            told = build_badge(pusher, unread)
        else:
            told = build_notification(pusher, notice, unread, bare=self._world.bare)
        rejected = await self._gateways.tell(pusher.details.data["url"], told)
        line.done(notice, unread)
        self._is_dirty = True
        if pusher.key.pushkey in rejected:
            await self._remove(line)

    async def _remove(self, line: Line) -> None:
        """A gateway knows a pusher no longer."""
        line.is_held = True  # until the commit has told of it
        try:
            await self._world.database.write(remove_pusher, line.pusher.key)
        except StorageUnavailable:
            line.is_held = False
            raise

    def _try_later(self, line: Line, fault: Exception) -> None:
        if line.is_closed or self._state != "running":
            return
        chance = int.from_bytes(self._world.token_bytes(2), "big") / 0xFFFF
        delay_s = line.delay_s(chance)
        _log.debug("a push gateway took nothing ({fault}), again in {delay_s} s", fault=str(fault), delay_s=delay_s)
        line.timer = self._world.clock.callLater(delay_s, self._try_again, line)

    def _try_again(self, line: Line) -> None:
        line.timer = None
        self._start(line)

    # after a restart

    async def _catch_up(self, user_id: UserID, horizon: int) -> None:
        """Tell somebody the last of what they missed and have not read, and to which rooms they are still invited."""
        lines = self._lines_of(user_id)
        floors = [horizon if line.noted is None else line.noted for line in lines]
        floor = min(floors, default=self._position)
        rooms = await self._world.database.read(load_joined_rooms, user_id)
        unread = await self._world.counts.load(user_id, rooms)
        missed: list[tuple[int, RoomID, str]] = [
            (waiting.stream, room_id, waiting.event_id)
            for room_id, found in unread.items()
            for waiting in found.waiting
            if waiting.stream > floor
        ]
        missed += await self._world.database.read(load_invitations, user_id, floor)
        for stream, room_id, event_id in sorted(missed)[-MOST_WAITING:]:
            notice = await self._find_notice(user_id, room_id, event_id)
            for line, floor in zip(lines, floors, strict=True):
                if notice is not None and stream > floor:
                    line.put(notice)
                    self._start(line)

    async def _find_notice(self, user_id: UserID, room_id: RoomID, event_id: str) -> Notice | None:
        room = await self._world.rooms.load(room_id)
        if room is None:
            found = await self._world.database.read(find_outlying, user_id, room_id)
            room, held = (None, None) if found is None else (_preview(found), found.event)
        else:
            held = room.find_recent(event_id) or await self._world.database.read(find_event, room.record, event_id)
        reached = self._people.get(user_id)
        if room is None or held is None or reached is None:
            return None
        if held.event.sender in await self._load_ignored(user_id, reached):
            return None
        return await self._judge(user_id, held, room)

    # how far everybody is

    def _note_again(self) -> None:
        self._timer = self._world.clock.callLater(NOTE_S, self._note_again)
        if self._is_dirty:
            self._tasks.run(self._note())

    async def _note(self) -> None:
        """Write down how far everybody was told."""
        if self._owed:
            return
        self._is_dirty = False
        horizon = self._news[0].position - 1 if self._news else self._position
        told = {line.pusher.key: line.told for line in self._lines() if line.told != line.noted}
        try:
            await self._world.database.write(set_told, horizon, told)
        except StorageUnavailable:
            self._is_dirty = True
            return
        for key, upto in told.items():
            line = self._people[key.user_id].lines.get(key) if key.user_id in self._people else None
            if line is not None:
                line.noted = upto


def _preview(found: Outlying) -> Room:
    shown = [] if found.shown is None else msgspec.json.decode(found.shown.state)
    return build_preview(found.record, shown, found.event)
