"""How long rooms keep messages: what is too old is shown no more, then removed, by rounds through all rooms.

A room's horizon is the time before when its messages are shown no more. It moves with each round, and at once when a
room says something else. State is never too old; the last message of a room, which the next is built on, is emptied.

Spec: MSC1763
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from federation.redaction import redact_event
from homeserver.rooms.rooms import Rooms
from homeserver.storage.database import Database, StorageUnavailable, Txn
from homeserver.storage.events import load_events
from homeserver.storage.purge import Cursor, Purged, Span, purge_events, set_pruned
from homeserver.storage.retention import Keeping, load_keepings, set_horizon
from homeserver.storage.rooms import RoomRecord, load_rooms

_log = logging.getLogger(__name__)

AT_ONCE: Final = 100
"""How many rooms are looked at in one read."""
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How long messages are kept, in ms: what rooms may say for themselves, and what holds where they say nothing.

    `kinds` are the school's kinds of rooms. None: for ever, or without such a bound.
    """

    default_ms: int | None = None
    shortest_ms: int | None = None
    longest_ms: int | None = None
    kinds: Mapping[str, int]

    def lifetime(self, kind: str | None, content: Mapping[str, Any] | None) -> int | None:
        """How long a room keeps messages, None for ever; `content` is what it says, if anything."""
        said = content or {}
        wanted, least = (_milliseconds(said.get(name)) for name in ("max_lifetime", "min_lifetime"))
        lifetime = wanted if wanted is not None else self.kinds.get(kind or "", self.default_ms)
        if lifetime is None:
            return self.longest_ms
        if wanted is None and least is not None:
            lifetime = max(lifetime, least)
        if self.shortest_ms is not None:
            lifetime = max(lifetime, self.shortest_ms)
        return lifetime if self.longest_ms is None else min(lifetime, self.longest_ms)


def _milliseconds(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What rounds need of the outside: `sweep` takes doomed files from the disk, `finish` all that is in no table."""

    rooms: Rooms
    database: Database
    clock: IReactorTime
    sweep: Callable[[], Awaitable[None]]
    finish: Callable[[], Awaitable[None]]
    every_s: float


class Retention:
    """Goes on rounds through the rooms; with `rules` None only doomed files are taken away."""

    def __init__(self, world: World, rules: Rules | None) -> None:
        self._world = world
        self._rooms = world.rooms
        self._db = world.database
        self._rules = rules
        self._seen: dict[int, int] = {}
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._go()))
        self._loop.clock = world.clock

    def start(self) -> None:
        """Go on rounds from now on."""
        self._loop.start(self._world.every_s, now=False)

    def stop(self) -> None:
        """Go on no more rounds."""
        if self._loop.running:
            self._loop.stop()

    async def _go(self) -> None:
        try:
            await self.go_round()
        except StorageUnavailable as fault:
            _log.warning("old messages were not removed, but will be the next time: %s", fault)

    async def go_round(self) -> int:
        """Look at every room once; how many messages were removed."""
        removed, after = 0, 0
        while self._rules is not None and (page := await self._db.read(load_keepings, after, AT_ONCE)):
            for keeping in page:
                removed += await self._look_at(self._rules, keeping)
            after = page[-1].nid
        await (self._world.finish() if removed else self._world.sweep())
        return removed

    async def _look_at(self, rules: Rules, keeping: Keeping) -> int:
        lifetime = rules.lifetime(keeping.kind, keeping.content)
        horizon_ms = 0 if lifetime is None else max(self._rooms.seal.now_ms() - lifetime, 1)
        if horizon_ms == keeping.horizon_ms == 0:
            return 0
        await self._db.write(set_horizon, keeping.nid, horizon_ms)
        live = self._rooms.find(keeping.room_id)
        if live is not None:
            live.horizon_ms = horizon_ms
        removed = await self._remove(keeping, horizon_ms) if horizon_ms else 0
        self._seen[keeping.nid] = horizon_ms
        return removed

    async def _remove(self, keeping: Keeping, horizon_ms: int) -> int:
        """Remove what is behind the horizon; what an earlier round has seen, but for a day, is not looked at again."""
        known = self._seen.get(keeping.nid)
        cursor: Cursor | None = () if known is None else (min(known, horizon_ms) - DAY_MS, 0, 0)
        removed = 0
        while cursor is not None:
            step = await self._db.write(_thin, keeping, Span(at_ms=horizon_ms), cursor)
            removed, cursor = removed + step.removed, step.next
        if removed:
            await self._rooms.renew(keeping.room_id)
        return removed


def _thin(txn: Txn, keeping: Keeping, span: Span, cursor: Cursor) -> Purged:
    """Unit of work: remove some old messages, and empty those that cannot be removed."""
    step = purge_events(txn, keeping.nid, span, cursor)
    if step.stayed:
        _empty(txn, load_rooms(txn, [keeping.room_id])[keeping.room_id], step.stayed)
    return step


def _empty(txn: Txn, record: RoomRecord, nids: Sequence[int]) -> None:
    for nid, held in load_events(txn, record, nids).items():
        pruned = redact_event(held.event)
        if pruned.raw != held.event.raw:
            set_pruned(txn, nid, pruned.raw)
