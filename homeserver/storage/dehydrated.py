"""The table of dehydrated devices: of each person at most one, which is in the table of devices too.

Spec: MSC3814
"""

from typing import NamedTuple

from federation.ids import DeviceID, UserID
from homeserver.storage.database import Txn


class Dehydrated(NamedTuple):
    """A dehydrated device, and what a client wakes it with, JSON."""

    device_id: DeviceID
    data: bytes


def find_dehydrated(txn: Txn, user_id: UserID) -> Dehydrated | None:
    """Find the dehydrated device of a person."""
    row = txn.one("SELECT device_id, data FROM dehydrated_devices WHERE user_id = ?", (user_id,))
    return None if row is None else Dehydrated(*row)


def set_dehydrated(txn: Txn, user_id: UserID, device: Dehydrated) -> None:
    """Make that device, which exists, the person's dehydrated one."""
    txn.run(
        "INSERT INTO dehydrated_devices (user_id, device_id, data) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET device_id = excluded.device_id, data = excluded.data",
        (user_id, *device),
    )
