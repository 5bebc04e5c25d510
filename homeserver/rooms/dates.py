"""Finding events by when they were sent.

Spec: client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from federation.ids import EventID, ServerName, UserID, server_of
from homeserver.policy import NotFound
from homeserver.rooms.afar import RoomsAfar
from homeserver.rooms.history import MOST_LOOKED_AT
from homeserver.rooms.room import Room
from homeserver.rooms.sight import load_seen
from homeserver.rooms.view import View, Views
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import RoomEvent, load_dated
from homeserver.storage.received import has_gaps

_MOST: Final = 2**63 - 1
_LEAST: Final = -(2**63)
_AT_ONCE: Final = 50


FetchEvent: TypeAlias = Callable[[Room, ServerName, EventID], Awaitable[None]]
"""Fetches an event of a room's past from a server, if it is to be had."""


class Dates:
    """Finds events by the time that they bear; where history is missing here, others are asked by `afar`, and what they
    found is fetched by `fetch`.
    """

    afar: RoomsAfar | None = None
    fetch: FetchEvent | None = None

    def __init__(self, database: Database, views: Views) -> None:
        self._db = database
        self._views = views

    async def find(self, by: UserID, room_id: str, at_ms: int, *, backwards: bool) -> RoomEvent:
        """The event closest to a time that the asker may see: the first not before it, or the last not after it.

        Raises: NotFound when there is none; Hidden; Refused.
        Spec: client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event
        """
        view = await self._views.open(by, room_id)
        found, has_gaps = await self._db.read(_find_here, view, at_ms, backwards)
        if (found is None or has_gaps) and await self._fetch_closer(view.room, found, at_ms, backwards=backwards):
            found, _ = await self._db.read(_find_here, view, at_ms, backwards)
        if found is None:
            raise NotFound(f"There is no event {'before' if backwards else 'after'} that time")
        return found

    async def _fetch_closer(self, room: Room, found: RoomEvent | None, at_ms: int, *, backwards: bool) -> bool:
        """Fetch the event that is closer to a time than what was found here, if another server says that it knows one;
        whether that was tried.
        """
        if self.afar is None or self.fetch is None:
            return False
        told = await self.afar.find_dated(room.room_id, _oldest_first(room), at_ms, backwards=backwards)
        if told is None or (found is not None and abs(told.at_ms - at_ms) >= _distance(found, at_ms)):
            return False
        await self.fetch(room, told.server, told.event_id)
        return True


def _distance(held: RoomEvent, at_ms: int) -> int:
    return abs(held.event.origin_server_ts - at_ms)


def _oldest_first(room: Room) -> Sequence[ServerName]:
    """The servers in a room, those that came first and so know most in front, as far as the memberships tell."""
    since: dict[ServerName, int] = {}
    for user_id, held in room.shown.joined.items():
        server = server_of(user_id)
        since[server] = min(since.get(server, held.event.depth), held.event.depth)
    return sorted(since, key=lambda server: (since[server], server))


def _find_here(txn: Txn, view: View, at_ms: int, backwards: bool) -> tuple[RoomEvent | None, bool]:
    """The event that is closest here, and whether some of the history is missing."""
    return _find(txn, view, at_ms, backwards), has_gaps(txn, view.room.nid)


def _find(txn: Txn, view: View, at_ms: int, backwards: bool) -> RoomEvent | None:
    record = view.room.record
    start = (at_ms, _MOST, _MOST) if backwards else (at_ms, -1, _LEAST)
    for _ in range(MOST_LOOKED_AT // _AT_ONCE):
        events = load_dated(txn, record, start, _AT_ONCE, backwards=backwards)
        seen = load_seen(txn, record, view.user_id, events)
        if seen:
            return seen[0].held
        if len(events) < _AT_ONCE:
            return None
        start = (events[-1].event.origin_server_ts, *events[-1].place)
    return None
