"""Tables of send-to-device messages: a queue for each device, and the transactions that filled them.

Spec: client-server-api#send-to-device-messaging
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from federation.ids import DeviceID, ServerName, UserID
from homeserver.storage.changes import UserDataChanged
from homeserver.storage.database import Insert, Txn

_APPEND = Insert("INSERT INTO to_device (user_id, device_id, position, message) VALUES (?, ?, ?, ?)")
_APPEND_OF = Insert(
    "INSERT INTO to_device (user_id, device_id, position, message, origin, origin_sum, others_sum)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_OF_ORIGIN: Final = (
    "SELECT (SELECT MIN(origin_sum) FROM to_device WHERE user_id = ? AND device_id = ? AND origin = ?),"
    " (SELECT MAX(origin_sum) FROM to_device WHERE user_id = ? AND device_id = ? AND origin = ?)"
)
_OF_OTHERS: Final = (
    "SELECT (SELECT MIN(others_sum) FROM to_device WHERE user_id = ? AND device_id = ? AND origin IS NOT NULL),"
    " (SELECT MAX(others_sum) FROM to_device WHERE user_id = ? AND device_id = ? AND origin IS NOT NULL)"
)
ROW_BYTES: Final = 1024
"""What a message takes beside its own bytes, so that small ones are bounded as well."""

DEVICE_MEMORY_MS = 24 * 60 * 60 * 1000
"""How long a device's transaction IDs are remembered."""


class Waiting(NamedTuple):
    """A message that waits for a device: its place in the queue, and the event a client gets."""

    position: int
    message: bytes


def append_messages(txn: Txn, messages: Iterable[tuple[UserID, DeviceID, bytes]]) -> None:
    """Queue messages for devices that exist, in order."""
    last: dict[UserID, int] = {}
    for user_id, device_id, message in messages:
        last[user_id] = position = txn.position()
        txn.append(_APPEND, (user_id, device_id, position, message))
    _tell(txn, last)


def _tell(txn: Txn, last: Mapping[UserID, int]) -> None:
    for user_id, position in last.items():
        txn.tell(UserDataChanged(position=position, user_id=user_id, kind="to_device"))


class Bounds(NamedTuple):
    """How many bytes of other servers' messages may wait: for a device of each server, and of all together; of one
    `server` for all devices. Where one of the last two is too much, a server's `share` may wait for a device still: so
    whoever takes messages gets them, however many wait for devices that nobody uses any more.
    """

    each: int
    all: int
    share: int
    server: int


def append_messages_of(
    txn: Txn, origin: ServerName, messages: Iterable[tuple[UserID, DeviceID, bytes]], bounds: Bounds
) -> None:
    """Queue messages that another server sent, at most one a device; those for which there is no room are dropped.

    How much waits for a device is the difference of running sums, for messages go oldest first; so the oldest is not
    counted. How much waits for all devices is known by server.
    """
    row = txn.one("SELECT bytes FROM messages_of_servers WHERE origin = ?", (origin,))
    waits = 0 if row is None else int(row[0])
    taken: list[tuple[UserID, DeviceID, bytes, int, int]] = []
    for user_id, device_id, message in messages:
        device, size = (user_id, device_id), len(message) + ROW_BYTES
        first, own = _find_sums(txn, _OF_ORIGIN, (*device, origin))
        begin, others = _find_sums(txn, _OF_OTHERS, device)
        is_much = others + size - begin > bounds.all or waits + size > bounds.server
        if own + size - first <= (bounds.share if is_much else bounds.each):
            waits += size
            taken.append((user_id, device_id, message, own + size, others + size))
    last: dict[UserID, int] = {}
    for user_id, device_id, message, *sums in taken:
        last[user_id] = position = txn.position()
        txn.append(_APPEND_OF, (user_id, device_id, position, message, origin, *sums))
    _tell(txn, last)


def _find_sums(txn: Txn, sql: str, of: tuple[str, ...]) -> tuple[int, int]:
    """The first and the last of running sums, zeros where nothing waits."""
    row = txn.one(sql, (*of, *of))
    return (0, 0) if row is None or row[0] is None else (int(row[0]), int(row[1]))


def pending(txn: Txn, user_id: UserID, device_id: DeviceID, upto: int, limit: int) -> list[Waiting]:
    """Load the oldest messages that wait for a device, none later than `upto`; they stay until :func:`remove`."""
    rows = txn.all(
        "SELECT position, message FROM to_device WHERE user_id = ? AND device_id = ? AND position <= ?"
        " ORDER BY position LIMIT ?",
        (user_id, device_id, upto, limit),
    )
    return [Waiting(*row) for row in rows]


def remove(txn: Txn, user_id: UserID, device_id: DeviceID, upto: int) -> int:
    """Remove the messages that a device has received: all up to that position. Gives how many there were."""
    return txn.run(
        "DELETE FROM to_device WHERE user_id = ? AND device_id = ? AND position <= ?", (user_id, device_id, upto)
    )


def append_transaction(
    txn: Txn, user_id: UserID, device_id: DeviceID, transaction: tuple[str, str], at_ms: int
) -> bool:
    """Note a request's `(path, transaction ID)`; False when the device has made it before, or exists no more.

    Spec: client-server-api#transaction-identifiers
    """
    path, txn_id = transaction
    txn.run(
        "DELETE FROM device_transactions WHERE user_id = ? AND device_id = ? AND at_ms < ?",
        (user_id, device_id, at_ms - DEVICE_MEMORY_MS),
    )
    sql = (
        "INSERT INTO device_transactions (user_id, device_id, path, txn_id, at_ms)"
        " SELECT user_id, device_id, ?, ?, ? FROM devices WHERE user_id = ? AND device_id = ?"
        " ON CONFLICT (user_id, device_id, path, txn_id) DO NOTHING"
    )
    return txn.run(sql, (path, txn_id, at_ms, user_id, device_id)) == 1
