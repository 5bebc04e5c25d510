"""What sync asks of the tables and nothing in memory answers: what changed for a person, and rooms as they were at a
position.

Spec: client-server-api#syncing
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from federation.ids import DeviceID, RoomID, StateKey, UserID
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, load_events
from homeserver.storage.rooms import RoomRecord

MEMBER = "m.room.member"


class Stay(NamedTuple):
    """A membership of one person's at a stream position, by which event, and whether they had joined just before."""

    room_id: RoomID
    room_nid: int
    membership: str
    event_nid: int
    stream: int
    was_joined: bool


def has_stayed(stays: Sequence[Stay]) -> bool:
    """Whether somebody was in a room all the while that these are all their moves."""
    return stays[0].was_joined and all(stay.membership == "join" for stay in stays)


class Counted(NamedTuple):
    """How many are in a room, who of them comes first in the order of their memberships, and who of those that were."""

    joined: int
    invited: int
    first: tuple[UserID, ...]
    gone: tuple[UserID, ...]


def share_room(txn: Txn, one: UserID, other: UserID) -> bool:
    """Whether two people are in a room together."""
    sql = (
        "SELECT 1 FROM memberships mine JOIN memberships theirs ON theirs.room_nid = mine.room_nid"
        " WHERE mine.user_id = ? AND mine.membership = 'join' AND theirs.user_id = ? AND theirs.membership = 'join'"
        " LIMIT 1"
    )
    return txn.one(sql, (one, other)) is not None


def load_confidants(txn: Txn, user_id: UserID, others: Collection[UserID]) -> set[UserID]:
    """Those of the others with whom a person is in an encrypted room."""
    rows = txn.all_in(
        "SELECT DISTINCT theirs.user_id FROM memberships theirs"
        " JOIN memberships mine ON mine.room_nid = theirs.room_nid"
        " WHERE theirs.user_id {in} AND theirs.membership = 'join' AND mine.user_id = ? AND mine.membership = 'join'"
        " AND EXISTS (SELECT 1 FROM state_changes c WHERE c.room_nid = mine.room_nid"
        " AND c.type = 'm.room.encryption' AND c.state_key = '')",
        others,
        (user_id,),
    )
    return {UserID(other) for (other,) in rows}


def load_stays(txn: Txn, user_id: UserID, since: int, upto: int) -> list[Stay]:
    """How a person's memberships changed above one position and not above another, in stream order."""
    rows = txn.all(
        "SELECT rooms.room_id, c.room_nid, c.membership, c.event_nid, c.stream"
        " FROM membership_changes c JOIN rooms ON rooms.nid = c.room_nid"
        " WHERE c.user_id = ? AND c.stream > ? AND c.stream <= ? ORDER BY c.stream",
        (user_id, since, upto),
    )
    joined: dict[int, bool] = {}
    stays = []
    for room_id, room_nid, membership, event_nid, stream in rows:
        if room_nid not in joined:
            joined[room_nid] = _was_joined(txn, user_id, room_nid, stream)
        stays.append(Stay(room_id, room_nid, membership, event_nid, stream, joined[room_nid]))
        joined[room_nid] = membership == "join"
    return stays


def _was_joined(txn: Txn, user_id: UserID, room_nid: int, before: int) -> bool:
    row = txn.one(
        "SELECT membership FROM membership_changes WHERE user_id = ? AND stream < ? AND room_nid = ?"
        " ORDER BY stream DESC LIMIT 1",
        (user_id, before, room_nid),
    )
    return row is not None and row[0] == "join"


def load_departures(txn: Txn, user_id: UserID, upto: int, *, left: bool) -> list[list[Stay]]:
    """Where a person is invited or knocks at a position, and with `left` also where they were before and are no more.

    For each room the stays since they left it, or the last one. Forgotten rooms are left out.
    """
    rows = txn.all(
        "SELECT rooms.room_id, m.room_nid FROM memberships m JOIN rooms ON rooms.nid = m.room_nid"
        " WHERE m.user_id = ? AND m.forgotten = 0 AND (m.membership IN ('invite', 'knock') OR m.stream > ?"
        " OR (m.membership <> 'join' AND ? = 1))",
        (user_id, upto, int(left)),
    )
    wanted = ("invite", "knock", "leave", "ban") if left else ("invite", "knock")
    last = [load_last_stays(txn, user_id, (room_id, nid), upto) for room_id, nid in rows]
    return [stays for stays in last if stays and stays[-1].membership in wanted]


def load_last_stays(txn: Txn, user_id: UserID, room: tuple[RoomID, int], upto: int) -> list[Stay]:
    """A person's stays in a room (ID and nid) up to a position: those since they left it, or the last one."""
    rows = txn.all(
        "SELECT membership, event_nid, stream FROM membership_changes"
        " WHERE user_id = ? AND room_nid = ? AND stream <= ? ORDER BY stream",
        (user_id, room[1], upto),
    )
    stays: list[Stay] = []
    joined = False
    for membership, event_nid, stream in rows:
        if joined or membership == "join" or not (stays and stays[0].was_joined):
            stays = []
        stays.append(Stay(*room, membership, event_nid, stream, joined))
        joined = membership == "join"
    return stays


def load_changed_rooms(txn: Txn, user_id: UserID, room_nids: Iterable[int], since: int, upto: int) -> set[RoomID]:
    """Those of the rooms with an event, another state or another receipt above `since` and not above `upto`."""
    rows = txn.all_in(
        "SELECT room_id FROM rooms WHERE nid {in} AND ("
        "EXISTS (SELECT 1 FROM events e WHERE e.room_nid = rooms.nid AND e.stream > ? AND e.stream <= ?)"
        " OR EXISTS (SELECT 1 FROM state_changes c WHERE c.room_nid = rooms.nid AND c.stream > ? AND c.stream <= ?)"
        " OR EXISTS (SELECT 1 FROM receipts r WHERE r.room_nid = rooms.nid AND r.position > ? AND r.position <= ?"
        " AND (r.kind = 'm.read' OR r.user_id = ?)))",
        room_nids,
        (since, upto, since, upto, since, upto, user_id),
    )
    return {RoomID(room_id) for (room_id,) in rows}


def has_backfill(txn: Txn, room_nid: int) -> bool:
    """Whether a room has history from before this server had part in it, known or not."""
    old = "SELECT 1 FROM events WHERE room_nid = ? AND stream <= 0 LIMIT 1"
    gap = "SELECT 1 FROM gaps WHERE room_nid = ? LIMIT 1"
    return txn.one(old, (room_nid,)) is not None or txn.one(gap, (room_nid,)) is not None


def load_state_nids(
    txn: Txn, room_nid: int, upto: int, *, members: Collection[UserID] | None = None
) -> dict[StateKey, int]:
    """The current state of a room as it was at a position, as ids of events; of some members only, or of all (None)."""
    rows = txn.all(
        "SELECT type, state_key, event_nid FROM state_changes WHERE room_nid = ? AND stream <= ? AND type <> ?"
        " ORDER BY stream",
        (room_nid, upto, MEMBER),
    )
    state: dict[StateKey, int | None] = {(kind, state_key): nid for kind, state_key, nid in rows}
    if members is None:
        state.update(_load_all_members(txn, room_nid, upto))
    elif members:
        state.update(_load_members_at(txn, room_nid, upto, members))
    return {key: nid for key, nid in state.items() if nid is not None}


def _load_all_members(txn: Txn, room_nid: int, upto: int) -> dict[StateKey, int | None]:
    rows = txn.all("SELECT user_id, event_nid, stream FROM memberships WHERE room_nid = ?", (room_nid,))
    found: dict[StateKey, int | None] = {(MEMBER, user_id): nid for user_id, nid, stream in rows if stream <= upto}
    moved = [user_id for user_id, _, stream in rows if stream > upto]
    return found | _load_members_at(txn, room_nid, upto, moved)


def _load_members_at(txn: Txn, room_nid: int, upto: int, members: Iterable[UserID]) -> dict[StateKey, int | None]:
    rows = txn.all_in(
        "SELECT state_key, event_nid, stream FROM state_changes WHERE state_key {in} AND room_nid = ? AND type = ?"
        " AND stream <= ?",
        members,
        (room_nid, MEMBER, upto),
    )
    rows.sort(key=lambda row: row[2])
    return {(MEMBER, user_id): nid for user_id, nid, _ in rows}


def load_state_at(
    txn: Txn, room: RoomRecord, upto: int, *, members: Collection[UserID] | None = None
) -> dict[StateKey, RoomEvent]:
    """The same, as events."""
    nids = load_state_nids(txn, room.nid, upto, members=members)
    held = load_events(txn, room, nids.values())
    return {key: held[nid] for key, nid in nids.items()}


def count_members(txn: Txn, room_nid: int, most: int) -> Counted:
    """How many are in a room, and the first so many of those who are, and of those who were."""
    counts: Mapping[str, int] = dict(
        txn.all("SELECT membership, COUNT(*) FROM memberships WHERE room_nid = ? GROUP BY membership", (room_nid,))
    )
    sql = "SELECT user_id FROM memberships WHERE room_nid = ? AND membership IN (?, ?) ORDER BY stream LIMIT ?"
    first = txn.all(sql, (room_nid, "join", "invite", most))
    gone = txn.all(sql, (room_nid, "leave", "ban", most)) if len(first) < 2 else []
    return Counted(
        counts.get("join", 0),
        counts.get("invite", 0),
        tuple([row[0] for row in first]),
        tuple([row[0] for row in gone]),
    )


def load_waiting(
    txn: Txn, user_id: UserID, device_id: DeviceID, window: tuple[int, int], limit: int
) -> list[tuple[int, bytes]]:
    """The oldest messages that wait for a device, with their positions, above one position and not above another."""
    rows = txn.all(
        "SELECT position, message FROM to_device WHERE user_id = ? AND device_id = ? AND position > ? AND position <= ?"
        " ORDER BY position LIMIT ?",
        (user_id, device_id, *window, limit),
    )
    return [(position, message) for position, message in rows]


def has_waiting(txn: Txn, user_id: UserID, device_id: DeviceID, upto: int) -> bool:
    """Whether messages wait for a device that are not later than that."""
    sql = "SELECT 1 FROM to_device WHERE user_id = ? AND device_id = ? AND position <= ? LIMIT 1"
    return txn.one(sql, (user_id, device_id, upto)) is not None
