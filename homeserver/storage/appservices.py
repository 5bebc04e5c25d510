"""Tables of application services: how far each was told, what it has not taken yet, and the rooms of its networks.

Spec: application-service-api#pushing-events
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from federation.ids import DeviceID, RoomID, UserID
from homeserver.storage.database import Txn

REQUEST_MEMORY_MS: Final = 24 * 60 * 60 * 1000
"""How long a request without a device is known again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRecord:
    """How far a service was told: all events up to `position` are in transactions, `number` is that of the last one.

    `body` is that transaction while the service has not taken it.
    """

    position: int
    number: int
    body: bytes | None


class Passed(NamedTuple):
    """An event of the stream, as far as it must be known to tell who is interested in it."""

    stream: int
    nid: int
    room_nid: int
    room_id: RoomID
    type: str
    state_key: str | None


class Stay(NamedTuple):
    """What somebody became in a room at a stream position."""

    user_id: UserID
    stream: int
    is_joined: bool


class Queued(NamedTuple):
    """A message that waits for a device of somebody's: its place among all, and the event."""

    position: int
    user_id: UserID
    device_id: DeviceID
    message: bytes


def find_line(txn: Txn, service_id: str) -> LineRecord | None:
    """How far a service was told; None when it never was told anything."""
    row = txn.one("SELECT position, number, body FROM service_lines WHERE service_id = ?", (service_id,))
    return None if row is None else LineRecord(position=row[0], number=row[1], body=row[2])


def set_line(txn: Txn, service_id: str, line: LineRecord) -> None:
    """Note how far a service was told, and what it is told next."""
    txn.run(
        "INSERT INTO service_lines (service_id, position, number, body) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (service_id) DO UPDATE SET position = excluded.position, number = excluded.number,"
        " body = excluded.body",
        (service_id, line.position, line.number, line.body),
    )


def load_passed(txn: Txn, after: int, upto: int, most: int) -> list[Passed]:
    """The events above a stream position and not above another, in stream order, at most so many."""
    rows = txn.all(
        "SELECT e.stream, e.nid, e.room_nid, rooms.room_id, e.type, e.state_key FROM events e"
        " JOIN rooms ON rooms.nid = e.room_nid WHERE e.stream > ? AND e.stream <= ? ORDER BY e.stream LIMIT ?",
        (after, upto, most),
    )
    return [Passed(*row) for row in rows]


def load_stays(txn: Txn, room_nid: int, upto: int) -> list[Stay]:
    """Everybody's comings and goings in a room up to a stream position, in stream order."""
    rows = txn.all(
        "SELECT c.state_key, c.stream, e.membership FROM state_changes c LEFT JOIN events e ON e.nid = c.event_nid"
        " WHERE c.room_nid = ? AND c.type = 'm.room.member' AND c.stream <= ? ORDER BY c.stream",
        (room_nid, upto),
    )
    return [Stay(UserID(user_id), stream, membership == "join") for user_id, stream, membership in rows]


def shares_room(txn: Txn, user_id: UserID, service_id: str) -> bool:
    """Whether somebody is in a room with an account of a service."""
    row = txn.one(
        "SELECT 1 FROM memberships mine JOIN memberships theirs ON theirs.room_nid = mine.room_nid"
        " JOIN users ON users.user_id = theirs.user_id WHERE mine.user_id = ? AND mine.membership = 'join'"
        " AND theirs.membership = 'join' AND users.appservice_id = ? LIMIT 1",
        (user_id, service_id),
    )
    return row is not None


def load_queued(txn: Txn, service_id: str, most: int) -> list[Queued]:
    """The oldest messages that wait for devices of a service's accounts, in the order of their sending."""
    rows = txn.all(
        "SELECT d.position, d.user_id, d.device_id, d.message FROM users u JOIN to_device d ON d.user_id = u.user_id"
        " WHERE u.appservice_id = ? ORDER BY d.position, d.user_id, d.device_id LIMIT ?",
        (service_id, most),
    )
    return [Queued(*row) for row in rows]


def remove_queued(txn: Txn, queued: Iterable[Queued]) -> None:
    """Remove messages that went into a transaction."""
    txn.many(
        "DELETE FROM to_device WHERE user_id = ? AND device_id = ? AND position = ?",
        [(each.user_id, each.device_id, each.position) for each in queued],
    )


def load_changed_near(txn: Txn, service_id: str, after: int) -> list[UserID]:
    """Those whose keys changed after a position, of all who are in a room with an account of a service."""
    rows = txn.all("SELECT user_id FROM key_changes WHERE position > ? ORDER BY position", (after,))
    return [UserID(user_id) for (user_id,) in rows if shares_room(txn, user_id, service_id)]


def load_encrypting(txn: Txn, service_id: str, most: int) -> list[tuple[UserID, DeviceID]]:
    """The devices of a service's accounts that take part in encryption."""
    rows = txn.all(
        "SELECT k.user_id, k.device_id FROM users u JOIN device_keys k ON k.user_id = u.user_id"
        " WHERE u.appservice_id = ? ORDER BY k.user_id, k.device_id LIMIT ?",
        (service_id, most),
    )
    return [(UserID(user_id), DeviceID(device_id)) for user_id, device_id in rows]


def append_request(txn: Txn, user_id: UserID, path: str, txn_id: str, at_ms: int) -> bool:
    """Note a request that somebody made without a device; False when they have made it before.

    Spec: client-server-api#transaction-identifiers
    """
    txn.run("DELETE FROM service_transactions WHERE user_id = ? AND at_ms < ?", (user_id, at_ms - REQUEST_MEMORY_MS))
    sql = (
        "INSERT INTO service_transactions (user_id, path, txn_id, at_ms) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (user_id, path, txn_id) DO NOTHING"
    )
    return txn.run(sql, (user_id, path, txn_id, at_ms)) == 1


def set_listed(txn: Txn, network: tuple[str, str], room_nid: int, *, listed: bool) -> None:
    """List a room in the directory of a service's network, or take it out; the network is (service, network)."""
    if listed:
        txn.run(
            "INSERT INTO network_rooms (service_id, network_id, room_nid) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (*network, room_nid),
        )
    else:
        txn.run(
            "DELETE FROM network_rooms WHERE service_id = ? AND network_id = ? AND room_nid = ?", (*network, room_nid)
        )


def load_listed(txn: Txn, network: tuple[str, str] | None, after: int, most: int) -> list[tuple[int, RoomID]]:
    """A page of the rooms of a network, or (None) of all, as (nid, ID) in the order of nids from behind one on."""
    service_id, network_id = network or (None, None)
    rows = txn.all(
        "SELECT DISTINCT n.room_nid, rooms.room_id FROM network_rooms n JOIN rooms ON rooms.nid = n.room_nid"
        " WHERE n.room_nid > ? AND n.service_id = COALESCE(?, n.service_id)"
        " AND n.network_id = COALESCE(?, n.network_id) ORDER BY n.room_nid LIMIT ?",
        (after, service_id, network_id, most),
    )
    return [(nid, RoomID(room_id)) for nid, room_id in rows]
