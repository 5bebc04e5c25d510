"""Memberships of our people in rooms where this server has no part: invitations and knocks, and how those ended.

The room is then only a row of `rooms`, the membership event an outlier.
"""

from typing import Final, NamedTuple

import msgspec

from federation.ids import EventID, ServerName, UserID
from homeserver.storage.changes import EventAdded
from homeserver.storage.database import Insert, Txn
from homeserver.storage.events import RoomEvent, Standing, append_event, load_events
from homeserver.storage.members import Membership, find_membership, set_membership
from homeserver.storage.received import find_known
from homeserver.storage.rooms import RoomRecord, append_room, find_room

_INVITATION: Final = Insert(
    "INSERT INTO invitations (event_nid, room_nid, state, servers) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (event_nid) DO UPDATE SET state = excluded.state, servers = excluded.servers"
)


class Shown(NamedTuple):
    """What another server has shown of a room: stripped state as a JSON array, and servers that may know the room."""

    state: bytes
    servers: tuple[ServerName, ...]


class Outlying(NamedTuple):
    """What somebody of ours is in a room where this server may have no part: the event, and what was shown with it."""

    record: RoomRecord
    membership: Membership
    event: RoomEvent
    shown: Shown | None


def find_outlying(txn: Txn, user_id: UserID, room_id: str) -> Outlying | None:
    """What somebody is in a room, by their last membership event."""
    record = find_room(txn, room_id)
    membership = None if record is None else find_membership(txn, user_id, record.nid)
    if record is None or membership is None:
        return None
    held = load_events(txn, record, [membership.event_nid])[membership.event_nid]
    held.stream = membership.stream  # an outlier has none of its own
    return Outlying(record, membership, held, find_shown(txn, membership.event_nid))


def find_shown(txn: Txn, event_nid: int) -> Shown | None:
    """What another server has shown with a membership event."""
    row = txn.one("SELECT state, servers FROM invitations WHERE event_nid = ?", (event_nid,))
    if row is None:
        return None
    return Shown(bytes(row[0]), tuple(msgspec.json.decode(row[1], type=list[ServerName])))


def set_outlying(txn: Txn, record: RoomRecord, held: RoomEvent, shown: Shown | None) -> None:
    """Unit of work: somebody of ours is now what an event says in a room where this server has no part.

    `record` and the numbers of the event are used for what is not known yet.
    """
    known = find_room(txn, record.room_id)
    if known is None:
        append_room(txn, record)
    held.room_nid = record.nid if known is None else known.nid
    event_id: EventID = held.event_id
    before = find_known(txn, [event_id]).get(event_id)
    stream = held.stream = txn.position()
    if before is None:
        append_event(txn, held, None, Standing.OUTLIER)
    else:
        held.nid = before.nid
    set_membership(txn, held, stream, ours=True)
    if shown is not None:
        txn.append(_INVITATION, (held.nid, held.room_nid, shown.state, msgspec.json.encode(shown.servers)))
    txn.tell(EventAdded(position=stream, event=held))
