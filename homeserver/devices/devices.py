"""The list of a person's devices.

Spec: client-server-api#device-management
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from federation.errors import Refused
from federation.ids import DeviceID, UserID
from homeserver.policy import NotFound
from homeserver.storage import devices
from homeserver.storage.database import Database, Txn
from homeserver.storage.devices import Device
from homeserver.storage.keys import is_cross_signing_key

LONGEST_NAME: Final = 255

Renew: TypeAlias = Callable[[UserID, Sequence[Device]], list[Device]]


class Devices:
    """A person's devices, for that person only; `renew` adds when they were seen of late."""

    def __init__(self, database: Database, now_ms: Callable[[], int], renew: Renew) -> None:
        self._database = database
        self._now_ms = now_ms
        self._renew = renew

    async def load(self, user_id: UserID) -> list[Device]:
        """All of them, the oldest first.

        Spec: client-server-api#get_matrixclientv3devices
        """
        return self._renew(user_id, await self._database.read(devices.load_devices, user_id))

    async def see(self, user_id: UserID, device_id: DeviceID) -> Device:
        """One of them.

        Raises:
            NotFound: The person has no such device.

        Spec: client-server-api#get_matrixclientv3devicesdeviceid
        """
        device = await self._database.read(devices.find_device, user_id, device_id)
        if device is None:
            raise NotFound("There is no such device")
        (renewed,) = self._renew(user_id, [device])
        return renewed

    async def make(self, user_id: UserID, device_id: DeviceID, name: str | None) -> bool:
        """Make a device that nobody has signed in at, for an application service; False when it is there already.

        Raises:
            Refused: The device ID is that of a cross-signing key.

        Spec: application-service-api#creating-devices
        """
        return await self._database.write(_make, user_id, device_id, name and name[:LONGEST_NAME], self._now_ms())

    async def rename(self, user_id: UserID, device_id: DeviceID, name: str | None) -> None:
        """Give a device another name, cut where it is too long; with None it keeps its own.

        Raises:
            NotFound: The person has no such device.

        Spec: client-server-api#put_matrixclientv3devicesdeviceid
        """
        if name is None:
            await self.see(user_id, device_id)
        else:
            await self._database.write(_rename, user_id, device_id, name[:LONGEST_NAME])

    async def remove(self, user_id: UserID, device_ids: Sequence[DeviceID]) -> None:
        """End devices with their sessions, waiting messages and keys; those that are not there are gone already.

        Spec: client-server-api#post_matrixclientv3delete_devices
        """
        await self._database.write(devices.remove_devices, user_id, device_ids)


def _make(txn: Txn, user_id: UserID, device_id: DeviceID, name: str | None, now_ms: int) -> bool:
    """The unit of a new device."""
    if devices.has_device(txn, user_id, device_id):
        return False
    if is_cross_signing_key(txn, user_id, device_id):
        raise Refused("device", "This device ID is in use for a key")
    return devices.append_device(txn, user_id, device_id, name, now_ms)


def _rename(txn: Txn, user_id: UserID, device_id: DeviceID, name: str) -> None:
    """The unit of a renaming: what raises is not committed."""
    if not devices.set_display_name(txn, user_id, device_id, name):
        raise NotFound("There is no such device")
