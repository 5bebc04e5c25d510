"""Events of other servers on their way into one room: what is known is read, what is missing fetched, the rest placed.
All that comes to be written of them is written here.

A room takes in one thing at a time, so what is known of its past does not change meanwhile; its head may, by events of
ours. Whatever waits comes before anything is placed.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from immutables import Map

from federation.errors import BadEvent, Refused
from federation.event import Event
from federation.ids import EventID, StateKey
from homeserver.policy import Policy
from homeserver.rooms.groups import whole_group
from homeserver.rooms.receive.chains import Outlier, append_outliers, order_by
from homeserver.rooms.receive.facts import Facts, find_at_hand, read_facts
from homeserver.rooms.receive.merging import Needed, read_groups, read_sum
from homeserver.rooms.receive.outside import Outside
from homeserver.rooms.receive.placing import Placing, Received, StateNeeded, mark_strange
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.turns import Turns
from homeserver.rooms.writing import Pending, RoomDropped, Work
from homeserver.storage.database import Database, StorageUnavailable
from homeserver.storage.events import RoomEvent
from homeserver.storage.state import append_group

_TRIES: Final = 5
_MOST_WAITS: Final = 1000
"""How often states are fetched for the events of one intake, at most."""

Outcomes = dict[EventID, Exception | None]
"""What became of events: why one was not taken, None if it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What an intake works with. `beside` begins with something that nobody waits for."""

    rooms: Rooms
    database: Database
    outside: Outside
    turns: Turns
    policy: Policy
    beside: Callable[[Coroutine[Any, Any, None]], None]


class Intake:
    """Takes events into one room, whose turn it is; `also` is written with them."""

    def __init__(self, world: World, room: Room, also: Sequence[Work] = ()) -> None:
        self._world = world
        self._also = also
        self.room = room
        self.facts = Facts()
        self.outcomes: Outcomes = {}

    async def read(self, events: Sequence[Event]) -> list[Event]:
        """Learn what is known of some events; those of them that have no place yet."""
        at_hand = find_at_hand(self.room, events)
        facts = await self._world.database.read(read_facts, self.room.record, events, at_hand)
        self.facts.known |= facts.known
        self.facts.held |= facts.held
        self.facts.missing |= facts.missing
        self.facts.waiting |= facts.waiting
        self.facts.begins = facts.begins
        return [self._as_stored(event) for event in events if self._is_new(event)]

    def _is_new(self, event: Event) -> bool:
        known = self.facts.known.get(event.event_id)
        if self._is_strange(event.event_id):
            self.outcomes[event.event_id] = BadEvent("the event is one of another room")
        elif any(map(self._is_strange, event.prev_events)):  # the state of that room is not for this one
            self.outcomes[event.event_id] = BadEvent("the event follows one of another room")
        elif event.type == "m.room.create" and event.event_id != self.room.create.event_id:
            self.outcomes[event.event_id] = Refused("receive", "a room has one create event")
        elif not event.prev_events and event.type != "m.room.create":
            self.outcomes[event.event_id] = Refused("receive", "the event follows nothing")
        elif known is not None and known.group:
            self.outcomes[event.event_id] = None
        else:
            return True
        return False

    def _is_strange(self, event_id: EventID) -> bool:
        """Whether an event is known to be in another room."""
        known = self.facts.known.get(event_id)
        return known is not None and known.room_nid != self.room.nid

    def _as_stored(self, event: Event) -> Event:
        """The event as it came first: where IDs are no hashes, another may come under the same."""
        held = self.facts.held.get(event.event_id)
        return event if held is None else held.event

    def find_missing(self, events: Mapping[EventID, Event]) -> dict[EventID, tuple[EventID, ...]]:
        """Of those of the events before which something is missing, what that is."""
        found = {}
        for event_id, event in events.items():
            missing = [e for e in event.prev_events if e not in events and not self.facts.group_after(e)]
            if missing:
                found[event_id] = tuple(missing)
        return found

    def find_unfounded(self, events: Mapping[EventID, Event]) -> list[Event]:
        """Those of the events that rest on some of which nothing is known."""
        known = self.facts.known
        return [e for e in events.values() if any(a not in known and a not in events for a in e.auth_events)]

    # keeping

    @property
    def unwritten(self) -> Sequence[Outlier]:
        """Events without a place that are known to this intake, and not in the tables."""
        return ()

    async def keep(self, outliers: Sequence[Outlier]) -> None:
        """Keep events that have no place."""
        if outliers:
            await self._world.database.write(append_outliers, outliers)
        for held, standing in outliers:
            self.facts.note(held, standing)

    async def keep_state(self, state: Mapping[StateKey, RoomEvent]) -> int:
        """Keep a state; its id."""
        nid = self._world.rooms.seal.next_id("groups")
        _, row = whole_group(nid, Map(state))
        await self._world.database.write(append_group, self.room.nid, row)
        return nid

    # placing

    async def place(self, received: Iterable[Received]) -> None:
        """Place events, each after those that it follows, in as few commits as may be."""
        by_id = {each.event.event_id: each for each in received}
        events = {event_id: each.event for event_id, each in by_id.items()}
        order = order_by(events, lambda event: (*event.prev_events, *event.auth_events))
        queue: Sequence[Received] = [by_id[event.event_id] for event in order]
        for event_id in by_id.keys() - {each.event.event_id for each in queue}:
            self.outcomes[event_id] = Refused("receive", "the event comes before itself")
        mark_strange(queue, self.room.head.servers, self.facts.missing)
        waits = 0
        while queue and waits < _MOST_WAITS:
            queue, needed = await self._place_some(queue)
            if needed is not None:
                waits += 1
                await self._get(needed)
        for each in queue:
            self.outcomes[each.event.event_id] = Refused("receive", "too many states are needed")

    async def _place_some(self, queue: Sequence[Received]) -> tuple[Sequence[Received], Needed | None]:
        """Place as many events as the states in memory allow; those that are left, and what they need."""
        for _ in range(_TRIES):
            batch = Batch(Placing(self.room, self._world.rooms.seal, self.facts), queue)
            try:
                await self._write(batch)
            except RoomDropped:
                queue = await self._load_again(queue)
            else:
                for each in batch.done:
                    self.outcomes[each.event.event_id] = each.refusal
                return queue[len(batch.done) :], batch.needed
        raise StorageUnavailable("storage unavailable: the room could not be written")

    async def _write(self, batch: "Batch") -> None:
        """Write what can be placed at once. Raises: RoomDropped; StorageUnavailable."""
        await self._world.rooms.take_in(self.room, batch.build, self._also)

    @property
    def _at_hand(self) -> Sequence[Outlier]:
        """Events that storage may not have yet."""
        return self.room.pending_events

    async def _load_again(self, queue: Sequence[Received]) -> Sequence[Received]:
        """Begin with a fresh room; what is still to be placed."""
        room = await self._world.rooms.load(self.room.room_id)
        if room is None:
            raise StorageUnavailable("storage unavailable: the room is gone")
        self.room = room
        for each in queue:
            each.forget()
        self.facts = Facts(refused=self.facts.refused)
        new = {event.event_id for event in await self.read([each.event for each in queue])}
        return [each for each in queue if each.event.event_id in new]

    async def _get(self, needed: Needed) -> None:
        """Let states be in memory."""
        room, database, groups = self.room, self._world.database, self.room.groups
        at = room.head.at
        states = {nid: at if nid == at.nid else groups.find(nid) for nid in needed.groups}
        unread = [nid for nid, group in states.items() if group is None]
        if unread:
            for group in await database.read(read_groups, room.record, unread, at.state):
                states[group.nid] = group
                groups.keep(group)
        if needed.added:
            found = [group for group in states.values() if group is not None]
            summed = await database.read(read_sum, room.record, found, self._at_hand)
            total = summed.first
            if summed.changes:
                total, row = total.turn(self._world.rooms.seal.next_id("groups"), summed.changes)
                groups.keep(total, row)
            groups.keep_sum(needed.groups, total)


class Batch:
    """As many events as can be placed at once."""

    def __init__(self, placing: Placing, queue: Sequence[Received]) -> None:
        self._placing = placing
        self._queue = queue
        self.done: list[Received] = []
        self.needed: Needed | None = None

    def build(self) -> list[Pending]:
        """Place them; `needed` is what the next one needs."""
        pendings: list[Pending] = []
        for received in self._queue:
            try:
                pendings += self._placing.place(received)
            except StateNeeded as wait:
                self.needed = wait.needed
                break
            self.done.append(received)
        return pendings
