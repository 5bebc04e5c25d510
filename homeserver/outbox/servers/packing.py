"""Makes transactions of what a server is owed, and notes what it has taken."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from federation.ids import RoomID, ServerName
from homeserver.outbox.servers.destination import Destination
from homeserver.outbox.servers.parcels import MOST_EDUS, Parcel
from homeserver.outbox.servers.receipts import build_receipts
from homeserver.rooms.acl import is_let_in
from homeserver.rooms.rooms import Rooms
from homeserver.storage.database import Database, Txn
from homeserver.storage.outbox import Span, load_backlog, set_told
from homeserver.storage.receipts import load_owed_receipts
from homeserver.storage.waiting import encode_edu, load_edus, remove_edus

MOST_RECEIPTS: Final = 500
"""How many receipts a server is told of that was away: the latest."""


class Packing:
    """Makes the transactions of all destinations."""

    def __init__(self, database: Database, rooms: Rooms, server: ServerName) -> None:
        self._database = database
        self._rooms = rooms
        self._server = server

    async def pack(self, destination: Destination, position: int) -> Parcel:
        """What the server is told next; commits were told here up to a position. It may be nothing.

        Raises: StorageUnavailable.
        """
        if destination.is_behind:
            parcel = await self._read(destination, position)
        else:
            parcel = _take_held(destination)
        most = min(destination.most * 2, MOST_EDUS)
        if destination.has_edus:
            destination.has_edus = False
            room = most - len(parcel.edus)
            rows = await self._database.read(load_edus, destination.server, room)
            taken = parcel.add_rows(rows)
            destination.has_edus |= len(rows) == room or taken < len(rows)
        parcel.fleeting = dict(islice(destination.fleeting.items(), most - len(parcel.edus)))
        parcel.edus += parcel.fleeting.values()
        return parcel

    async def finish(self, destination: Destination, parcel: Parcel) -> None:
        """Note that the server has taken it.

        Raises: StorageUnavailable.
        """
        for key, edu in parcel.fleeting.items():
            if destination.fleeting.get(key) is edu:
                del destination.fleeting[key]
        if parcel.told or parcel.rows:
            try:
                await self._database.write(_finish, destination.server, parcel.told, parcel.rows)
            except BaseException:
                destination.has_edus |= bool(parcel.rows)
                raise
        if parcel.upto is not None:
            destination.take(parcel.upto)
        if parcel.is_page and parcel.after is None:
            destination.end_pass()
        elif parcel.after is not None:
            destination.after = parcel.after

    async def _read(self, destination: Destination, position: int) -> Parcel:
        """The next page of what the tables owe it."""
        if destination.goal is None:
            destination.begin_pass(position)
        goal = position if destination.goal is None else destination.goal
        span = Span(destination.server, self._server, destination.position, goal)
        page = await self._database.read(load_backlog, span, destination.after, destination.most)
        parcel = Parcel(is_page=True, after=page.after)
        allowed: dict[RoomID, bool] = {}
        for owed in page.owed:
            if parcel.is_full:
                parcel.after = owed.room_nid - 1
                break
            if owed.room_id not in allowed:
                allowed[owed.room_id] = await self._may_tell(destination.server, owed.room_id)
            if allowed[owed.room_id]:
                parcel.add(owed.event_id, owed.at_ms, owed.raw)
            parcel.told[owed.room_nid] = owed.stream
        if parcel.after is None:
            await self._add_receipts(parcel, span, max(1, destination.most))
        return parcel

    async def _add_receipts(self, parcel: Parcel, span: Span, most: int) -> None:
        """Put in how far our people have read since then, with the last of the events that they have read."""
        moved = await self._database.read(load_owed_receipts, span, MOST_RECEIPTS)
        allowed = {room_id: await self._may_tell(span.server, room_id) for room_id in {each.room_id for each in moved}}
        contents = build_receipts(each for each in moved if allowed[each.room_id])
        parcel.edus += [encode_edu("m.receipt", content) for content in contents[:most]]

    async def _may_tell(self, server: ServerName, room_id: RoomID) -> bool:
        room = await self._rooms.load(room_id)
        return room is not None and is_let_in(room.state("m.room.server_acl"), server)


def _take_held(destination: Destination) -> Parcel:
    parcel = Parcel()
    for held in islice(destination.held, destination.most):
        if parcel.is_full:
            break
        parcel.add(held.event_id, held.event.origin_server_ts, held.event.raw)
        parcel.upto = held.stream
    return parcel


def _finish(txn: Txn, server: ServerName, told: Mapping[int, int], rows: Sequence[int]) -> None:
    """The unit of a transaction that was taken."""
    if told:
        set_told(txn, server, told)
    if rows:
        remove_edus(txn, server, rows)
