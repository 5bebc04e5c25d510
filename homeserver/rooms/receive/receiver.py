"""The door for events of other servers: a transaction of them, or one.

Spec: server-server-api#checks-performed-on-receipt-of-a-pdu, server-server-api#transactions
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

from twisted.logger import Logger

from federation.errors import BadEvent, Refused, RemoteFault
from federation.event import Event, parse_event
from federation.ids import EventID, RoomID, ServerName
from federation.transport.tasks import side_by_side
from federation.versions import RoomVersion
from homeserver.rooms.acl import check_acl
from homeserver.rooms.receive.gaps import Gaps
from homeserver.rooms.receive.intake import Intake, Outcomes, World
from homeserver.rooms.receive.objections import NO_ADVICE, Advice, Objections
from homeserver.rooms.receive.outside import PARSED_AT_ONCE
from homeserver.rooms.receive.parting import Partings
from homeserver.rooms.receive.placing import Received, SoftFailed
from homeserver.rooms.receive.returning import AGAIN_MS, Trial
from homeserver.rooms.receive.seldom import Seldom
from homeserver.rooms.recommending import find_policy_server
from homeserver.rooms.room import Room
from homeserver.rooms.servers import may_know, servers_of
from homeserver.storage.purge import find_blocker
from homeserver.storage.received import find_known

_log: Final = Logger()

MOST_SOURCES: Final = 3
"""How many servers are asked for what is missing, one after the other."""


HeedOutlying: TypeAlias = Callable[[ServerName, Mapping[str, Any]], Awaitable[None]]
"""Takes an event that ends somebody's invitation into a room where this server has no part."""

WaitForEntry: TypeAlias = Callable[[RoomID], Awaitable[bool]]
"""Waits for those of ours who are on the way into a room; whether there was anybody."""


class Receiver:
    """Takes in events of other servers. Whoever knows of invitations into rooms elsewhere puts itself into
    `heed_outlying`, whoever knows of ways into them into `wait_for_entry`.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.heed_outlying: HeedOutlying | None = None
        self.wait_for_entry: WaitForEntry | None = None
        self.partings = Partings(world)
        self._trials = Seldom(world.rooms.seal.now_ms, AGAIN_MS)
        self._objections = Objections(world)
        self.advisers = self._objections.advisers

    async def receive(self, origin: ServerName, event: Event, *, passes_on: bool = False) -> None:
        """Take in one event that `origin` sent; an event that is known already is taken. With `passes_on` the other
        servers of the room are told of it by this one.

        Raises: RemoteFault when it is dropped; Refused when it is rejected or soft-failed.
        Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
        """
        room = await self._world.rooms.load(event.room_id)
        if room is None:
            raise Refused("receive", "the room is not known here")
        outcomes = await self._receive_in_room(origin, room, [event], passes_on=passes_on)
        outcome = outcomes.get(event.event_id)
        if outcome is not None:
            raise outcome

    async def receive_all(self, origin: ServerName, pdus: Sequence[object]) -> Outcomes:
        """Take in events that `origin` sent, in their order room by room, rooms side by side; what became of them. Of
        a room of which that server may not learn nothing is told, as of one that is not known here.
        """
        rooms: dict[str, Room | None] = {}
        wanted: list[tuple[dict[str, Any], RoomVersion]] = []
        for pdu in pdus:
            room_id = pdu.get("room_id") if isinstance(pdu, dict) else None
            if not isinstance(pdu, dict) or not isinstance(room_id, str):
                continue
            if room_id not in rooms:
                rooms[room_id] = await self._load(RoomID(room_id))
            if _is_departure(pdu) and self._lacks(rooms[room_id]):
                await self._heed(origin, pdu)
                continue
            room = rooms[room_id]
            if room is not None:
                wanted.append((pdu, room.version))
        run = self._world.outside.run
        parsed = _parse_all(wanted) if len(wanted) <= PARSED_AT_ONCE else await run(_parse_all, wanted)
        by_room: dict[RoomID, dict[EventID, Event]] = {}
        for event in parsed:
            by_room.setdefault(event.room_id, {}).setdefault(event.event_id, event)
        outcomes: Outcomes = {}
        found = [(room, list(events.values())) for room_id, events in by_room.items() if (room := rooms[room_id])]
        became = await side_by_side(self._receive_in_room(origin, room, events) for room, events in found)
        for (room, _), some in zip(found, became, strict=True):
            if await may_know(self._world.policy, origin, room):
                outcomes |= some
        return outcomes

    async def _load(self, room_id: RoomID) -> Room | None:
        """A room. Who has let one of ours in tells of what comes after that, maybe sooner than the room is here."""
        room = await self._world.rooms.load(room_id)
        if self.wait_for_entry is None or not self._lacks(room) or not await self.wait_for_entry(room_id):
            return room
        return await self._world.rooms.load(room_id)

    def _lacks(self, room: Room | None) -> bool:
        return room is None or self._world.rooms.seal.server not in room.head.servers

    async def _heed(self, origin: ServerName, pdu: Mapping[str, Any]) -> None:
        if self.heed_outlying is not None:
            try:
                await self.heed_outlying(origin, pdu)
            except (RemoteFault, Refused) as fault:
                _log.debug("a departure that {origin} sent is not heeded: {fault}", origin=origin, fault=str(fault))

    async def _receive_in_room(
        self, origin: ServerName, room: Room, events: Sequence[Event], *, passes_on: bool = False
    ) -> Outcomes:
        try:
            check_acl(room, origin)
        except Refused as refusal:
            return {event.event_id: refusal for event in events}
        outside = self._world.outside
        faults = await outside.find_faults(events)
        good = await outside.complete([event for event in events if event.event_id not in faults])
        outcomes: Outcomes = dict(faults)
        if good:
            advice = await self._ask_advice(room, good)
            await self._objections.meet(room, good)
            async with self._world.turns.of(room.room_id):
                outcomes |= await self._take(origin, room.room_id, good, advice, passes_on=passes_on)
        return {event.event_id: outcomes.get(event.event_id) for event in events}

    async def _ask_advice(self, room: Room, events: Sequence[Event]) -> Advice:
        """What the room's policy server says of new events, asked before the room has to wait for that."""
        if find_policy_server(room.shown) is None:
            return NO_ADVICE
        known = await self._world.database.read(find_known, [event.event_id for event in events])
        return await self._objections.ask(room, [event for event in events if event.event_id not in known])

    async def _take(
        self, origin: ServerName, room_id: RoomID, events: Sequence[Event], advice: Advice, *, passes_on: bool
    ) -> Outcomes:
        room = await self._world.rooms.load(room_id)
        if room is None or (self._lacks(room) and not await self._is_back(origin, room, events)):
            if room is not None:
                self.partings.heed_astray(origin, room, events)
            return {event.event_id: Refused("receive", "nobody of ours is in the room") for event in events}
        refused = await self._sift(origin, room, events)
        intake, before = Intake(self._world, room), room.head.servers
        intake.outcomes |= refused
        received = await self._gather(intake, origin, [each for each in events if each.event_id not in refused])
        gathered = [each.event for each in received]
        advice = await self._objections.ask(room, gathered, advice)
        for each in received:
            each.objection = await self._objections.find(room, each.event, advice, gathered)
            each.passes_on = passes_on and each.event in events
        await intake.place(received)
        self.partings.heed(origin, events, before, intake)
        return intake.outcomes

    async def _sift(self, origin: ServerName, room: Room, events: Sequence[Event]) -> Outcomes:
        """Which of the events are not kept that a server has sent which is not in the room, and why.

        Where more would have to be fetched for them, that is tried out first: so a stranger fills no disk with states
        and chains that lead nowhere.
        """
        if origin in room.head.servers:
            return {}
        trial = Trial(self._world, room)
        new = {event.event_id: event for event in await trial.read(events)}
        if not (trial.find_missing(new) or trial.find_unfounded(new)):
            return {}
        await trial.place(await self._gather(trial, origin, events))
        found = {event.event_id: trial.outcomes.get(event.event_id) for event in events}
        return {each: why for each, why in found.items() if why is not None and not isinstance(why, SoftFailed)}

    async def _is_back(self, origin: ServerName, room: Room, events: Sequence[Event]) -> bool:
        """Whether somebody of ours, who all went, is in the room after these events."""
        if origin not in room.head.servers or not self._trials.may(room.room_id, origin):
            return False
        if await self._world.database.read(find_blocker, room.room_id) is not None:
            return False
        trial = Trial(self._world, room)
        await trial.place(await self._gather(trial, origin, events))
        return trial.is_inside

    async def _gather(self, intake: Intake, origin: ServerName, events: Sequence[Event]) -> list[Received]:
        """Those of the events that are new and can be placed, with what came before them and was not known."""
        new = {event.event_id: event for event in await intake.read(events)}
        gaps = Gaps(self._world, intake, self._sources(origin, intake.room))
        if intake.find_missing(new) or intake.find_unfounded(new):
            received = await gaps.fill(list(new.values()))
        else:
            received = [Received(event=event) for event in new.values()]
        await gaps.find_history(received)
        return received

    def _sources(self, origin: ServerName, room: Room) -> list[ServerName]:
        """Who may know what is missing: who sent the event first."""
        ours = self._world.rooms.seal.server
        others = sorted(servers_of(room) - {origin, ours})
        return [origin, *others][:MOST_SOURCES]


def _is_departure(pdu: Mapping[str, Any]) -> bool:
    """Whether an event looks as if it put somebody out of a room."""
    content = pdu.get("content")
    membership = content.get("membership") if isinstance(content, dict) else None
    return pdu.get("type") == "m.room.member" and membership in ("leave", "ban")


def _parse_all(pdus: Sequence[tuple[dict[str, Any], RoomVersion]]) -> list[Event]:
    """Those that are events."""
    events = []
    for pdu, version in pdus:
        with suppress(BadEvent):
            events.append(parse_event(pdu, version))
    return events
