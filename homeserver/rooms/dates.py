"""Finding events by when they were sent.

Spec: client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from typing import Final

from federation.ids import UserID
from homeserver.policy import NotFound
from homeserver.rooms.history import MOST_LOOKED_AT
from homeserver.rooms.sight import load_seen
from homeserver.rooms.view import View, Views
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import RoomEvent, load_dated

_MOST: Final = 2**63 - 1
_LEAST: Final = -(2**63)
_AT_ONCE: Final = 50


class Dates:
    """Finds events by the time that they bear."""

    def __init__(self, database: Database, views: Views) -> None:
        self._db = database
        self._views = views

    async def find(self, by: UserID, room_id: str, at_ms: int, *, backwards: bool) -> RoomEvent:
        """The event closest to a time that the asker may see: the first not before it, or the last not after it.

        Raises: NotFound when there is none; Hidden; Refused.
        Spec: client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event
        """
        view = await self._views.open(by, room_id)
        found = await self._db.read(_find, view, at_ms, backwards)
        if found is None:
            raise NotFound(f"There is no event {'before' if backwards else 'after'} that time")
        return found


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
