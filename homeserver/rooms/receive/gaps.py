"""What came before an event and is not known: fetched from other servers, as far as bounds allow.

First the events between (get_missing_events), in rounds. Where they do not reach back to what is known, the state
before the first of them, as another server tells it (`told`).

Spec: server-server-api#backfilling-and-retrieving-missing-events
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final

from twisted.logger import Logger

from federation.errors import BadAnswer, Refused, RemoteFault
from federation.event import Event
from federation.ids import EventID, ServerName
from homeserver.rooms.receive.intake import Intake, World
from homeserver.rooms.receive.placing import Received
from homeserver.rooms.receive.told import Told
from homeserver.storage.received import find_beginning, find_lowest, load_gaps

DEEPEST: Final = 2**63 - 1
MOST_ROUNDS: Final = 10
MOST_BETWEEN: Final = 100
"""How many events are asked for in a round."""
MOST_FRONTIER: Final = 10
"""Before how many events the state is asked for, at most."""
MOST_CHAINS: Final = 10
"""For how many events it is asked what they rest on, at most."""
PATIENCE_MS: Final = 60_000
"""For how long others are asked, all in all: the room waits for that."""

_log: Final = Logger()


class Gaps:
    """Fills gaps of a room, whose turn it is."""

    def __init__(self, world: World, intake: Intake, servers: Sequence[ServerName]) -> None:
        self._world = world
        self._intake = intake
        self._servers = servers
        self._told = Told(world, intake)
        self._until_ms = world.rooms.seal.now_ms() + PATIENCE_MS

    def _sources(self) -> Iterator[ServerName]:
        """Who is asked, one after the other, while there is time."""
        for server in self._servers:
            if self._world.rooms.seal.now_ms() < self._until_ms:
                yield server

    async def fill(self, events: Sequence[Event]) -> list[Received]:
        """These events, those between them and what is known, and what else they need; those that can be placed."""
        found = await self._gather(events)
        await self.found(found)
        return await self.settle(found)

    async def settle(self, found: dict[EventID, Event]) -> list[Received]:
        """Those of the events that can be placed: the state before the first of them is asked for."""
        received = {event_id: Received(event=event) for event_id, event in found.items()}
        frontier = self._intake.find_missing(found)
        for number, (event_id, missing) in enumerate(frontier.items()):
            if event_id not in received:  # it comes after one that was dropped
                continue
            received[event_id].missing = missing
            received[event_id].given = await self.find_state(found[event_id], missing) if number < MOST_FRONTIER else 0
            if not received[event_id].given:
                self._drop(received, event_id)
        return list(received.values())

    def _drop(self, received: dict[EventID, Received], event_id: EventID) -> None:
        """Drop an event, and all that come after it."""
        following: dict[EventID, list[EventID]] = {}
        for each in received.values():
            for before in each.event.prev_events:
                following.setdefault(before, []).append(each.event.event_id)
        gone = [event_id]
        while gone:
            dropped = gone.pop()
            if received.pop(dropped, None) is not None:
                self._intake.outcomes[dropped] = BadAnswer("what came before the event cannot be had")
                gone += following.get(dropped, ())

    async def find_history(self, received: Sequence[Received]) -> None:
        """Find out which of these events lie before others that are here: the state after them is not one to be added
        to that of today. Those from before the beginning of the timeline are nothing new, either; nor are those that
        may not be added today, if what is here surely follows them: history has its place for them.
        """
        new = self._find_new(received)
        old = [each for each in received if each.event.depth <= self._intake.facts.begins and each not in new]
        if not old:
            return
        room, database = self._intake.room, self._world.database
        gaps = await database.read(load_gaps, room.nid, DEEPEST, MOST_FRONTIER)
        starts = list(dict.fromkeys(each for missing in gaps.values() for each in missing))[:MOST_FRONTIER]
        outside = self._world.outside
        before = await self._ask_each(lambda server: outside.backfill(server, room.record, starts, MOST_BETWEEN))
        older = {event.event_id for event in before}
        surely = {event.event_id for event in _connected(before, starts)}
        lowest, begins = await database.read(find_lowest, room.nid), await database.read(find_beginning, room.nid)
        for number, each in enumerate(sorted(old, key=lambda each: each.event.depth, reverse=True), 1):
            if not self._is_beside(each.event, older):
                each.is_late = True
                each.past = lowest - number if each.event.depth <= begins else None
                each.past_at_worst = lowest - number if each.event.event_id in surely else None

    def _is_beside(self, event: Event, older: set[EventID]) -> bool:
        """Whether the event is surely none of those before the beginning, as far as that was told. In doubt it is one:
        it is kept, and what it does to the state comes with the events of others that follow it. But what rests on the
        very event that the state has in its place today came after that, and nothing has followed it.
        """
        today = None if event.state_key is None else self._intake.room.head.state.get(event.key)
        if today is not None and today.event_id in event.auth_events:
            return True
        if not older or event.event_id in older or not event.prev_events:
            return False
        return all(each in older or self._intake.facts.group_after(each) for each in event.prev_events)

    def _find_new(self, received: Sequence[Received]) -> list[Received]:
        """Those that follow an end of what is here: nothing here comes after them, whatever depth they bear."""
        ends = {held.event_id for held in self._intake.room.head.extremities}
        new: list[Received] = []
        for each in sorted(received, key=lambda each: each.event.depth):
            if not ends.isdisjoint(each.event.prev_events):
                ends.add(each.event.event_id)
                new.append(each)
        return new

    async def _ask_each(self, ask: Callable[[ServerName], Awaitable[list[Event]]]) -> list[Event]:
        """The events that the first server answers with that has some."""
        for server in self._sources():
            try:
                found = await ask(server)
            except (RemoteFault, Refused) as fault:
                _log.debug("no events from {server}: {fault}", server=server, fault=str(fault))
                continue
            if found:
                return found
        return []

    # the events between

    async def _gather(self, events: Sequence[Event]) -> dict[EventID, Event]:
        found = {event.event_id: event for event in events}
        for _ in range(MOST_ROUNDS):
            open_ends = self._intake.find_missing(found)
            wanted = {each for missing in open_ends.values() for each in missing}
            if not wanted:
                break
            more = await self._ask_between(list(open_ends)[:MOST_FRONTIER])
            new = [event for event in more if event.event_id not in found]
            connected = _connected(new, wanted)
            if not connected:
                break
            for event in await self._intake.read(connected):
                found[event.event_id] = event
        return found

    async def _ask_between(self, latest: Sequence[EventID]) -> list[Event]:
        """What lies between the ends of what is here and those events."""
        room, outside = self._intake.room, self._world.outside
        ends = ([held.event_id for held in room.head.extremities], latest)
        return await self._ask_each(lambda server: outside.missing(server, room.record, ends, MOST_BETWEEN))

    # what events rest on

    async def found(self, events: dict[EventID, Event]) -> None:
        """Fetch and judge what the events rest on and nothing is known of; drop those for which that fails."""
        asked = 0
        for event in self._intake.find_unfounded(events):
            if not any(each not in self._intake.facts.known and each not in events for each in event.auth_events):
                continue
            if asked == MOST_CHAINS:
                break
            asked += 1
            await self._fetch_chain(event)
            await self._intake.read([event])
        for event in self._intake.find_unfounded(events):
            self._intake.outcomes[event.event_id] = BadAnswer("what the event rests on cannot be had")
            events.pop(event.event_id, None)

    async def _fetch_chain(self, event: Event) -> None:
        for server in self._sources():
            try:
                chain = await self._world.outside.auth_chain(server, self._intake.room.record, event.event_id)
            except (RemoteFault, Refused):
                chain = []
            kept = await self._told.keep(chain)
            if all(each in self._intake.facts.known or each in kept for each in event.auth_events):
                return

    # the state before an event

    async def find_state(self, event: Event, missing: Sequence[EventID]) -> int:
        """The id of the state before an event as another server tells it; 0 if none does."""
        for server in self._sources():
            try:
                return await self._told.keep_state(server, event, missing)
            except (RemoteFault, Refused) as fault:
                _log.debug("no state from {server}: {fault}", server=server, fault=str(fault))
        return 0


def _connected(events: Iterable[Event], wanted: Iterable[EventID]) -> list[Event]:
    """Those of the events that are wanted, or come before one that is."""
    by_id = {event.event_id: event for event in events}
    found: dict[EventID, Event] = {}
    ahead = list(wanted)
    while ahead:
        event = by_id.get(ahead.pop())
        if event is not None and event.event_id not in found:
            found[event.event_id] = event
            ahead += event.prev_events
    return list(found.values())
