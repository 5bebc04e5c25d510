"""History from before this server had part in a room, fetched when somebody reads back so far.

Spec: server-server-api#backfilling-and-retrieving-missing-events
"""

from collections.abc import Sequence
from typing import Final

from twisted.logger import Logger

from federation.errors import Refused, RemoteFault
from federation.event import Event
from federation.ids import EventID, RoomID, ServerName
from homeserver.rooms.receive.gaps import Gaps
from homeserver.rooms.receive.intake import Intake, World
from homeserver.rooms.room import Room
from homeserver.rooms.servers import servers_of
from homeserver.storage.received import find_gaps, find_lowest

AT_ONCE: Final = 100
MOST_STARTS: Final = 10
MOST_ASKED: Final = 3
"""How many servers are asked, one after the other."""
AGAIN_MS: Final = 60_000
"""After nothing came of it, a room's servers are left alone for so long."""
MOST_REMEMBERED: Final = 1000

_log: Final = Logger()


class Backfill:
    """Fetches history."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._vain: dict[RoomID, int] = {}

    async def fetch(self, room: Room, depths: tuple[int, int]) -> bool | None:
        """Fetch some of what is missing between two depths, the lower first. Whether there is more now; None if it
        cannot be had at present.

        Spec: server-server-api#get_matrixfederationv1backfillroomid
        """
        ours, now_ms = self._world.rooms.seal.server, self._world.rooms.seal.now_ms()
        servers = sorted(servers_of(room) - {ours})[:MOST_ASKED]
        if not servers:
            return False
        missing = await self._world.database.read(find_gaps, room.nid, *depths, MOST_STARTS)
        if not missing:
            return False
        if now_ms < self._vain.get(room.room_id, 0):
            return None
        async with self._world.turns.of(room.room_id):
            is_more = await self._fetch(room.room_id, servers, missing)
        if is_more:
            return True
        if len(self._vain) >= MOST_REMEMBERED:
            self._vain.clear()
        self._vain[room.room_id] = now_ms + AGAIN_MS
        return None

    async def fetch_event(self, room: Room, server: ServerName, event_id: EventID) -> None:
        """Fetch one event of a room's past that a server says it has, so that it can be shown; it may come to nothing.

        Spec: server-server-api#get_matrixfederationv1timestamp_to_eventroomid
        """
        async with self._world.turns.of(room.room_id):
            now = await self._world.rooms.load(room.room_id)
            if now is not None:
                events = await self._world.outside.events(server, now.record, [event_id])
                await self._take(now, server, events)

    async def _fetch(self, room_id: RoomID, servers: Sequence[ServerName], missing: Sequence[EventID]) -> bool:
        room = await self._world.rooms.load(room_id)
        if room is None:
            return False
        for server in servers:
            try:
                events = await self._world.outside.backfill(server, room.record, missing, AT_ONCE)
            except (RemoteFault, Refused) as fault:
                _log.debug("no history from {server}: {fault}", server=server, fault=str(fault))
                continue
            if await self._take(room, server, events):
                return True
        return False

    async def _take(self, room: Room, server: ServerName, events: Sequence[Event]) -> bool:
        """Place events as something old; whether any was."""
        intake = Intake(self._world, room)
        new = {event.event_id: event for event in await intake.read(events)}
        gaps = Gaps(self._world, intake, [server])
        await gaps.found(new)
        received = await gaps.settle(new)
        lowest = await self._world.database.read(find_lowest, room.nid)
        received.sort(key=lambda each: each.event.depth, reverse=True)
        for number, each in enumerate(received, 1):
            each.is_late, each.past = True, lowest - number
        await intake.place(received)
        return any(intake.outcomes.get(each.event.event_id) is None for each in received)
