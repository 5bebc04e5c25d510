"""Devices of our people, and their keys.

Spec: server-server-api#device-management, server-server-api#end-to-end-encryption
"""

from msgspec import Struct

from federation.ids import DeviceID, parse_user_id
from homeserver.api.route import Call, Reply, Route
from homeserver.api.server.declaring import V1, signed_route
from homeserver.devices.remote.serving import KeysForServers


class QueryBody(Struct, frozen=True):
    """Whose keys are asked for."""

    device_keys: dict[str, list[DeviceID]]


class ClaimBody(Struct, frozen=True):
    """Of which devices one-time keys are claimed: by person and device, the algorithm."""

    one_time_keys: dict[str, dict[DeviceID, str]]


def routes(keys: KeysForServers) -> tuple[Route, ...]:
    """The endpoints of devices and keys."""

    async def devices(call: Call) -> Reply:
        return await keys.devices(call.origin, parse_user_id(call.params["userId"]))

    async def query(call: Call) -> Reply:
        body: QueryBody = call.body
        wanted = {parse_user_id(person): device_ids for person, device_ids in body.device_keys.items()}
        found = await keys.query(call.origin, wanted)
        return {"device_keys": found.devices, "master_keys": found.master, "self_signing_keys": found.self_signing}

    async def claim(call: Call) -> Reply:
        body: ClaimBody = call.body
        wanted = {parse_user_id(person): by_device for person, by_device in body.one_time_keys.items()}
        return {"one_time_keys": await keys.claim(call.origin, wanted)}

    return (
        signed_route("GET", V1 + "/user/devices/{userId}", devices),
        signed_route("POST", V1 + "/user/keys/query", query, QueryBody),
        signed_route("POST", V1 + "/user/keys/claim", claim, ClaimBody),
    )
