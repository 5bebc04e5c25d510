"""One's own devices: see, rename, end them.

Spec: client-server-api#device-management
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from federation.ids import DeviceID
from homeserver.accounts.interactive import Auth, Interactive
from homeserver.accounts.login import parse_device_wish
from homeserver.api.client.interactive import build_operation, prove
from homeserver.api.route import Answer, Call, Reply, Route
from homeserver.devices.devices import Devices
from homeserver.storage.devices import Device


class DeviceBody(Struct, frozen=True):
    """What to change of a device."""

    display_name: str | None = None


class RemoveBody(Struct, frozen=True):
    """The proof that a device may be ended."""

    auth: Auth | None = None


class RemoveManyBody(Struct, frozen=True):
    """Which devices to end, and the proof that they may be."""

    devices: Annotated[list[DeviceID], Meta(max_length=1000)]
    auth: Auth | None = None


def routes(devices: Devices, interactive: Interactive) -> tuple[Route, ...]:
    """The endpoints of devices."""
    api = _DevicesAPI(devices, interactive)
    one = "/_matrix/client/v3/devices/{deviceId}"
    return (
        Route(
            method="GET",
            path="/_matrix/client/v3/devices",
            handle=api.load,
            spec="client-server-api#get_matrixclientv3devices",
        ),
        Route(
            method="GET",
            path=one,
            handle=api.see,
            spec="client-server-api#get_matrixclientv3devicesdeviceid",
        ),
        Route(
            method="PUT",
            path=one,
            handle=api.rename,
            rate="other",
            spec="client-server-api#put_matrixclientv3devicesdeviceid",
            body=DeviceBody,
        ),
        Route(
            method="DELETE",
            path=one,
            handle=api.remove,
            rate="login",
            spec="client-server-api#delete_matrixclientv3devicesdeviceid",
            body=RemoveBody,
            body_optional=True,
        ),
        Route(
            method="POST",
            path="/_matrix/client/v3/delete_devices",
            handle=api.remove_many,
            rate="login",
            spec="client-server-api#post_matrixclientv3delete_devices",
            body=RemoveManyBody,
        ),
    )


class _DevicesAPI:
    def __init__(self, devices: Devices, interactive: Interactive) -> None:
        self._devices = devices
        self._interactive = interactive

    async def load(self, call: Call) -> Reply:
        return {"devices": [_describe(device) for device in await self._devices.load(call.caller.user_id)]}

    async def see(self, call: Call) -> Reply:
        return _describe(await self._devices.see(call.caller.user_id, DeviceID(call.params["deviceId"])))

    async def rename(self, call: Call) -> Reply:
        caller, device_id, name = call.caller, DeviceID(call.params["deviceId"]), call.body.display_name
        if caller.service_id is not None:
            parse_device_wish(device_id, name, refreshable=False)
            if await self._devices.make(caller.user_id, device_id, name):
                return Answer(201)
        await self._devices.rename(caller.user_id, device_id, name)
        return {}

    async def remove(self, call: Call) -> Reply:
        device_id = DeviceID(call.params["deviceId"])
        await self._prove(call, f"DELETE /devices/{device_id}")
        await self._devices.remove(call.caller.user_id, [device_id])
        return {}

    async def remove_many(self, call: Call) -> Reply:
        body: RemoveManyBody = call.body
        await self._prove(call, "POST /delete_devices")
        await self._devices.remove(call.caller.user_id, body.devices)
        return {}

    async def _prove(self, call: Call, name: str) -> None:
        """Spec: application-service-api#device-management"""
        if call.caller.service_id is None:
            await prove(call, self._interactive, build_operation(call, name))


def _describe(device: Device) -> dict[str, Any]:
    """A device with every key there is, null where nothing is known: some clients (matrix-nio) insist on all."""
    return {
        "device_id": device.device_id,
        "display_name": device.display_name,
        "last_seen_ts": device.last_seen_ms,
        "last_seen_ip": device.last_seen_ip,
    }
