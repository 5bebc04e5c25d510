"""What other servers are given of a room: events, states, what is missing to them. Only servers in the room get it.

A server that the room's list shuts out, or that has nobody in the room, is refused; one that was in the room still gets
what it needs to understand how it was put out: events before which it was in it, and what came before those. Of what
its people were not to see it gets the redacted event.

Spec: server-server-api#retrieving-events, server-server-api#backfilling-and-retrieving-missing-events
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from federation.errors import Refused
from federation.ids import EventID, ServerName
from federation.redaction import redact_event
from homeserver.policy import NotFound
from homeserver.rooms.acl import check_acl
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import RoomEvent, Standing
from homeserver.storage.given import (
    ServerSight,
    find_dated,
    find_room_of_any,
    find_witnessed,
    load_chain,
    load_state_before,
    walk_back,
)
from homeserver.storage.received import find_by_id, find_known
from homeserver.storage.rooms import RoomRecord

MOST_GIVEN: Final = 100
"""How many events are given in one answer; states and auth chains are given whole."""
MOST_STARTS: Final = 50
MOST_CHAIN: Final = 200_000


class Given(NamedTuple):
    """A state and what it rests on, as canonical JSON by event ID."""

    state: dict[EventID, bytes]
    chain: dict[EventID, bytes]


class Giving:
    """Gives other servers what they may have. Methods raise Refused for a server that is not in the room."""

    def __init__(self, rooms: Rooms, database: Database) -> None:
        self._rooms = rooms
        self._db = database

    async def event(self, origin: ServerName, event_id: str) -> msgspec.Raw:
        """One event.

        Raises: NotFound; Refused.
        Spec: server-server-api#get_matrixfederationv1eventeventid
        """
        room_id = await self._db.read(find_room_of_any, event_id)
        if room_id is None:
            raise NotFound("Event not found")
        try:
            room, _ = await self._open_upto(origin, room_id, [EventID(event_id)])
        except Refused:
            raise NotFound("Event not found") from None
        found = await self._db.read(_read_event, room.record, origin, EventID(event_id))
        if found is None:
            raise NotFound("Event not found")
        return found

    async def state(self, origin: ServerName, room_id: str, event_id: str) -> Given:
        """The state before an event, and its auth chain.

        Raises: NotFound; Refused.
        Spec: server-server-api#get_matrixfederationv1stateroomid
        """
        room, _ = await self._open_upto(origin, room_id, [EventID(event_id)])
        given = await self._db.read(_read_state, room.record, EventID(event_id))
        if given is None:
            raise NotFound("The state before that event is not known here")
        return given

    async def backfill(
        self, origin: ServerName, room_id: str, event_ids: Sequence[str], limit: int
    ) -> list[msgspec.Raw]:
        """Events and what comes before them.

        Spec: server-server-api#get_matrixfederationv1backfillroomid
        """
        room, starts = await self._open_upto(origin, room_id, [EventID(each) for each in event_ids[:MOST_STARTS]])
        most = min(max(limit, 0), MOST_GIVEN)
        return await self._db.read(_read_back, room.record, origin, starts, most)

    async def missing(
        self, origin: ServerName, room_id: str, ends: tuple[Sequence[str], Sequence[str]], limit: int, min_depth: int
    ) -> list[msgspec.Raw]:
        """What comes before the latest events and is not among the earliest or before them, the oldest first.

        Spec: server-server-api#post_matrixfederationv1get_missing_eventsroomid
        """
        room, latest = await self._open_upto(origin, room_id, [EventID(each) for each in ends[1][:MOST_STARTS]])
        earliest = {EventID(each) for each in ends[0][:MOST_STARTS]}
        most = min(max(limit, 0), MOST_GIVEN)
        return await self._db.read(_read_missing, room.record, origin, (earliest, latest, most, min_depth))

    async def event_auth(self, origin: ServerName, room_id: str, event_id: str) -> list[msgspec.Raw]:
        """All events that one rests on.

        Raises: NotFound; Refused.
        Spec: server-server-api#get_matrixfederationv1event_authroomideventid
        """
        room, _ = await self._open_upto(origin, room_id, [EventID(event_id)])
        found = await self._db.read(_read_chain, room.record, EventID(event_id))
        if found is None:
            raise NotFound("Event not found")
        return found

    async def closest(self, origin: ServerName, room_id: str, at_ms: int, *, backwards: bool) -> RoomEvent:
        """The event closest to a time.

        Raises: NotFound; Refused.
        Spec: server-server-api#get_matrixfederationv1timestamp_to_eventroomid
        """
        room = await self._open(origin, room_id)
        found = await self._db.read(_read_dated, room.record, origin, at_ms, backwards)
        if found is None:
            raise NotFound(f"There is no event {'before' if backwards else 'after'} that time")
        return found

    async def _open(self, origin: ServerName, room_id: str) -> Room:
        """The room, if that server is in it.

        Raises: Refused, alike for a room that is not and for one it is not in.
        """
        room, _ = await self._open_upto(origin, room_id, ())
        return room

    async def _open_upto(
        self, origin: ServerName, room_id: str, event_ids: Sequence[EventID]
    ) -> tuple[Room, Sequence[EventID]]:
        """The room, and up to which of these events that server may know it: all while it is in it, and those before
        which it was. So it learns why it is not any more.

        Raises: Refused, alike for a room that is not and for one it is not in.
        """
        room = await self._rooms.load(room_id)
        if room is not None and origin not in room.shown.servers:
            event_ids = await self._db.read(find_witnessed, room.record, origin, event_ids)
            room = room if event_ids else None
        if room is None:
            raise Refused("giving", "The server is not in the room")
        check_acl(room, origin)
        return room, event_ids


def _raw(held: RoomEvent, sight: ServerSight) -> msgspec.Raw:
    return msgspec.Raw((held.event if sight.may_see(held) else redact_event(held.event)).raw)


def _read_event(txn: Txn, record: RoomRecord, origin: ServerName, event_id: EventID) -> msgspec.Raw | None:
    known = find_known(txn, [event_id]).get(event_id)
    if known is None or known.standing is Standing.REJECTED:
        return None
    (held,) = find_by_id(txn, record, [event_id]).values()
    if not held.group:  # an outlier is state or what that rests on
        return msgspec.Raw(held.event.raw)
    return _raw(held, ServerSight(txn, record, origin))


def _read_state(txn: Txn, record: RoomRecord, event_id: EventID) -> Given | None:
    state = load_state_before(txn, record, event_id)
    return None if state is None else Given(state, load_chain(txn, record, state.values(), MOST_CHAIN))


def _read_back(
    txn: Txn, record: RoomRecord, origin: ServerName, starts: Sequence[EventID], most: int
) -> list[msgspec.Raw]:
    sight = ServerSight(txn, record, origin)
    return [_raw(held, sight) for held in walk_back(txn, record, starts, set(), most)]


def _read_missing(
    txn: Txn, record: RoomRecord, origin: ServerName, wanted: tuple[set[EventID], Sequence[EventID], int, int]
) -> list[msgspec.Raw]:
    earliest, latest, most, min_depth = wanted
    sight = ServerSight(txn, record, origin)
    found = walk_back(txn, record, latest, earliest, most + len(latest))
    between = [held for held in found if held.event_id not in latest and held.event.depth >= min_depth][:most]
    return [_raw(held, sight) for held in reversed(between)]


def _read_chain(txn: Txn, record: RoomRecord, event_id: EventID) -> list[msgspec.Raw] | None:
    held = find_by_id(txn, record, [event_id]).get(event_id)
    if held is None:
        return None
    return [msgspec.Raw(raw) for raw in load_chain(txn, record, [held.event.raw], MOST_CHAIN).values()]


def _read_dated(txn: Txn, record: RoomRecord, origin: ServerName, at_ms: int, backwards: bool) -> RoomEvent | None:
    found = find_dated(txn, record, at_ms, backwards=backwards)
    return found if found is not None and ServerSight(txn, record, origin).may_see(found) else None


def dump(events: dict[EventID, bytes]) -> list[Any]:
    """Events as they go into an answer."""
    return [msgspec.Raw(raw) for raw in events.values()]
