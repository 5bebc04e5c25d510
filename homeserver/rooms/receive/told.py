"""States as other servers tell them, and events without a place that those are made of: judged before anything rests on
them, by what they rest on themselves.

Spec: server-server-api#backfilling-and-retrieving-missing-events
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from federation.errors import BadAnswer, PeerRefused
from federation.event import Event
from federation.ids import EventID, ServerName, StateKey
from homeserver.rooms.groups import CREATE
from homeserver.rooms.receive.chains import Outlier, judge_all
from homeserver.rooms.receive.intake import Intake, World
from homeserver.rooms.receive.outside import StateIDs
from homeserver.rooms.room import Room
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, Standing
from homeserver.storage.received import find_by_id, find_known
from homeserver.storage.rooms import RoomRecord

FEW: Final = 50
"""More unknown events of a state than this are asked for together."""


class Told:
    """What other servers tell of a room, whose turn it is."""

    def __init__(self, world: World, intake: Intake) -> None:
        self._world = world
        self._intake = intake

    # events without a place

    async def keep(self, events: Sequence[Event]) -> dict[EventID, RoomEvent]:
        """Judge events that have no place, and keep those of them that are new."""
        outliers = await self._judge(events)
        await self._intake.keep(outliers)
        return {held.event_id: held for held, _ in outliers}

    async def _judge(self, events: Sequence[Event]) -> list[Outlier]:
        """Those of some events that are new, and what becomes of them."""
        room, world, facts = self._intake.room, self._world, self._intake.facts
        known, before = await world.database.read(partial(_read_before, room.record, events))
        known |= {event_id: found.standing for event_id, found in facts.known.items()}
        before |= {event_id: held.event for event_id, held in facts.held.items()}
        new = {event.event_id: event for event in events if event.event_id not in known}
        if not new:
            return []
        rejected = {event_id for event_id, standing in known.items() if standing is Standing.REJECTED}
        verdicts = await world.outside.run(judge_all, new, before, room.create, rejected)
        return [
            (
                RoomEvent(new[event_id], nid=world.rooms.seal.next_id("events"), room_nid=room.nid, group=0),
                Standing.OUTLIER if refusal is None else Standing.REJECTED,
            )
            for event_id, refusal in verdicts.items()
        ]

    # the state before an event

    async def keep_state(self, server: ServerName, event: Event, missing: Sequence[EventID]) -> int:
        """The id of the state before an event as a server tells it. If that one does not know the event, but the one
        that is missing before it, it is the state after that.

        Raises: RemoteFault; Refused.
        """
        last: list[EventID] = []
        try:
            ids, events = await self._ask(server, event.event_id)
        except (PeerRefused, BadAnswer):
            if len(missing) != 1:
                raise
            last = [missing[0]]
            ids, events = await self._ask(server, missing[0])
            events += await self._world.outside.events(server, self._intake.room.record, last)
        await self.keep(events)
        intake = self._intake
        state = await self._world.database.read(_build_state, intake.room, ids, last, intake.unwritten)
        return await intake.keep_state(state)

    async def _ask(self, server: ServerName, event_id: EventID) -> tuple[StateIDs, list[Event]]:
        """The state before an event, and what of it and its auth chain is not known here: asked for one by one where
        that is little, else with the whole state; so, too, of a server that does not tell the IDs.
        """
        outside, room, facts = self._world.outside, self._intake.room.record, self._intake.facts
        try:
            ids = await outside.state_ids(server, room, event_id)
        except (PeerRefused, BadAnswer):
            return await outside.state(server, room, event_id)
        known = facts.known | await self._world.database.read(find_known, [*ids.state, *ids.chain])
        unknown = [each for each in (*ids.chain, *ids.state) if each not in known]
        if len(unknown) > FEW:
            return await outside.state(server, room, event_id)
        return ids, (await outside.events(server, room, unknown) if unknown else [])


def _read_before(
    record: RoomRecord, events: Sequence[Event], txn: Txn
) -> tuple[dict[EventID, Standing], dict[EventID, Event]]:
    """What became of those of some events, and of those they rest on, that are known; and these as a whole."""
    ids = {event.event_id for event in events}
    named = {each for event in events for each in event.auth_events} | ids
    known = find_known(txn, named)
    before = find_by_id(txn, record, known)
    return (
        {event_id: found.standing for event_id, found in known.items()},
        {event_id: held.event for event_id, held in before.items()},
    )


def _build_state(
    txn: Txn, room: Room, ids: StateIDs, last: Sequence[EventID], unwritten: Iterable[Outlier]
) -> dict[StateKey, RoomEvent]:
    """A state that another server told of, after `last` where that is given, as far as its events were not rejected;
    `unwritten` are not in the tables.

    Raises: BadAnswer when it is none.
    """
    asked = [*ids.state, *last]
    standings = {event_id: found.standing for event_id, found in find_known(txn, asked).items()}
    standings |= {held.event_id: standing for held, standing in unwritten}
    found = find_by_id(txn, room.record, asked) | {held.event_id: held for held, _ in unwritten}
    state: dict[StateKey, RoomEvent] = {}
    if not standings.keys() >= set(asked):
        raise BadAnswer("a state of which not all can be had")
    for event_id in ids.state:
        held = found.get(event_id)
        if held is None or standings[event_id] is Standing.REJECTED:
            continue
        if held.state_key is None or held.key in state:
            raise BadAnswer("a state with a message, or with two events for one key")
        state[held.key] = held
    for held in [found[each] for each in last if each in found and standings[each] is not Standing.REJECTED]:
        if held.state_key is not None:
            state[held.key] = held
    if CREATE not in state or state[CREATE].event_id != room.create.event_id:
        raise BadAnswer("a state without the room's create event")
    return state
