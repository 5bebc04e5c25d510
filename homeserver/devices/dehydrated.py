"""Dehydrated devices: a device with nobody at it, which takes message keys in until a new device wakes it.

It is a device like others (others see its keys, claim them and send to it) but for having no session; it goes when it
is replaced or removed, or with all devices. Reading its messages removes none: whoever wakes it may have to begin anew.

Spec: MSC3814
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from federation.errors import Refused
from federation.ids import DeviceID, UserID, fits
from homeserver.devices.devices import LONGEST_NAME
from homeserver.devices.keys import KeyUpload, publish
from homeserver.policy import Invalid, NotFound
from homeserver.storage import dehydrated as stored
from homeserver.storage import devices, keys
from homeserver.storage.database import Database, Txn
from homeserver.storage.dehydrated import Dehydrated
from homeserver.storage.sync import load_waiting

MOST_MESSAGES: Final = 100
"""How many messages one answer holds."""

_FAR: Final = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDehydrated:
    """A dehydrated device as it is uploaded, with its keys; `data` is JSON."""

    device_id: DeviceID
    data: bytes
    display_name: str | None
    upload: KeyUpload


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Messages in order (JSON), the position of the last one, and whether there are more."""

    messages: Sequence[bytes]
    upto: int
    more: bool


class DehydratedDevices:
    """The dehydrated devices of this server's people, each for that person only."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def replace(self, user_id: UserID, new: NewDehydrated) -> None:
        """Put a dehydrated device in the place of the one there may be; the same one again keeps its messages.

        Raises:
            Invalid: The name is a signed-in device's or a cross-signing key's, or is too long; or a key is refused.
        """
        if not new.device_id or not fits(new.device_id):
            raise Invalid("M_INVALID_PARAM", "Not the ID of a device")
        await self._database.write(_replace, user_id, new, self._now_ms())

    async def see(self, user_id: UserID) -> Dehydrated:
        """The person's dehydrated device.

        Raises:
            NotFound: There is none.
        """
        return _existing(await self._database.read(stored.find_dehydrated, user_id))

    async def remove(self, user_id: UserID) -> DeviceID:
        """Remove it; gives which one it was.

        Raises:
            NotFound: There is none.
        """
        return await self._database.write(_remove, user_id)

    async def read(self, user_id: UserID, device_id: DeviceID, since: int, limit: int) -> Batch:
        """Read messages to it behind a position; they stay.

        Raises:
            Refused: The person's dehydrated device is not that one.
        """
        return await self._database.read(_read, user_id, device_id, since, min(limit, MOST_MESSAGES))


def _replace(txn: Txn, user_id: UserID, new: NewDehydrated, now_ms: int) -> None:
    """The unit of an upload."""
    before = stored.find_dehydrated(txn, user_id)
    if before is not None and before.device_id != new.device_id:
        devices.remove_devices(txn, user_id, [before.device_id])
        before = None
    name = None if new.display_name is None else new.display_name[:LONGEST_NAME]
    is_new = devices.append_device(txn, user_id, new.device_id, name, now_ms)
    if (before is None and not is_new) or keys.is_cross_signing_key(txn, user_id, new.device_id):
        raise Invalid("M_INVALID_PARAM", "There is another device or key of that name")
    stored.set_dehydrated(txn, user_id, Dehydrated(new.device_id, new.data))
    publish(txn, user_id, new.device_id, new.upload)


def _remove(txn: Txn, user_id: UserID) -> DeviceID:
    device = _existing(stored.find_dehydrated(txn, user_id))
    devices.remove_devices(txn, user_id, [device.device_id])
    return device.device_id


def _read(txn: Txn, user_id: UserID, device_id: DeviceID, since: int, limit: int) -> Batch:
    device = stored.find_dehydrated(txn, user_id)
    if device is None or device.device_id != device_id:
        raise Refused("MSC3814", "This is not your dehydrated device")
    found = load_waiting(txn, user_id, device_id, (since, _FAR), limit + 1)
    taken = found[:limit]
    upto = taken[-1][0] if taken else since
    return Batch(messages=[message for _, message in taken], upto=upto, more=len(found) > limit)


def _existing(device: Dehydrated | None) -> Dehydrated:
    if device is None:
        raise NotFound("There is no dehydrated device")
    return device
