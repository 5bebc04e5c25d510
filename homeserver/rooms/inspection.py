"""What operators see of rooms, whoever is in them: what they are, who is there, and what was said.

Each look at one room is in the audit log before it is answered; see `homeserver.operators`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import msgspec

from federation.ids import ServerName, UserID
from homeserver.operators import Operators
from homeserver.policy import Administer, Deed, NotFound
from homeserver.rooms.filters import build_test
from homeserver.rooms.history import MOST_EVENTS, MOST_LOOKED_AT, Ask
from homeserver.rooms.listing import read_text
from homeserver.rooms.overview import build_overview
from homeserver.rooms.places import BEGINNING, before, encode_token, find_end, find_token_place
from homeserver.rooms.render import Asker, render
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.spaces import Spaces, Walk
from homeserver.rooms.summaries import Summaries
from homeserver.storage.audit import AuditEntry
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import Place, RoomEvent, find_event, find_room_of, load_dated, load_page
from homeserver.storage.roomlist import (
    ListedRoom,
    RoomQuery,
    count_devices_in,
    find_listed_room,
    is_forgotten,
    load_largest,
    load_listed_rooms,
)
from homeserver.storage.rooms import RoomRecord
from homeserver.storage.state import load_state

T = TypeVar("T")

_AT_ONCE: Final = 100
_LARGEST: Final = 10
_SAMPLE: Final = 100
_LATEST: Final = 2**63 - 1


class AllSummaries(Summaries):
    """Summaries for operators, who may learn of every room."""

    async def may_learn(self, by: UserID, room: Room) -> bool:
        """They may."""
        return True


class Inspection:
    """Shows rooms to operators; that it is an operator who asks is checked before.

    Methods raise NotFound for a room that this server does not know, and Refused.
    """

    def __init__(self, rooms: Rooms, database: Database, operators: Operators, spaces: Spaces) -> None:
        self._rooms = rooms
        self._db = database
        self._operators = operators
        self._spaces = spaces

    async def load(self, by: UserID, query: RoomQuery) -> tuple[list[ListedRoom], int]:
        """A page of all rooms, and how many there are on all pages."""
        await self._operators.check(Administer(by=by, deed="see_room"))
        return await self._db.read(load_listed_rooms, query)

    async def largest(self, by: UserID) -> Sequence[tuple[str, int]]:
        """The rooms that take most of the database, and about how many bytes."""
        await self._operators.check(Administer(by=by, deed="see_room"))
        return await self._db.read(load_largest, _LARGEST, _SAMPLE)

    async def see(self, by: UserID, room_id: str) -> dict[str, object]:
        """What a room is."""
        room, entry = await self._open(by, room_id, "see_room", "details")
        listed, devices, forgotten = await self._db.read(_read_details, room.nid, self._rooms.seal.server)
        if listed is None:
            raise _no_room()
        await self._operators.note(entry)
        return {
            **describe(replace(listed, overview=build_overview(room.nid, room.shown.find))),
            "topic": read_text(room.state("m.room.topic"), "topic"),
            "avatar": read_text(room.state("m.room.avatar"), "url"),
            "joined_local_devices": devices,
            "forgotten": forgotten,
        }

    async def members(self, by: UserID, room_id: str) -> list[UserID]:
        """Who is joined to a room."""
        room, entry = await self._open(by, room_id, "see_room", "members")
        await self._operators.note(entry)
        return sorted(room.joined_members)

    async def state(self, by: UserID, room_id: str, event_type: str | None) -> list[msgspec.Raw]:
        """The present state of a room, or the part of it that is of one type, in client form."""
        room, entry = await self._open(by, room_id, "see_room", "state")
        await self._operators.note(entry)
        state = room.shown.state.items()
        return [msgspec.Raw(held.client) for key, held in state if event_type in (None, key[0])]

    async def hierarchy(self, walk: Walk, token: str | None, limit: int | None) -> dict[str, object]:
        """A page of a space's rooms, in client form.

        Raises: Invalid for an unknown token, or another walk's.
        """
        _, entry = await self._open(walk.by, walk.root, "see_room", "hierarchy")
        page = await self._spaces.hierarchy(walk, token, limit)
        await self._operators.note(entry)
        return page

    async def messages(self, asker: Asker, room_id: str, ask: Ask) -> dict[str, object]:
        """A page of a room's history, all of it, in client form."""
        room, entry = await self._open(asker.user_id, room_id, "read_room", "messages")
        start, end, events = await self._db.read(_read_page, room.record, ask)
        await self._operators.note(entry)
        answer: dict[str, object] = {"start": encode_token(start), "chunk": _render(events, asker), "state": []}
        return answer if end is None else answer | {"end": encode_token(end)}

    async def context(self, asker: Asker, room_id: str, event_id: str, ask: Ask) -> dict[str, object]:
        """What lies around an event, in client form.

        Raises: NotFound also when there is no such event.
        """
        room, entry = await self._open(asker.user_id, room_id, "read_room", "context")
        found = await self._db.read(_read_context, room.record, event_id, ask)
        if found is None:
            raise NotFound("Event not found")
        await self._operators.note(entry)
        event, (start, earlier), (end, later), state = found
        return {
            "event": _render([event], asker)[0],
            "events_before": _render(earlier, asker),
            "events_after": _render(later, asker),
            "start": encode_token(start),
            "end": encode_token(end),
            "state": [msgspec.Raw(held.client) for held in state],
        }

    async def event(self, by: UserID, event_id: str) -> RoomEvent:
        """The event of that ID, in whichever room it is.

        Raises: NotFound also when there is no such event.
        """
        room_id = await self._db.read(find_room_of, event_id)
        if room_id is None:
            await self._operators.check(Administer(by=by, deed="read_room"), what="event")
            raise NotFound("Event not found")
        room, entry = await self._open(by, room_id, "read_room", "event")
        found = await self._db.read(find_event, room.record, event_id)
        if found is None:
            raise NotFound("Event not found")
        await self._operators.note(entry)
        return found

    async def dated(self, by: UserID, room_id: str, at_ms: int, *, backwards: bool) -> RoomEvent:
        """The event closest to a time: the first not before it, or the last not after it.

        Raises: NotFound also when there is none.
        """
        room, entry = await self._open(by, room_id, "read_room", "timestamp_to_event")
        start = (at_ms, _LATEST, _LATEST) if backwards else (at_ms, -1, -_LATEST)
        found = await self._db.read(_read_dated, room.record, start, backwards)
        if found is None:
            raise NotFound(f"There is no event {'before' if backwards else 'after'} that time")
        await self._operators.note(entry)
        return found

    async def _open(self, by: UserID, room_id: str, deed: Deed, what: str) -> tuple[Room, AuditEntry]:
        entry = await self._operators.check(Administer(by=by, deed=deed, room_id=room_id), what=what)
        room = await self._rooms.load(room_id)
        if room is None:
            raise _no_room()
        return room, entry


def describe(listed: ListedRoom) -> dict[str, object]:
    """A room as lists show it."""
    known = listed.overview
    return {
        "room_id": listed.room_id,
        "name": known and known.name,
        "canonical_alias": known and known.canonical_alias,
        "joined_members": listed.joined,
        "joined_local_members": listed.joined_local,
        "version": listed.version,
        "creator": listed.creator,
        "encryption": known and known.encryption,
        "federatable": known is None or known.federatable,
        "public": listed.public,
        "join_rules": known and known.join_rules,
        "guest_access": known and known.guest_access,
        "history_visibility": known and known.history_visibility,
        "state_events": listed.state_events,
        "room_type": known and known.room_type,
    }


def _render(events: Sequence[RoomEvent], asker: Asker) -> list[msgspec.Raw]:
    return [msgspec.Raw(render(held, asker, previous=True)) for held in events]


def _read_details(txn: Txn, nid: int, ours: ServerName) -> tuple[ListedRoom | None, int, bool]:
    return find_listed_room(txn, nid, ours), count_devices_in(txn, nid), is_forgotten(txn, nid, ours)


def _read_page(txn: Txn, record: RoomRecord, ask: Ask) -> tuple[Place, Place | None, list[RoomEvent]]:
    """Where the page begins, where the next one would, and its events."""
    if ask.backwards:
        start = find_end(txn, record.nid, ask.start)
    else:
        start = BEGINNING if ask.start is None else find_token_place(txn, record.nid, ask.start)
    end, events = _fill(txn, record, ask, start)
    return start, end, events


def _fill(txn: Txn, record: RoomRecord, ask: Ask, start: Place) -> tuple[Place | None, list[RoomEvent]]:
    """Events from a place on, and the place behind them; None: there are no more."""
    test, limit = build_test(ask.wanted), min(ask.limit, ask.wanted.limit or ask.limit, MOST_EVENTS)
    stop = None if ask.stop is None else find_token_place(txn, record.nid, ask.stop)
    events: list[RoomEvent] = []
    end = start
    if limit == 0:
        return end, events
    for found in _walk(txn, record, start, backwards=ask.backwards):
        if found is None or (stop is not None and (found.place > stop) is not ask.backwards):
            return None, events
        end = before(found) if ask.backwards else found.place
        if test is None or test(found.event):
            events.append(found)
            if len(events) == limit:
                break
    return end, events


def _walk(txn: Txn, record: RoomRecord, start: Place, *, backwards: bool) -> Iterator[RoomEvent | None]:
    """Events from a place on, not without end; None where there are no more."""
    for _ in range(MOST_LOOKED_AT // _AT_ONCE):
        found = load_page(txn, record, start, _AT_ONCE, backwards=backwards)
        yield from found
        if len(found) < _AT_ONCE:
            yield None
            return
        start = before(found[-1]) if backwards else found[-1].place


_Side = tuple[Place, list[RoomEvent]]


def _read_context(
    txn: Txn, record: RoomRecord, event_id: str, ask: Ask
) -> tuple[RoomEvent, _Side, _Side, list[RoomEvent]] | None:
    event = find_event(txn, record, event_id)
    if event is None:
        return None
    earlier = replace(ask, backwards=True, limit=ask.limit // 2)
    later = replace(ask, backwards=False, limit=ask.limit - ask.limit // 2)
    start, behind = before(event), event.place
    back, past = _fill(txn, record, earlier, start)
    ahead, future = _fill(txn, record, later, behind)
    state = load_state(txn, record, (future or [event])[-1].group)
    return event, (back or start, past), (ahead or behind, future), list(state.values())


def _read_dated(txn: Txn, record: RoomRecord, start: tuple[int, int, int], backwards: bool) -> RoomEvent | None:
    return next(iter(load_dated(txn, record, start, 1, backwards=backwards)), None)


def _no_room() -> NotFound:
    return NotFound("Room not found")
