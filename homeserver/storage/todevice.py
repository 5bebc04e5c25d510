"""Tables of send-to-device messages: a queue for each device, and the transactions that filled them.

Spec: client-server-api#send-to-device-messaging
"""

from collections.abc import Iterable
from typing import NamedTuple

from federation.ids import DeviceID, UserID
from homeserver.storage.changes import UserDataChanged
from homeserver.storage.database import Insert, Txn

_APPEND = Insert("INSERT INTO to_device (user_id, device_id, position, message) VALUES (?, ?, ?, ?)")

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
    for user_id, position in last.items():
        txn.tell(UserDataChanged(position=position, user_id=user_id, kind="to_device"))


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
