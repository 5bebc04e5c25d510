"""Tells application services what concerns them.

`heed` notes what each commit tells and returns at once; who is concerned is found in later turns of the reactor, in the
order of the stream. Each service's line then makes a transaction of what waits in it, stores it, and sends it until the
service has taken it; only then comes the next.

Spec: application-service-api#pushing-events
"""

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from twisted.internet.task import deferLater
from twisted.logger import Logger

from federation.errors import RemoteFault
from federation.ids import RoomID, UserID
from federation.transport.tasks import Tasks
from homeserver.accounts.appservices.questions import Questions
from homeserver.accounts.appservices.registry import AppService
from homeserver.ephemeral.presence import Presences
from homeserver.ephemeral.typing import Typing
from homeserver.outbox.services.interest import MEMBER, is_target
from homeserver.outbox.services.interest import Rooms as Interested
from homeserver.outbox.services.line import Line
from homeserver.outbox.services.packing import Packing
from homeserver.policy import Policy, SeePresence, SeeRoom, allows
from homeserver.rooms.rooms import Rooms
from homeserver.storage.appservices import (
    LineRecord,
    Stay,
    find_line,
    set_line,
    shares_room,
)
from homeserver.storage.changes import AliasesChanged, EventAdded, ReceiptMoved, StateRewritten, UserDataChanged
from homeserver.storage.database import Change, Database, StorageUnavailable
from homeserver.storage.events import RoomEvent

PAGE: Final = 1000
"""How much of the stream is looked through at a time for a service that is behind."""
MOST_MAIL: Final = 100
SLICE: Final = 100
"""How many changes are looked at in one turn of the reactor."""
NOTE_S: Final = 30.0
"""How often it is noted how far services are of which there was nothing to tell."""
PAUSE_S: Final = 1.0
"""How long to wait for storage that is not there."""

_log = Logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What deliveries use."""

    database: Database
    rooms: Rooms
    questions: Questions
    typing: Typing
    presences: Presences
    policy: Policy
    clock: Any
    now_ms: Callable[[], int]
    token_bytes: Callable[[int], bytes]


class Deliveries:
    """All lines to services, on the reactor's thread. `resume` once at the start, `stop` at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._services = [service for service in world.questions.services.all if service.url is not None]
        self._interested = Interested(self._services, world.database, self._may_hear)
        self._packing = Packing(world.database, self._interested, world.typing, world.presences, world.now_ms)
        self._lines: dict[str, Line] = {}
        self._news: deque[Change | UserID] = deque()
        self._position = 0
        self._state: Literal["new", "running", "stopped"] = "new"
        self._is_working = False
        self._tasks = Tasks(lambda failure: _log.failure("telling application services failed", failure))
        self._timer: Any = None
        self._take_up: dict[type[Any], Callable[[Any], Coroutine[Any, Any, None]]] = {
            EventAdded: self._take_event,
            ReceiptMoved: self._take_receipt,
            StateRewritten: self._take_rewriting,
            AliasesChanged: self._take_aliases,
            UserDataChanged: self._take_own,
            str: self._take_presence,
        }

    # from outside

    @property
    def is_idle(self) -> bool:
        """Whether all is told that can be by now."""
        return self._tasks.is_idle and not self._news

    async def resume(self) -> None:
        """Load how far each service was told, and begin to tell the rest.

        Raises: StorageUnavailable.
        """
        for service in self._services:
            record = await self._world.database.read(find_line, service.id)
            if record is None:
                record = LineRecord(position=self._world.database.position, number=0, body=None)
                await self._world.database.write(set_line, service.id, record)
            self._lines[service.id] = Line(service, record)
        self._advance(max(self._position, self._world.database.position))
        self._state = "running"
        if self._lines:
            self._timer = self._world.clock.callLater(NOTE_S, self._note_again)
        for line in self._lines.values():
            self._start(line)
        self._begin_work()

    def heed(self, position: int, changes: Sequence[Change]) -> None:
        """Take note of what a commit tells."""
        self._position = position
        if not self._services or self._state == "stopped":
            return
        news: list[Any] = [change for change in changes if type(change) in self._take_up]
        news.sort(key=lambda change: change.position)
        self._news.extend(news)
        if self._news:
            self._begin_work()
        elif self._state == "running" and not self._is_working:
            self._advance(position)

    def stir(self, room_id: RoomID) -> None:
        """Somebody in a room types, or has stopped."""
        for line in self._lines.values():
            if line.service.hears_ephemeral:
                self._tasks.run(self._hear_typing(line, room_id))

    def show(self, user_id: UserID) -> None:
        """Somebody's presence changed."""
        if any(line.service.hears_ephemeral for line in self._lines.values()):
            self._news.append(user_id)
            self._begin_work()

    def hurry(self, service: AppService) -> None:
        """Try a service again now that waits: it has shown that it is there."""
        line = self._lines.get(service.id)
        if line is not None:
            line.stop_waiting()
            line.failures = 0
            self._start(line)

    async def stop(self) -> None:
        """Tell nobody any more, and note how far everybody was told."""
        was, self._state = self._state, "stopped"
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for line in self._lines.values():
            line.stop_waiting()
        self._tasks.cancel()
        if was == "running":
            await self._note()

    # what is new, in order

    def _begin_work(self) -> None:
        if self._state == "running" and not self._is_working and self._news:
            self._is_working = True
            self._tasks.run(self._work())

    async def _work(self) -> None:
        try:
            await self._breathe()
            done = 0
            while self._news and self._state == "running":
                try:
                    await self._take(self._news[0])
                finally:
                    self._news.popleft()
                done += 1
                if done % SLICE == 0:
                    await self._breathe()
            if not self._news:
                self._advance(self._position)
        finally:
            self._is_working = False

    async def _take(self, news: Any) -> None:
        """Take one change up, and again while storage is away."""
        while self._state == "running":
            try:
                await self._take_up[type(news)](news)
            except StorageUnavailable as fault:
                _log.warn("cannot tell application services what is new: {fault}", fault=str(fault))
                await self._breathe(PAUSE_S)
            else:
                return

    def _advance(self, position: int) -> None:
        """Everything up to there was looked at."""
        self._interested.position = max(self._interested.position, position)

    async def _breathe(self, delay_s: float = 0) -> None:
        await deferLater(self._world.clock, delay_s, lambda: None)

    async def _take_event(self, change: EventAdded) -> None:
        held = change.event
        if held.stream <= self._interested.position:
            return
        known = self._interested.find(held.room_nid)
        if known is None:
            self._advance(held.stream - 1)
            known = await self._interested.load(held.room_nid, held.event.room_id)
        if held.type == MEMBER:
            stay = Stay(UserID(held.state_key or ""), held.stream, held.membership == "join")
            self._interested.move(held.room_nid, held.event.room_id, stay)
        if known or held.type == MEMBER:
            for line in self._lines.values():
                interest = known.get(line.service)
                if (interest is not None and interest.covers(held.stream)) or self._is_target(line.service, held):
                    line.put(held)
                    self._start(line)
        self._advance(held.stream)

    def _is_target(self, service: AppService, held: RoomEvent) -> bool:
        """Whether an event is a change of the membership of one of the service's people."""
        return service.may_enter(held.event.room_id) and is_target(service, held.type, held.state_key)

    async def _take_receipt(self, change: ReceiptMoved) -> None:
        if not any(line.service.hears_ephemeral for line in self._lines.values()):
            return
        for line in self._lines.values():
            is_for = change.kind == "m.read" or line.service.covers_user(change.user_id)
            if is_for and await self._concerns(line.service, change.room_id):
                line.hear((change.room_id, change.user_id, change.kind, change.thread_id), change)
                self._start(line)

    async def _take_rewriting(self, change: StateRewritten) -> None:
        room = await self._world.rooms.load(change.room_id)
        self._advance(change.position)
        if room is not None:
            self._interested.forget(room.nid)

    async def _take_aliases(self, change: AliasesChanged) -> None:
        self._interested.forget(change.room_nid)

    async def _take_own(self, change: UserDataChanged) -> None:
        if change.kind not in ("to_device", "device_lists", "one_time_keys"):
            return
        for line in self._lines.values():
            if line.service.encrypts and (change.kind == "device_lists" or line.service.covers_user(change.user_id)):
                line.has_mail |= change.kind == "to_device"
                line.has_keys |= change.kind != "to_device"
                self._start(line)

    async def _take_presence(self, user_id: UserID) -> None:
        for line in self._lines.values():
            service = line.service
            if service.hears_ephemeral and await self._may_see(service, user_id):
                line.hear(user_id, user_id)
                self._start(line)

    async def _may_see(self, service: AppService, user_id: UserID) -> bool:
        if service.covers_user(user_id):
            return True
        near = await self._world.database.read(shares_room, user_id, service.id)
        return near and await allows(self._world.policy, SeePresence(by=service.sender, person=user_id))

    async def _may_hear(self, service: AppService, room_id: RoomID) -> bool:
        """Whether a service may hear of a room at all: the operator may limit it, and so does a school."""
        if not service.may_enter(room_id):
            return False
        room = await self._world.rooms.load(room_id) if service.enters else None
        if room is None:
            return not service.enters
        return await allows(self._world.policy, SeeRoom(by=service.sender, room=room))

    async def _concerns(self, service: AppService, room_id: RoomID) -> bool:
        """Whether a room concerns a service now."""
        room = await self._world.rooms.load(room_id)
        if room is None:
            return False
        interest = (await self._interested.load(room.nid, room_id)).get(service)
        return interest is not None and interest.is_current

    async def _hear_typing(self, line: Line, room_id: RoomID) -> None:
        with suppress(StorageUnavailable):
            if await self._concerns(line.service, room_id):
                line.hear(room_id, room_id)
                self._start(line)

    # telling

    def _start(self, line: Line) -> None:
        if line.is_ready and not line.is_busy and self._state == "running":
            line.is_busy = True
            self._tasks.run(self._tell_all(line))

    async def _tell_all(self, line: Line) -> None:
        try:
            await self._breathe()  # let what comes together go together
            while line.is_ready and self._state == "running":
                if line.body is None and not await self._packing.pack(line):
                    continue
                await self._send(line)
        except (RemoteFault, StorageUnavailable) as fault:
            self._try_later(line, fault)
        finally:
            line.is_busy = False

    async def _send(self, line: Line) -> None:
        """Send the transaction that is under way.

        Raises: RemoteFault.
        """
        assert line.body is not None  # it was just packed
        await self._world.questions.tell(line.service, str(line.number), line.body)
        line.body = None
        line.failures = 0
        if not line.is_ready:
            await self._packing.note(line)

    def _try_later(self, line: Line, fault: Exception) -> None:
        if self._state != "running":
            return
        delay_s = line.delay_s(int.from_bytes(self._world.token_bytes(2), "big") / 0xFFFF)
        _log.info(
            "application service {service} took nothing ({fault}), again in {delay_s:.0f} s",
            service=line.service.id,
            fault=str(fault),
            delay_s=delay_s,
        )
        line.timer = self._world.clock.callLater(delay_s, self._try_again, line)

    def _try_again(self, line: Line) -> None:
        line.timer = None
        self._start(line)

    # how far everybody is

    def _note_again(self) -> None:
        self._timer = self._world.clock.callLater(NOTE_S, self._note_again)
        self._tasks.run(self._note())

    async def _note(self) -> None:
        """Note how far the services are of which there is nothing to tell."""
        for line in self._lines.values():
            if line.is_busy or line.body is not None or line.held or line.is_behind:
                continue
            line.position = max(line.position, self._interested.position)
            if line.position != line.noted:
                with suppress(StorageUnavailable):
                    await self._packing.note(line)
