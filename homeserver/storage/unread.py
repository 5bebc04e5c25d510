"""What may be unread: the events of a room since somebody read it, as far as push rules look at them.

Spec: client-server-api#receiving-notifications
"""

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


def find_arrival(txn: Txn, user_id: UserID, room_id: RoomID) -> Arrival | None:
    """When somebody who is in a room came into it."""
    row = txn.one(
        "SELECT room_nid FROM memberships JOIN rooms ON rooms.nid = memberships.room_nid"
        " WHERE user_id = ? AND room_id = ? AND membership = 'join'",
        (user_id, room_id),
    )
    if row is None:
        return None
    room_nid = row[0]
    away = txn.one(
        "SELECT MAX(stream) FROM membership_changes WHERE user_id = ? AND room_nid = ? AND membership <> 'join'",
        (user_id, room_nid),
    )
    since = (away[0] if away is not None else None) or 0
    came = txn.one(
        "SELECT MIN(stream) FROM membership_changes WHERE user_id = ? AND room_nid = ? AND stream > ?",
        (user_id, room_nid, since),
    )
    return Arrival(room_nid, room_id, (came[0] if came is not None else None) or 0)


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
