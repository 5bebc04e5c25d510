"""Telling a server how it, or we, went out of a room, where nobody else would.

A server may be out of a room here that was not put out by anybody: branches of the room's history met, and it is in
no more. Those who made the branches do not count it in, so it hears of neither, stays in by what it knows, and talks to
nobody. It is sent the event after which it was out here, without what people wrote in it, and may ask for what came
before that (`giving`): when it goes, and when it sends events as if it had not. What it makes of them is its own
resolution's matter.

And whoever was cut off when ours left a room knows nothing of that. It goes on sending us the room's events; or puts
our next join beside our leave, and then it is chance, and not on all servers the same, which of them holds. So it is
told how ours went: when it sends events, and before somebody of ours joins by its help. Who never was in the room with
us is told nothing.

Spec: server-server-api#room-state-resolution, server-server-api#joining-rooms
"""

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from twisted.logger import Logger

from federation.errors import Refused, RemoteFault
from federation.event import Event
from federation.ids import EventID, ServerName, UserID, server_of
from federation.redaction import redact_event
from homeserver.rooms.receive.intake import Intake, World
from homeserver.rooms.receive.seldom import Seldom
from homeserver.rooms.room import Room
from homeserver.storage.database import StorageUnavailable
from homeserver.storage.events import RoomEvent
from homeserver.storage.given import find_parting, walk_back

AGAIN_MS: Final = 3600_000
"""How often a server is told the same of a room; so two that count each other out don't talk about that for ever."""
MOST_TOLD: Final = 50
"""How many PDUs a transaction may have."""
MOST_WALKED: Final = 100

_log: Final = Logger()


class Partings:
    """Tells servers who went out of rooms, beside whatever gave cause."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seldom = Seldom(world.rooms.seal.now_ms, AGAIN_MS)

    def heed(self, origin: ServerName, events: Sequence[Event], before: Mapping[ServerName, int], done: Intake) -> None:
        """Take note of events that came of `origin` into a room in which those servers had been."""
        after = done.room.head.servers
        gone = set() if after is before else set(before) - set(after)
        gone = {server for server in gone if not any(_is_leave_of(server, each) for each in events)}
        if origin not in after and any(done.outcomes.get(e.event_id) for e in events if e.origin == origin):
            gone.add(origin)
        for server in sorted(gone - {self._server}):
            self._begin(done.room, server, self._tell_theirs(done.room, server))

    def heed_astray(self, origin: ServerName, room: Room, events: Sequence[Event]) -> None:
        """Take note of events that came of `origin` into a room that all of ours left."""
        if not any(_is_leave_of(origin, each) for each in events):
            self._begin(room, origin, self.tell_ours(origin, room))

    def _begin(self, room: Room, server: ServerName, work: Coroutine[Any, Any, None]) -> None:
        if self._seldom.may(room.room_id, server):
            self._world.beside(work)
        else:
            work.close()

    async def _tell_theirs(self, room: Room, server: ServerName) -> None:
        """Tell a server how it went."""
        try:
            held = await self._world.database.read(find_parting, room.record, server)
            if held is not None:
                await self._tell(room, server, [_without_words(held)])
        except StorageUnavailable as fault:
            _log.debug("{server} was not told how it went: {fault}", server=server, fault=str(fault))

    async def tell_ours(self, server: ServerName, room: Room) -> None:
        """Tell a server how ours went out of a room, with what of ours came right before. It may be known there. If it
        is not taken, so be it.

        Raises: StorageUnavailable.
        """
        leaves = [] if self._server in room.head.servers else _find_leaves(room, self._server)
        if not leaves:
            return
        is_inside, database = server in room.head.servers, self._world.database
        if not is_inside and await database.read(find_parting, room.record, server) is None:
            return
        walked = await database.read(walk_back, room.record, leaves, set[EventID](), MOST_WALKED)
        ours = [held for held in walked if held.event.origin == self._server or held.event_id in leaves]
        ours.sort(key=lambda held: held.event.depth)
        events = [held.event if is_inside else _without_words(held) for held in ours]
        if events:  # what was only told of has no place, and what came before it is not known
            await self._tell(room, server, events[-MOST_TOLD:])

    async def _tell(self, room: Room, server: ServerName, events: Sequence[Event]) -> None:
        try:
            await self._world.outside.tell(server, events, self._world.rooms.seal)
        except (RemoteFault, Refused) as fault:
            self._seldom.forget(room.room_id, server)
            _log.debug("{server} was not told who went: {fault}", server=server, fault=str(fault))

    @property
    def _server(self) -> ServerName:
        return self._world.rooms.seal.server


def _find_leaves(room: Room, server: ServerName) -> list[EventID]:
    """How people of a server went."""
    return [
        held.event_id
        for (kind, _), held in room.head.state.items()
        if kind == "m.room.member" and _is_leave_of(server, held.event)
    ]


def _is_leave_of(server: ServerName, event: Event) -> bool:
    """Whether by that event somebody of a server went, or was put out."""
    return event.membership in ("leave", "ban") and server_of(UserID(event.state_key or "")) == server


def _without_words(held: RoomEvent) -> Event:
    return held.event if held.state_key is not None else redact_event(held.event)
