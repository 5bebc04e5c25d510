"""Receipts: up to which event each person has read a room, or a thread of it.

Spec: client-server-api#receipts
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from federation.ids import RoomID, UserID
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.database import Insert, Row, Txn
from homeserver.storage.outbox import Span

_RECEIPT: Final = Insert(
    "INSERT INTO receipts (room_nid, user_id, kind, thread_id, event_id, event_stream, position, at_ms)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (room_nid, user_id, kind, thread_id) DO UPDATE SET event_id = excluded.event_id,"
    " event_stream = excluded.event_stream, position = excluded.position, at_ms = excluded.at_ms"
)
_SELECT: Final = (
    "SELECT r.position, rooms.room_id, r.user_id, r.kind, r.event_id, r.event_stream, r.thread_id, r.at_ms"
    " FROM receipts r JOIN rooms ON rooms.nid = r.room_nid"
)


class Target(NamedTuple):
    """An event of a room's timeline, as far as a receipt on it goes."""

    room_nid: int
    stream: int
    content: dict[str, Any]


class Read(NamedTuple):
    """How far somebody has read a room: in a thread, or in all of it (None)."""

    room_nid: int
    thread_id: str | None
    upto: int


def find_target(txn: Txn, room_id: str, event_id: str) -> Target | None:
    """The event of that ID, if it is in that room's timeline; anything may be asked."""
    row = txn.one(
        "SELECT e.room_nid, e.stream, e.json FROM events e JOIN rooms ON rooms.nid = e.room_nid"
        " WHERE e.event_id = ? AND rooms.room_id = ? AND e.stream IS NOT NULL",
        (event_id, room_id),
    )
    return None if row is None else Target(row[0], row[1], msgspec.json.decode(row[2])["content"])


def set_receipt(txn: Txn, room_nid: int, receipt: ReceiptMoved) -> bool:
    """Move a receipt on, at a new position; False, and nothing happens, when it is as far or further already."""
    key = (room_nid, receipt.user_id, receipt.kind, receipt.thread_id or "")
    row = txn.one(
        "SELECT event_id, event_stream FROM receipts WHERE room_nid = ? AND user_id = ? AND kind = ? AND thread_id = ?",
        key,
    )
    if row is not None and not _is_ahead(receipt, *row):
        return False
    position = txn.position()
    txn.append(_RECEIPT, (*key, receipt.event_id, receipt.upto, position, receipt.at_ms))
    txn.tell(
        ReceiptMoved(
            position=position,
            room_id=receipt.room_id,
            user_id=receipt.user_id,
            kind=receipt.kind,
            event_id=receipt.event_id,
            upto=receipt.upto,
            thread_id=receipt.thread_id,
            at_ms=receipt.at_ms,
        )
    )
    return True


def load_receipts(txn: Txn, user_id: UserID, room_nids: Iterable[int], window: tuple[int, int]) -> list[ReceiptMoved]:
    """The receipts that moved above one position and not above another, in rooms that the person is in: those of
    everybody, and the person's own private ones.
    """
    rows = txn.all_in(
        f"{_SELECT} WHERE r.room_nid {{in}} AND r.position > ? AND r.position <= ?"
        " AND (r.kind = 'm.read' OR r.user_id = ?) ORDER BY r.position",
        room_nids,
        (*window, user_id),
    )
    return [_read(row) for row in rows]


def load_owed_receipts(txn: Txn, span: Span, most: int) -> list[ReceiptMoved]:
    """The public receipts of our people that moved in a stretch of the stream, in rooms that a server is in; the latest
    of them, the earliest first.
    """
    rows = txn.all(
        f"{_SELECT} JOIN room_servers s ON s.room_nid = r.room_nid WHERE s.server_name = ? AND s.left_at IS NULL"
        " AND r.position > ? AND r.position <= ? AND r.kind = 'm.read' AND r.user_id LIKE ?"
        " ORDER BY r.position DESC LIMIT ?",
        (span.server, span.after, span.upto, f"%:{span.ours}", most),
    )
    return [_read(row) for row in reversed(rows)]


def load_own_receipts(txn: Txn, user_id: UserID, room_ids: Iterable[RoomID]) -> list[ReceiptMoved]:
    """A person's own receipts in some rooms."""
    sql = f"{_SELECT} WHERE rooms.room_id {{in}} AND r.user_id = ? ORDER BY r.position"
    rows = txn.all_in(sql, room_ids, (user_id,))
    return [_read(row) for row in rows]


def load_reads(txn: Txn, user_id: UserID, room_nids: Iterable[int]) -> list[Read]:
    """How far a person has read those rooms, by receipts of either kind, as far as the events are known here."""
    rows = txn.all_in(
        "SELECT room_nid, thread_id, MAX(event_stream) FROM receipts"
        " WHERE room_nid {in} AND user_id = ? AND event_stream IS NOT NULL GROUP BY room_nid, thread_id",
        room_nids,
        (user_id,),
    )
    return [Read(room_nid, thread_id or None, upto) for room_nid, thread_id, upto in rows]


def _is_ahead(receipt: ReceiptMoved, event_id: str, upto: int | None) -> bool:
    if receipt.upto is None or upto is None:
        return bool(receipt.event_id != event_id)
    return receipt.upto > upto


def _read(row: Row) -> ReceiptMoved:
    position, room_id, user_id, kind, event_id, upto, thread_id, at_ms = row
    return ReceiptMoved(
        position=position,
        room_id=RoomID(room_id),
        user_id=user_id,
        kind=kind,
        event_id=event_id,
        upto=upto,
        thread_id=thread_id or None,
        at_ms=at_ms,
    )
