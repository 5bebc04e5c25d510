"""Public receipts of our people as other servers are told of them.

Spec: server-server-api#receipts
"""

from collections.abc import Iterable
from typing import Any

from federation.ids import RoomID, UserID
from homeserver.storage.changes import ReceiptMoved

Receipts = dict[RoomID, dict[str, dict[UserID, dict[str, Any]]]]


def build_receipts(moved: Iterable[ReceiptMoved]) -> list[Receipts]:
    """The contents that tell of receipts, as few as may be: one has a person in a room once, whatever their threads.

    Spec: server-server-api#receipts
    """
    contents: list[Receipts] = []
    for receipt in moved:
        data: dict[str, object] = {"ts": receipt.at_ms}
        if receipt.thread_id is not None:
            data["thread_id"] = receipt.thread_id
        read = {"event_ids": [receipt.event_id], "data": data}
        _find_free(contents, receipt)[receipt.user_id] = read
    return contents


def _find_free(contents: list[Receipts], receipt: ReceiptMoved) -> dict[UserID, dict[str, Any]]:
    """Where a receipt has its place: with others of its room, but not with one of the same person."""
    for content in contents:
        readers = content.setdefault(receipt.room_id, {"m.read": {}})["m.read"]
        if receipt.user_id not in readers:
            return readers
    readers = {}
    contents.append({receipt.room_id: {"m.read": readers}})
    return readers
