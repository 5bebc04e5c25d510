"""A room as another server gave it: its state, what that rests on, and the event by which one of ours is in it.

Spec: server-server-api#joining-rooms
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from immutables import Map

from federation.auth import check_auth
from federation.errors import BadAnswer, BadSignature
from federation.event import Event
from federation.ids import EventID, StateKey, UserID
from federation.versions import RoomVersion
from homeserver.rooms.groups import CREATE, whole_group
from homeserver.rooms.head import Head, head_of
from homeserver.rooms.predecessors import carrying
from homeserver.rooms.receive.chains import Levels, append_outliers, check_own_auth, judge_all
from homeserver.rooms.receive.intake import Intake, World
from homeserver.rooms.receive.placing import Received
from homeserver.rooms.room import Room
from homeserver.rooms.writing import Arrival, Pending, Work
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, Standing
from homeserver.storage.invites import set_ended
from homeserver.storage.received import Known, find_known
from homeserver.storage.rooms import RoomRecord, append_room, find_room, set_room
from homeserver.storage.state import GroupRow, append_group


class Judged(NamedTuple):
    """What came of a state that was given: the events new to us, those rejected, and the state that is left."""

    outliers: list[tuple[RoomEvent, Standing]]
    state: dict[StateKey, RoomEvent]
    auth: dict[EventID, Event]
    rejected: frozenset[EventID]


class _Places(NamedTuple):
    """Where events are kept: the room, their ids, and what was known of some."""

    room_nid: int
    nids: Mapping[EventID, int]
    known: Mapping[EventID, Known]


class Adoption:
    """Makes live rooms of what other servers give."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def adopt(
        self, version: RoomVersion, state: Sequence[Event], auth_chain: Sequence[Event], event: Event
    ) -> Room:
        """The live room with that state before an event, its first here, or its next if the room is known.

        The event is one that this server may trust to be the newest: of ours, or the answer to one. What of the state
        is not properly signed, or not allowed by what it rests on, is left out. All is kept in one unit of work.

        Raises: BadSignature; BadAnswer when this is no state; Refused when the event is not allowed in it.
        """
        events = {each.event_id: each for each in (*auth_chain, *state) if each.room_id == event.room_id}
        events.pop(event.event_id, None)
        outside = self._world.outside
        good = await outside.check([*events.values(), event])
        if event.event_id not in {each.event_id for each in good}:
            raise BadSignature("the event is not properly signed")
        found = {each.event_id: each for each in good}
        event = found.pop(event.event_id)
        wanted = [each.event_id for each in state if each.event_id in found]
        async with self._world.turns.of(event.room_id):
            return await self._adopt(version, found, wanted, event)

    async def _adopt(
        self, version: RoomVersion, events: dict[EventID, Event], wanted: Sequence[EventID], event: Event
    ) -> Room:
        world = self._world
        room = await world.rooms.load(event.room_id)
        create = _find_create(events, wanted, event, room)
        record, known = await world.database.read(_read_known, event, list(events))
        is_new = record is None
        if room is None:
            record = self._make_record(version, create, record)
        assert record is not None
        judged = await self._judge(record, events, wanted, known, create)
        if room is not None:
            return await self._merge(room, judged, event)
        received = _check(event, judged, create)
        if event.event_id in known:
            raise BadAnswer("the event is there already")
        return await self._begin(record, judged, received, is_new=is_new)

    def _make_record(self, version: RoomVersion, create: Event, known: RoomRecord | None) -> RoomRecord:
        """The record of a room; of one that is known for an invitation, no more than its number is believed."""
        nid = self._world.rooms.seal.next_id("rooms") if known is None else known.nid
        return RoomRecord(nid=nid, room_id=create.room_id, version=version, creator=create.sender)

    async def _judge(
        self,
        record: RoomRecord,
        events: Mapping[EventID, Event],
        wanted: Sequence[EventID],
        known: Mapping[EventID, Known],
        create: Event,
    ) -> Judged:
        """Judge all that was given by what it rests on."""
        if any(each.room_nid != record.nid for each in known.values()):
            raise BadAnswer("an event of another room")
        before = {event_id for event_id, each in known.items() if each.standing is Standing.REJECTED}
        verdicts = await self._world.outside.run(judge_all, events, {}, create, before)
        rejected = frozenset(before | {event_id for event_id, refusal in verdicts.items() if refusal is not None})
        next_id = self._world.rooms.seal.next_id
        nids = {event_id: known[event_id].nid if event_id in known else next_id("events") for event_id in verdicts}
        places = _Places(record.nid, nids, known)
        return await self._world.outside.run(_settle, events, wanted, rejected, places)

    async def _begin(self, record: RoomRecord, judged: Judged, event: Event, *, is_new: bool) -> Room:
        """A room that begins here with an event."""
        world, seal = self._world, self._world.rooms.seal
        held = RoomEvent(event, nid=seal.next_id("events"), room_nid=record.nid, group=seal.next_id("groups"))
        head, row = await world.outside.run(_first_head, held, judged.state)
        room = Room(record, head)
        pending = Pending(held, head, row)
        pending.changes = head.state
        pending.arrival = Arrival(is_aside=True, missing=event.prev_events)
        write_room = append_room if is_new else set_room
        also: list[Work] = [
            partial(_write_outliers, judged),
            lambda txn: write_room(txn, record),
            *_works_of(room, event),
        ]
        await world.rooms.take_in(room, lambda: [pending], also, begins=True)
        return room

    async def _merge(self, room: Room, judged: Judged, event: Event) -> Room:
        """The next event of a room that is known: if none of ours is in it, all else that it had is over."""
        world, seal = self._world, self._world.rooms.seal
        given = await world.database.write(_write_given, room.nid, judged, seal.next_id("groups"))
        intake = Intake(world, room, _works_of(room, event))
        new = await intake.read([event])
        resets = seal.server not in room.head.servers
        missing = tuple(each for each in event.prev_events if not intake.facts.group_after(each))
        await intake.place([Received(event=each, given=given, missing=missing, resets=resets) for each in new])
        refusal = intake.outcomes.get(event.event_id)
        if refusal is not None:
            raise refusal
        return intake.room


def _works_of(room: Room, event: Event) -> list[Work]:
    """What else is to be written when one of ours comes into a room."""
    person = UserID(event.state_key or "")
    return [partial(set_ended, user_id=person, room_nid=room.nid), *carrying(person, room)]


def _find_create(events: Mapping[EventID, Event], wanted: Sequence[EventID], event: Event, room: Room | None) -> Event:
    """The create event that the given state has.

    Raises: BadAnswer.
    """
    creates = [event for each in wanted if (event := events[each]).type == CREATE[0]]
    found = [event for event in creates if event.key == CREATE]
    if len(found) != 1 or found[0].room_id != event.room_id:
        raise BadAnswer("a state without the room's create event")
    if found[0].content.get("room_version", "1") != event.version.id:
        raise BadAnswer("a state of a room of another version")
    if room is not None and found[0].event_id != room.create.event_id:
        raise BadAnswer("a state with another create event")
    return found[0]


def _settle(
    events: Mapping[EventID, Event], wanted: Sequence[EventID], rejected: frozenset[EventID], places: _Places
) -> Judged:
    """What is kept of events that were judged. Raises: BadAnswer."""
    held = {event_id: _hold(events[event_id], places) for event_id in places.nids}
    outliers = [
        (each, Standing.REJECTED if event_id in rejected else Standing.OUTLIER)
        for event_id, each in held.items()
        if event_id not in places.known
    ]
    auth = {event_id: events[event_id] for event_id in held}
    return Judged(outliers, _build_state(held, wanted, rejected), auth, rejected)


def _hold(event: Event, places: _Places) -> RoomEvent:
    nid, known = places.nids[event.event_id], places.known.get(event.event_id)
    if known is None:
        return RoomEvent(event, nid=nid, room_nid=places.room_nid, group=0)
    return RoomEvent(event, nid=nid, room_nid=places.room_nid, group=known.group, stream=known.stream or 0)


def _first_head(held: RoomEvent, before: Mapping[StateKey, RoomEvent]) -> tuple[Head, GroupRow]:
    """The head that a room begins with: an event, and the state before it."""
    state = dict(before)
    if held.state_key is not None:
        replaced = state.get(held.key)
        held.replaced = replaced.as_replaced() if replaced is not None else None
        state[held.key] = held
    group, row = whole_group(held.group, Map(state))
    return head_of(group, (held,)), row


def _build_state(
    held: Mapping[EventID, RoomEvent], wanted: Sequence[EventID], rejected: frozenset[EventID]
) -> dict[StateKey, RoomEvent]:
    state: dict[StateKey, RoomEvent] = {}
    for event_id in wanted:
        each = held.get(event_id)
        if each is None or event_id in rejected:
            continue
        if each.state_key is None or each.key in state:
            raise BadAnswer("a state with a message, or with two events for one key")
        state[each.key] = each
    if CREATE not in state:
        raise BadAnswer("a state whose create event is not allowed")
    return state


def _check(event: Event, judged: Judged, create: Event) -> Event:
    """The event, if its auth events and the state allow it. Raises: BadAnswer; Refused."""
    auth = [judged.auth[each] for each in event.auth_events if each in judged.auth]
    if len(auth) < len(event.auth_events):
        raise BadAnswer("what the event rests on was not given")
    levels = Levels()
    check_own_auth(event, auth, create=create, rejected=judged.rejected.__contains__, levels=levels)

    def find(key: StateKey) -> Event | None:
        held = judged.state.get(key)
        return None if held is None else held.event

    check_auth(event, find, create=create)
    return event


def _read_known(txn: Txn, event: Event, event_ids: Sequence[EventID]) -> tuple[RoomRecord | None, dict[EventID, Known]]:
    return find_room(txn, event.room_id), find_known(txn, [*event_ids, event.event_id])


def _write_outliers(judged: Judged, txn: Txn) -> None:
    append_outliers(txn, judged.outliers)


def _write_given(txn: Txn, room_nid: int, judged: Judged, nid: int) -> int:
    """Unit of work: keep a state that was given."""
    append_outliers(txn, judged.outliers)
    append_group(txn, room_nid, GroupRow(nid, None, tuple([held.nid for held in judged.state.values()])))
    return nid
