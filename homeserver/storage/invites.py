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
from homeserver.storage.purge import remove_events
from homeserver.storage.received import find_known
from homeserver.storage.rooms import RoomRecord, append_room, find_room

_INVITATION: Final = Insert(
    "INSERT INTO invitations (event_nid, room_nid, state, servers, origin, user_id) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (event_nid) DO UPDATE SET state = excluded.state, servers = excluded.servers,"
    " origin = excluded.origin, user_id = excluded.user_id, ended_of = NULL"
)
MOST_ENDED: Final = 1_000
"""How many invitations of one server are remembered that are open no longer, and led nowhere."""
_AT_ONCE: Final = 10
"""How many of those are forgotten together."""


class Bounds(NamedTuple):
    """How many invitations of other servers may be open: one person's by one server, one person's in all, and of one
    server in all.
    """

    each: int
    person: int
    server: int


class TooManyOpen(Exception):
    """More invitations are open than are kept."""


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
    """Unit of work: somebody of ours is now what an event says in a room where this server has no part. An invitation
    into it, if one was open, is so no longer.

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
    _end(txn, held.event.state_key, held.room_nid, stream)
    if shown is not None:
        invited = (held.event.origin, held.event.state_key) if held.event.membership == "invite" else (None, None)
        row = (held.nid, held.room_nid, shown.state, msgspec.json.encode(shown.servers), *invited)
        txn.append(_INVITATION, row)
    txn.tell(EventAdded(position=stream, event=held))


def set_invited(txn: Txn, record: RoomRecord, held: RoomEvent, shown: Shown, bounds: Bounds) -> None:
    """Unit of work: as `set_outlying`, of an invitation that another server sends.

    Raises: TooManyOpen.
    """
    set_outlying(txn, record, held, shown)
    origin, user_id = held.event.origin, held.event.state_key
    row = txn.one(
        "SELECT (SELECT COUNT(*) FROM invitations WHERE origin = ? AND user_id = ?),"
        " (SELECT COUNT(*) FROM invitations WHERE user_id = ?), (SELECT COUNT(*) FROM invitations WHERE origin = ?)",
        (origin, user_id, user_id, origin),
    )
    if any(count > most for count, most in zip(row or (), bounds, strict=True)):
        raise TooManyOpen


def set_ended(txn: Txn, user_id: str | None, room_nid: int) -> None:
    """Somebody has come into a room: their invitations are open no longer, what was shown with them is not kept."""
    txn.run(
        "UPDATE invitations SET origin = NULL, user_id = NULL, state = ? WHERE room_nid = ? AND user_id = ?",
        (b"[]", room_nid, user_id),
    )


# what invitations leave behind that led nowhere


def _end(txn: Txn, user_id: str | None, room_nid: int, stream: int) -> None:
    """Somebody's invitations into a room were refused, taken back or replaced; the oldest such are forgotten."""
    rows = txn.all(
        "UPDATE invitations SET ended_of = origin, ended_at = ?, origin = NULL, user_id = NULL, state = ?"
        " WHERE room_nid = ? AND user_id = ? RETURNING ended_of",
        (stream, b"[]", room_nid, user_id),
    )
    for (origin,) in rows:
        surplus = txn.all(
            "SELECT e.room_nid, e.state_key, i.event_nid, i.ended_at FROM invitations i"
            " JOIN events e ON e.nid = i.event_nid WHERE i.ended_of = ? ORDER BY i.ended_at DESC LIMIT ? OFFSET ?",
            (origin, _AT_ONCE, MOST_ENDED),
        )
        for room, person, invitation, ended_at in surplus:
            _forget(txn, room, person, invitation, ended_at)


def _forget(txn: Txn, room_nid: int, user_id: UserID, invitation: int, upto: int) -> None:
    """Forget an invitation with what somebody was in the room until it ended, and the room if nothing else is known of
    it. What became part of a room that people have come into since stays.
    """
    sql = "SELECT nid, stream FROM events WHERE room_nid = ? AND stream IS NOT NULL ORDER BY stream DESC LIMIT 1"
    last = txn.one(sql, (room_nid,))
    if last is not None and last[0] > invitation:
        txn.run("UPDATE invitations SET ended_of = NULL WHERE event_nid = ?", (invitation,))
        return
    now = find_membership(txn, user_id, room_nid)
    if now is not None and now.stream <= upto:
        if last is None and now.membership in ("leave", "ban"):
            txn.run("DELETE FROM memberships WHERE user_id = ? AND room_nid = ?", (user_id, room_nid))
        else:  # they are still invited, or have been in the room: that they left it is to be known
            upto = now.stream - 1
    rows = txn.all(
        "SELECT c.stream, c.event_nid FROM membership_changes c JOIN events e ON e.nid = c.event_nid"
        " WHERE c.user_id = ? AND c.stream > ? AND c.stream <= ? AND c.room_nid = ? AND e.standing = ?",
        (user_id, 0 if last is None else last[1], upto, room_nid, Standing.OUTLIER.value),
    )
    txn.many(
        "DELETE FROM membership_changes WHERE user_id = ? AND stream = ?", [(user_id, stream) for stream, _ in rows]
    )
    remove_events(txn, [nid for _, nid in rows])
    if last is None and txn.one("SELECT 1 FROM memberships WHERE room_nid = ? LIMIT 1", (room_nid,)) is None:
        txn.run("DELETE FROM rooms WHERE nid = ?", (room_nid,))
