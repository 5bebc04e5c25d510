"""Finding events by when they were sent.

Spec: client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from typing import Final

from federation.ids import UserID
from homeserver.policy import NotFound
from homeserver.rooms.afar import Dated, RoomsAfar
from homeserver.rooms.history import MOST_LOOKED_AT
from homeserver.rooms.sight import load_seen
from homeserver.rooms.view import View, Views
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import RoomEvent, load_dated
from homeserver.storage.received import has_gaps

_MOST: Final = 2**63 - 1
_LEAST: Final = -(2**63)
_AT_ONCE: Final = 50


class Dates:
    """Finds events by the time that they bear; where history is missing here, others are asked by `afar`."""

    afar: RoomsAfar | None = None

    def __init__(self, database: Database, views: Views) -> None:
        self._db = database
        self._views = views

    async def find(self, by: UserID, room_id: str, at_ms: int, *, backwards: bool) -> Dated:
        """The event closest to a time that the asker may see: the first not before it, or the last not after it.

        Raises: NotFound when there is none; Hidden; Refused.
        Spec: client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event
        """
        view = await self._views.open(by, room_id)
        held, has_gaps = await self._db.read(_find_here, view, at_ms, backwards)
        found = None if held is None else Dated(held.event_id, held.event.origin_server_ts)
        if self.afar is not None and (found is None or has_gaps):
            told = await self.afar.find_dated(room_id, view.room.shown.servers, at_ms, backwards=backwards)
            if told is not None and (found is None or abs(told.at_ms - at_ms) < abs(found.at_ms - at_ms)):
                found = told
        if found is None:
            raise NotFound(f"There is no event {'before' if backwards else 'after'} that time")
        return found


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
