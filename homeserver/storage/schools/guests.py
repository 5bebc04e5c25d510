"""Rooms of cooperations: which are open to people of an organisation, who is a guest there, who was sent away."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec import Struct

from federation.ids import RoomID, ServerName, UserID
from homeserver.storage.database import Txn

_ROOMS: Final = (
    " FROM cooperation_rooms n JOIN cooperations c ON c.cooperation_id = n.cooperation_id AND c.org_id = n.org_id"
)
_OPEN: Final = (
    f"{_ROOMS} WHERE n.org_id = ? AND n.closed_ms IS NULL"
    " AND c.agreed_ms IS NOT NULL AND c.peer_agreed = 1 AND c.ended_ms IS NULL AND c.peer_ended = 0 AND c.until_ms > ?"
)
_JOINED: Final = (
    f"{_ROOMS}"
    " JOIN rooms r ON r.room_id = n.room_id JOIN memberships m ON m.room_nid = r.nid AND m.membership = 'join'"
    " WHERE c.hosted = 1 AND n.closed_ms IS NULL"
)
_IS_GUEST: Final = (
    " AND NOT EXISTS (SELECT 1 FROM roles o WHERE o.user_id = m.user_id AND o.org_id = n.org_id AND o.ended_ms IS NULL)"
)

_GUESTS: Final = (
    f"SELECT DISTINCT m.user_id, n.room_id,"  # noqa: S608 - our own words
    " (SELECT MIN(h.role) FROM claims_held h WHERE h.user_id = m.user_id AND h.org_id = n.org_id)"
    f"{_JOINED} AND n.org_id = ? AND m.user_id IN (SELECT DISTINCT m.user_id{_JOINED}{_IS_GUEST}"
    " AND n.org_id = ? AND m.user_id > ? AND m.user_id <> ? ORDER BY m.user_id LIMIT ?) ORDER BY m.user_id, n.room_id"
)
_OVER: Final = "(ended_ms IS NOT NULL OR peer_ended = 1 OR until_ms <= ?)"
_AGREED: Final = "(agreed_ms IS NOT NULL AND peer_agreed = 1)"
_TALLY: Final = (
    f"SELECT SUM(CASE WHEN NOT {_OVER} AND NOT {_AGREED} THEN 1 ELSE 0 END),"  # noqa: S608 - our own words
    f" SUM(CASE WHEN NOT {_OVER} AND {_AGREED} THEN 1 ELSE 0 END), SUM(CASE WHEN {_OVER} THEN 1 ELSE 0 END),"
    " SUM(CASE WHEN told_version < version THEN 1 ELSE 0 END) FROM cooperations"
)
_COUNT_GUESTS: Final = f"SELECT COUNT(DISTINCT m.user_id){_JOINED} AND m.user_id IN (SELECT user_id FROM claims_held)"  # noqa: S608 - ours


class OpenRoom(Struct, frozen=True, kw_only=True):
    """A room of a cooperation that is in force, as an organisation of ours knows it."""

    room_id: RoomID
    name: str
    kind: str
    title: str
    until_ms: int


class Guest(NamedTuple):
    """Somebody of another organisation in a room that one of ours hosts; `role` is what another region vouches for."""

    user_id: UserID
    room_id: RoomID
    role: str | None


class Tally(NamedTuple):
    """How many cooperations there are, by how far they have come; those of which the other side is still to be told
    something; and how many people of other regions are in rooms that are hosted here.
    """

    waiting: int
    in_force: int
    ended: int
    untold: int
    guests: int


def load_open_rooms(txn: Txn, org_id: str, now_ms: int, after: str, limit: int) -> list[OpenRoom]:
    """Load the rooms that cooperations of an organisation have open now, in the order of their ids; one that is of
    several comes several times. `limit` is of the rooms.
    """
    ids = f"SELECT DISTINCT n.room_id{_OPEN} AND n.room_id > ? ORDER BY n.room_id LIMIT ?"
    sql = (
        "SELECT n.room_id, n.name, c.kind, c.title, c.until_ms"
        f"{_OPEN} AND n.room_id IN ({ids}) ORDER BY n.room_id, c.until_ms DESC"
    )
    rows = txn.all(sql, (org_id, now_ms, org_id, now_ms, after, limit))
    return [OpenRoom(**dict(zip(OpenRoom.__struct_fields__, row, strict=True))) for row in rows]


def load_guests(txn: Txn, org_id: str, service: UserID, after: str, limit: int) -> list[Guest]:
    """Load who is in rooms that an organisation hosts and is not of it, a page of people in the order of their ids."""
    return [Guest(*row) for row in txn.all(_GUESTS, (org_id, org_id, after, service, limit))]


def set_dismissed(txn: Txn, org_id: str, user_id: UserID, by: UserID, now_ms: int) -> None:
    """Note that an organisation has sent somebody away."""
    sql = (
        "INSERT INTO dismissed_guests (org_id, user_id, dismissed_by, dismissed_ms) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (org_id, user_id) DO NOTHING"
    )
    txn.run(sql, (org_id, user_id, by, now_ms))


def remove_dismissed(txn: Txn, org_id: str, user_id: UserID) -> None:
    """Note that an organisation lets somebody in again."""
    txn.run("DELETE FROM dismissed_guests WHERE org_id = ? AND user_id = ?", (org_id, user_id))


def load_dismissed(txn: Txn, org_id: str) -> frozenset[UserID]:
    """Load whom an organisation has sent away."""
    return frozenset(row[0] for row in txn.all("SELECT user_id FROM dismissed_guests WHERE org_id = ?", (org_id,)))


def load_hosted_rooms(txn: Txn, org_id: str) -> frozenset[RoomID]:
    """Load the rooms that an organisation hosts and that are open."""
    sql = f"SELECT n.room_id{_ROOMS} WHERE n.org_id = ? AND c.hosted = 1 AND n.closed_ms IS NULL"
    return frozenset(row[0] for row in txn.all(sql, (org_id,)))


def load_hosts(txn: Txn) -> list[ServerName]:
    """Load the regions that host rooms for organisations of ours."""
    sql = "SELECT DISTINCT peer_server FROM cooperations WHERE hosted = 0 ORDER BY peer_server"
    return [row[0] for row in txn.all(sql)]


def load_rooms_of_hosts(txn: Txn, hosts: Iterable[ServerName]) -> list[RoomID]:
    """Load the rooms that some regions host for organisations of ours."""
    sql = f"SELECT DISTINCT n.room_id{_ROOMS} WHERE c.hosted = 0 AND n.closed_ms IS NULL AND c.peer_server {{in}}"
    return [row[0] for row in txn.all_in(sql, hosts)]


def count_cooperations(txn: Txn, now_ms: int) -> Tally:
    """Count what there is."""
    row = txn.one(_TALLY, (now_ms, now_ms, now_ms)) or (0,) * 4
    return Tally(*(int(number or 0) for number in (*row, *(txn.one(_COUNT_GUESTS) or (0,)))))
