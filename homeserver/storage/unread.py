"""What may be unread: the events of a room since somebody read it, as far as push rules look at them.

Spec: client-server-api#receiving-notifications
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from federation.ids import RoomID, UserID
from homeserver.storage.database import Row, Txn

_RELATES: Final = b'"m.relates_to"'

MOST_NEW: Final = 1000
"""How many events after the last one read are looked at, the latest first."""
MOST_OLD: Final = 200
"""How many events before that are looked at, in search of threads that were not read so far."""


class Entry(NamedTuple):
    """An event as push rules see it, and where it is."""

    stream: int
    nid: int
    event_id: str
    room_id: str
    type: str
    state_key: str | None
    sender: str
    origin_server_ts: int
    content: dict[str, Any]


class _OnlyContent(msgspec.Struct):
    content: dict[str, Any]


_decoder: Final = msgspec.json.Decoder(_OnlyContent)


class Arrival(NamedTuple):
    """A room, and the position at which somebody last came into it."""

    room_nid: int
    room_id: RoomID
    stream: int


def load_arrivals(txn: Txn, user_id: UserID, room_ids: Iterable[RoomID]) -> list[Arrival]:
    """When somebody came into each of those rooms that they are in."""
    rows = txn.all_in(
        "SELECT room_nid, room_id FROM rooms JOIN memberships ON memberships.room_nid = rooms.nid"
        " WHERE room_id {in} AND user_id = ? AND membership = 'join'",
        room_ids,
        (user_id,),
    )
    came: dict[int, int] = {}
    changes = txn.all(
        "SELECT room_nid, membership, stream FROM membership_changes WHERE user_id = ? ORDER BY stream", (user_id,)
    )
    for room_nid, membership, stream in changes:
        if membership == "join":
            came.setdefault(room_nid, stream)
        else:
            came.pop(room_nid, None)
    return [Arrival(room_nid, room_id, came.get(room_nid, 0)) for room_nid, room_id in rows]


def count_joined(txn: Txn, room_nid: int) -> int:
    """How many are in a room."""
    row = txn.one("SELECT COUNT(*) FROM memberships WHERE room_nid = ? AND membership = 'join'", (room_nid,))
    return 0 if row is None else int(row[0])


def load_entries(
    txn: Txn, arrival: Arrival, window: tuple[int, int], most: int, *, threaded: bool = False
) -> list[Entry]:
    """The last events above one position and not above another, at most so many, the latest first; with `threaded`
    those of them that may be in a thread.
    """
    rows = txn.all(
        "SELECT stream, nid, event_id, type, state_key, sender, origin_server_ts, json FROM events"
        " WHERE room_nid = ? AND stream > ? AND stream <= ? ORDER BY stream DESC LIMIT ?",
        (arrival.room_nid, *window, most),
    )
    return [_read(arrival, row) for row in rows if not threaded or _RELATES in row[-1]]


def _read(arrival: Arrival, row: Row) -> Entry:
    stream, nid, event_id, kind, state_key, sender, sent_ms, raw = row
    content = _decoder.decode(raw).content
    return Entry(stream, nid, event_id, arrival.room_id, kind, state_key, sender, sent_ms, content)
