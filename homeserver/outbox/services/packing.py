"""Makes transactions of what waits for services, and stores them: from then on each is told as it is."""

from collections.abc import Callable, Sequence
from typing import Final

from federation.ids import RoomID, UserID
from homeserver.accounts.appservices.registry import AppService
from homeserver.ephemeral.presence import Presences
from homeserver.ephemeral.typing import Typing
from homeserver.outbox.services.interest import Rooms, is_target
from homeserver.outbox.services.line import Fleeting, Line
from homeserver.outbox.services.parcels import MOST_EVENTS, Parcel, encode_receipt, encode_typing, load_key_news
from homeserver.storage.appservices import (
    LineRecord,
    Passed,
    Queued,
    load_passed,
    load_queued,
    remove_queued,
    set_line,
)
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.database import Database, StorageUnavailable, Txn
from homeserver.storage.events import RoomEvent, load_whole
from homeserver.storage.rooms import load_rooms

PAGE: Final = 1000
"""How much of the stream is looked through at a time for a service that is behind."""
MOST_MAIL: Final = 100


class Packing:
    """Makes the transactions of all lines; `rooms` knows whom they concern, and up to which position."""

    def __init__(
        self, database: Database, rooms: Rooms, typing: Typing, presences: Presences, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._typing = typing
        self._presences = presences
        self._now_ms = now_ms

    async def pack(self, line: Line) -> bool:
        """Make the next transaction and store it; False when there was nothing to tell after all."""
        parcel = await self._read_stream(line) if line.is_behind else self._take_held(line)
        fleeting = dict(line.fleeting)
        parcel.ephemeral = [self._encode(what) for what in fleeting.values()]
        if line.has_mail:
            line.has_mail = False
            parcel.mail = await self._database.read(load_queued, line.service.id, MOST_MAIL)
            line.has_mail |= len(parcel.mail) == MOST_MAIL
        if line.has_keys:
            line.has_keys = False
            parcel.keys = await self._database.read(load_key_news, line.service.id, line.noted)
        if parcel.is_empty:
            line.position = parcel.upto
            return False
        try:
            await self._put_down(line, parcel)
        except StorageUnavailable:
            line.held.clear()
            line.is_behind = True  # what was taken out of memory is in the stream
            line.has_mail = line.has_keys = line.service.encrypts
            raise
        for key, what in fleeting.items():
            if line.fleeting.get(key) is what:
                del line.fleeting[key]
        return True

    async def _put_down(self, line: Line, parcel: Parcel) -> None:
        number = max(line.number + 1, self._now_ms())
        body = parcel.encode(line.service)
        record = LineRecord(position=parcel.upto, number=number, body=body)
        await self._database.write(_store_parcel, line.service.id, record, parcel.mail)
        line.position = line.noted = parcel.upto
        line.number, line.body = number, body

    def _take_held(self, line: Line) -> Parcel:
        parcel, now_ms = Parcel(upto=line.position), self._now_ms()
        while line.held and not parcel.is_full:
            parcel.add(line.held.popleft(), line.service, now_ms)
        if not line.held:
            parcel.upto = max(parcel.upto, self._rooms.position)
        return parcel

    async def _read_stream(self, line: Line) -> Parcel:
        """The next page of what the service has missed; with the last it is behind no more."""
        upto, parcel = self._rooms.position, Parcel(upto=line.position)
        page = await self._database.read(load_passed, line.position, upto, PAGE)
        wanted = [passed for passed in page if await self._was_concerned(line.service, passed)][: MOST_EVENTS + 1]
        events = await self._database.read(_load_events, wanted[:MOST_EVENTS])
        now_ms = self._now_ms()
        for passed in wanted:
            if parcel.is_full:
                return parcel
            held = events.get(passed.nid)
            if held is not None:  # else purged meanwhile
                parcel.add(held, line.service, now_ms)
        if len(page) == PAGE:
            parcel.upto = page[-1].stream
        else:
            parcel.upto = upto
            line.is_behind = upto != self._rooms.position
        return parcel

    async def _was_concerned(self, service: AppService, passed: Passed) -> bool:
        """Whether a service was to hear of an event when it came."""
        if not service.may_enter(passed.room_id):
            return False
        if is_target(service, passed.type, passed.state_key):
            return True
        interest = (await self._rooms.load(passed.room_nid, passed.room_id)).get(service)
        return interest is not None and interest.covers(passed.stream)

    def _encode(self, what: Fleeting) -> bytes:
        if isinstance(what, ReceiptMoved):
            return encode_receipt(what)
        if what.startswith("@"):
            return self._presences.event(UserID(what))
        return encode_typing(what, self._typing.users(RoomID(what)))

    async def note(self, line: Line) -> None:
        """Note how far a line is, under which nothing is under way."""
        record = LineRecord(position=line.position, number=line.number, body=None)
        await self._database.write(set_line, line.service.id, record)
        line.noted = line.position


def _load_events(txn: Txn, passed: Sequence[Passed]) -> dict[int, RoomEvent]:
    rooms = load_rooms(txn, {each.room_id for each in passed})
    found: dict[int, RoomEvent] = {}
    for room in rooms.values():
        found |= load_whole(txn, room, [each.nid for each in passed if each.room_nid == room.nid])
    return found


def _store_parcel(txn: Txn, service_id: str, record: LineRecord, mail: Sequence[Queued]) -> None:
    """The unit of a transaction: from here on it is told as it is, whatever happens."""
    set_line(txn, service_id, record)
    remove_queued(txn, mail)
