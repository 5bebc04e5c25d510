"""Devices of our people, and their keys.

Spec: server-server-api#device-management, server-server-api#end-to-end-encryption
"""

from msgspec import Struct

from federation.ids import DeviceID, parse_user_id
from homeserver.api.route import Call, Reply, Route
from homeserver.devices.remote.serving import KeysForServers

V1 = "/_matrix/federation/v1"


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
        Route(
            method="GET",
            path=V1 + "/user/devices/{userId}",
            handle=devices,
            auth="region",
            rate="region",
            spec="server-server-api#get_matrixfederationv1userdevicesuserid",
        ),
        Route(
            method="POST",
            path=V1 + "/user/keys/query",
            handle=query,
            auth="region",
            rate="region",
            spec="server-server-api#post_matrixfederationv1userkeysquery",
            body=QueryBody,
        ),
        Route(
            method="POST",
            path=V1 + "/user/keys/claim",
            handle=claim,
            auth="region",
            rate="region",
            spec="server-server-api#post_matrixfederationv1userkeysclaim",
            body=ClaimBody,
        ),
    )
