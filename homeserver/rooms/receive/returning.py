"""Being in a room again: out of it by what is known here, in it by what the others know, who undid that.

Of a room in which this server has nobody it takes nothing, so nothing would tell it. That others go on sending it the
room's events is a sign, no more: it is looked into where it comes from a server that was in the room when ours went,
and now and then. The events are then tried out: all is fetched and judged as it ever is, on a copy of the room that
nobody else sees, and nothing is written. Whoever is out of the room by the rules is so in the copy, whatever is told.
Only if somebody of ours is in it are the events taken indeed.

Spec: server-server-api#room-state-resolution
"""

from collections.abc import Mapping, Sequence
from typing import Final

from immutables import Map

from federation.ids import StateKey
from homeserver.rooms.groups import Groups, whole_group
from homeserver.rooms.receive.chains import Outlier
from homeserver.rooms.receive.intake import Batch, Intake, World
from homeserver.rooms.room import Room
from homeserver.storage.events import RoomEvent

AGAIN_MS: Final = 60_000
"""How often events of one server are tried out in a room."""
MOST_STATES: Final = 5_000
"""How many states a trial may make: as many as there may be events in an intake, and what those add up to."""


class Trial(Intake):
    """An intake into a copy of a room, of which nothing is written."""

    def __init__(self, world: World, room: Room) -> None:
        copy = Room(room.record, room.head)
        copy.groups = Groups(MOST_STATES)
        super().__init__(world, copy)
        self._unwritten: list[Outlier] = []

    @property
    def is_inside(self) -> bool:
        """Whether this server is in the copy of the room."""
        return self._world.rooms.seal.server in self.room.head.servers

    @property
    def unwritten(self) -> Sequence[Outlier]:
        """Events without a place."""
        return self._unwritten

    async def keep(self, outliers: Sequence[Outlier]) -> None:
        """Know events that have no place."""
        self._unwritten += outliers
        for held, standing in outliers:
            self.facts.note(held, standing)

    async def keep_state(self, state: Mapping[StateKey, RoomEvent]) -> int:
        """Know a state; its id."""
        group, _ = whole_group(self._world.rooms.seal.next_id("groups"), Map(state))
        self.room.groups.keep(group)
        return group.nid

    async def _write(self, batch: Batch) -> None:
        self.room.add_built(self._world.rooms.seal, batch.build)

    @property
    def _at_hand(self) -> Sequence[Outlier]:
        return [*self._unwritten, *self.room.pending_events]
