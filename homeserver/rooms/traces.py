"""What erased people leave in rooms: redacted, so that others forget it, too, or emptied where nobody may redact it.

What is not theirs alone stays: the names and topics that they gave to rooms, and what others wrote about them.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from msgspec.structs import replace

from federation.errors import Refused
from federation.ids import UserID
from federation.redaction import redact_event
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.storage.database import Database
from homeserver.storage.erasure import FIRST, Erasure, find_next_room, load_traces
from homeserver.storage.events import RoomEvent
from homeserver.storage.purge import set_pruned

AT_ONCE: Final = 50
"""How many events are redacted in one unit of work."""


class Traces:
    """Goes through the rooms of people who are erased; in a school's rooms the `service` account redacts."""

    def __init__(self, rooms: Rooms, database: Database, service: UserID) -> None:
        self._rooms = rooms
        self._db = database
        self._service = service

    async def forget(self, erasure: Erasure, note: Callable[[Erasure], Awaitable[None]], /) -> Erasure:
        """Redact what the person said and what tells of them, from where that was left off."""
        nid = erasure.room_nid - 1  # the room that was begun is gone through to its end
        while (record := await self._db.read(find_next_room, erasure.user_id, nid)) is not None:
            nid = record.nid
            if erasure.room_nid != nid:
                erasure = replace(erasure, room_nid=nid, stream=FIRST)
            while events := await self._db.read(load_traces, record, erasure.user_id, erasure.stream, AT_ONCE):
                await self._forget_some(record.room_id, erasure.user_id, events)
                erasure = replace(erasure, stream=events[-1].stream)
                await note(erasure)
            await self._rooms.renew(record.room_id)
        return erasure

    async def _forget_some(self, room_id: str, user_id: UserID, events: Sequence[RoomEvent]) -> None:
        telling = [held for held in events if redact_event(held.event).raw != held.event.raw]
        room = await self._rooms.load(room_id)
        if room is None or not telling:
            return
        by = user_id if room.record.kind is None else self._service
        try:
            await self._rooms.commit([(room, [_redaction(by, held) for held in telling])])
        except Refused:
            if len(telling) > 1:
                for held in telling:
                    await self._forget_some(room_id, user_id, [held])
            else:
                await self._db.write(set_pruned, telling[0].nid, redact_event(telling[0].event).raw)


def _redaction(by: UserID, held: RoomEvent) -> Draft:
    return Draft(type="m.room.redaction", sender=by, content={}, redacts=held.event_id, target=held)
