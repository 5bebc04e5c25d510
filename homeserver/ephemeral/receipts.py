"""Receipts and read markers: up to where somebody has read a room.

Spec: client-server-api#receipts, client-server-api#fully-read-markers
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from federation.ids import EventID, RoomID, UserID, fits
from homeserver.policy import Ephemeral, Hidden, Invalid, Policy, RoomFacts
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.data import set_account_data
from homeserver.storage.database import Database, Txn
from homeserver.storage.receipts import find_target, set_receipt
from homeserver.storage.threads import find_thread

Kind: TypeAlias = Literal["m.read", "m.read.private", "m.fully_read"]

KINDS: Final[tuple[Kind, ...]] = ("m.read", "m.read.private", "m.fully_read")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An event up to which somebody has read, in a thread of its own or (None) in all of the room."""

    kind: Kind
    event_id: str
    thread_id: str | None = None


class Receipts:
    """Moves receipts and markers."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        load_room: Callable[[str], Awaitable[RoomFacts | None]],
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._policy = policy
        self._load_room = load_room
        self._now_ms = now_ms

    async def set(self, by: UserID, room_id: str, marks: Sequence[Mark]) -> None:
        """Move receipts and markers to those events; a receipt never goes back.

        Raises:
            Refused: they are not in the room, or may not tell it anything.
            Invalid: there is no such event in the room, or it is not of that thread.

        Spec: client-server-api#post_matrixclientv3roomsroomidreceiptreceipttypeeventid,
        client-server-api#post_matrixclientv3roomsroomidread_markers
        """
        room = await self._load_room(room_id)
        if room is None or room.membership(by) != "join":
            raise Hidden
        for mark in marks:
            _check_form(mark)
            kind = "m.fully_read" if mark.kind == "m.fully_read" else "m.receipt"
            await self._policy.check(Ephemeral(by=by, room=room, type=kind))
        if marks:
            await self._database.write(_set_marks, by, room.room_id, marks, self._now_ms())


def _check_form(mark: Mark) -> None:
    if mark.thread_id is None:
        return
    if mark.kind == "m.fully_read":
        raise Invalid("M_INVALID_PARAM", "m.fully_read has no thread")
    if not mark.thread_id or not fits(mark.thread_id):
        raise Invalid("M_INVALID_PARAM", "thread_id must be main or an event ID")


def _set_marks(txn: Txn, by: UserID, room_id: RoomID, marks: Sequence[Mark], now_ms: int) -> None:
    """Unit of work: all of them or none."""
    for mark in marks:
        target = find_target(txn, room_id, mark.event_id)
        if target is None:
            raise Invalid("M_INVALID_PARAM", "There is no such event in the room")
        if mark.kind == "m.fully_read":
            set_account_data(txn, by, mark.kind, msgspec.json.encode({"event_id": mark.event_id}), room_id)
            continue
        if mark.thread_id not in (None, mark.event_id, find_thread(txn, target.room_nid, target.content)):
            raise Invalid("M_INVALID_PARAM", "The event is not of that thread")
        moved = ReceiptMoved(
            position=0,
            room_id=room_id,
            user_id=by,
            kind=mark.kind,
            event_id=EventID(mark.event_id),
            upto=target.stream,
            thread_id=mark.thread_id,
            at_ms=now_ms,
        )
        set_receipt(txn, target.room_nid, moved)
