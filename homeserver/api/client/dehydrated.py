"""Leave a dehydrated device here, and wake it.

Spec: MSC3814
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from federation.ids import DeviceID
from homeserver.api.errors import BadParam
from homeserver.api.route import Call, Reply, Route
from homeserver.devices.backup import parse_object
from homeserver.devices.dehydrated import MOST_MESSAGES, Batch, DehydratedDevices, NewDehydrated
from homeserver.devices.keys import KeyUpload, parse_identity_keys, parse_one_time_keys
from homeserver.policy import Invalid

_PATH: Final = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
_POSITION: Final = re.compile(r"[0-9]{1,18}")


class DehydratedBody(Struct, frozen=True):
    """A dehydrated device with its keys."""

    device_id: DeviceID
    device_data: Raw
    device_keys: dict[str, Any]
    one_time_keys: dict[str, Any] | None = None
    fallback_keys: dict[str, Any] | None = None
    initial_device_display_name: str | None = None


class EventsBody(Struct, frozen=True):
    """Up to where the client has the messages."""

    next_batch: str | None = None


class _Algorithm(Struct):
    """What all data of dehydrated devices have."""

    algorithm: str


_algorithm: Final = msgspec.json.Decoder(_Algorithm)


def routes(devices: DehydratedDevices) -> tuple[Route, ...]:
    """The endpoints of dehydrated devices; messages are asked for by POST in the proposal's earlier form."""
    api = _DehydratedAPI(devices)
    events = "/{device_id}/events"
    return (
        _route("PUT", "", api.replace, body=DehydratedBody),
        _route("GET", "", api.see),
        _route("DELETE", "", api.remove),
        _route("GET", events, api.read),
        _route("POST", events, api.read_as_before, body=EventsBody, body_optional=True),
    )


def _route(method: str, path: str, handle: Callable[[Call], Coroutine[Any, Any, Reply]], **more: Any) -> Route:
    return Route(method=method, path=_PATH + path, handle=handle, rate="keys", spec="MSC3814", **more)


class _DehydratedAPI:
    def __init__(self, devices: DehydratedDevices) -> None:
        self._devices = devices

    async def replace(self, call: Call) -> Reply:
        body: DehydratedBody = call.body
        who = call.caller.user_id
        upload = KeyUpload(
            identity=parse_identity_keys(body.device_keys, who, body.device_id),
            one_time=parse_one_time_keys(body.one_time_keys or {}),
            fallback=parse_one_time_keys(body.fallback_keys or {}),
        )
        new = NewDehydrated(
            device_id=body.device_id,
            data=_parse_data(body.device_data),
            display_name=body.initial_device_display_name,
            upload=upload,
        )
        await self._devices.replace(who, new)
        return {"device_id": body.device_id}

    async def see(self, call: Call) -> Reply:
        device = await self._devices.see(call.caller.user_id)
        return {"device_id": device.device_id, "device_data": Raw(device.data)}

    async def remove(self, call: Call) -> Reply:
        return {"device_id": await self._devices.remove(call.caller.user_id)}

    async def read(self, call: Call) -> Reply:
        limit = call.query.int("limit", MOST_MESSAGES, least=1)
        batch = await self._read(call, call.query.str("from"), limit)
        return {**_events(batch), "next_batch": str(batch.upto)} if batch.more else _events(batch)

    async def read_as_before(self, call: Call) -> Reply:
        """In this form clients go on until no messages come."""
        body: EventsBody = call.body
        batch = await self._read(call, body.next_batch, MOST_MESSAGES)
        return {**_events(batch), "next_batch": str(batch.upto)}

    async def _read(self, call: Call, since: str | None, limit: int) -> Batch:
        if since is not None and not _POSITION.fullmatch(since):
            raise BadParam("from is not a token of this server")
        device_id = DeviceID(call.params["device_id"])
        return await self._devices.read(call.caller.user_id, device_id, int(since or 0), limit)


def _events(batch: Batch) -> dict[str, Any]:
    return {"events": [Raw(message) for message in batch.messages]}


def _parse_data(raw: Raw) -> bytes:
    data = parse_object(raw)
    try:
        _algorithm.decode(data)
    except msgspec.ValidationError:
        raise Invalid("M_BAD_JSON", "The data of a dehydrated device name their algorithm") from None
    return data
