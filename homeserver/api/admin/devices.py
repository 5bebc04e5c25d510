"""The devices of people: seen, made, renamed and ended."""

from typing import Any

from msgspec import Struct

from federation.ids import DeviceID, UserID
from homeserver.accounts.possessions import Possessions
from homeserver.api.admin.pages import admin_route, person_of
from homeserver.api.route import Call, Reply, Route
from homeserver.storage.devices import Device


class DeviceBody(Struct, frozen=True):
    """A device to be made."""

    device_id: str


class DevicesBody(Struct, frozen=True):
    """Devices to be ended."""

    devices: list[str]


class DeviceName(Struct, frozen=True):
    """What a device is to be called; None: as before."""

    display_name: str | None = None


def routes(possessions: Possessions) -> tuple[Route, ...]:
    """The endpoints of devices."""
    api, devices = _DevicesAPI(possessions), "v2/users/{userId}/devices"
    return (
        admin_route("GET", devices, api.devices),
        admin_route("POST", devices, api.add_device, DeviceBody),
        admin_route("GET", f"{devices}/{{deviceId}}", api.device),
        admin_route("PUT", f"{devices}/{{deviceId}}", api.rename_device, DeviceName),
        admin_route("DELETE", f"{devices}/{{deviceId}}", api.remove_device),
        admin_route("POST", "v2/users/{userId}/delete_devices", api.remove_devices, DevicesBody),
    )


class _DevicesAPI:
    def __init__(self, possessions: Possessions) -> None:
        self._possessions = possessions

    async def devices(self, call: Call) -> Reply:
        user_id = person_of(call)
        found = await self._possessions.devices(call.caller.user_id, user_id)
        shown = [_device(user_id, device) | {"dehydrated": False} for device in found]
        return {"devices": shown, "total": len(shown)}

    async def device(self, call: Call) -> Reply:
        user_id = person_of(call)
        return _device(user_id, await self._possessions.device(call.caller.user_id, user_id, _device_of(call)))

    async def add_device(self, call: Call) -> Reply:
        await self._possessions.add_device(call.caller.user_id, person_of(call), call.body.device_id)
        return {}

    async def rename_device(self, call: Call) -> Reply:
        name: str | None = call.body.display_name
        await self._possessions.rename_device(call.caller.user_id, person_of(call), _device_of(call), name)
        return {}

    async def remove_device(self, call: Call) -> Reply:
        await self._possessions.remove_devices(call.caller.user_id, person_of(call), [_device_of(call)])
        return {}

    async def remove_devices(self, call: Call) -> Reply:
        devices = [DeviceID(device_id) for device_id in call.body.devices]
        await self._possessions.remove_devices(call.caller.user_id, person_of(call), devices)
        return {}


def _device_of(call: Call) -> DeviceID:
    return DeviceID(call.params["deviceId"])


def _device(user_id: UserID, device: Device) -> dict[str, Any]:
    shown = {
        "device_id": device.device_id,
        "display_name": device.display_name,
        "last_seen_ip": device.last_seen_ip,
        "last_seen_user_agent": None,
        "last_seen_ts": device.last_seen_ms,
        "user_id": user_id,
    }
    return {name: value for name, value in shown.items() if name != "display_name" or value is not None}
