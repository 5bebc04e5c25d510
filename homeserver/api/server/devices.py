"""Devices of our people, and their keys.

Spec: server-server-api#device-management, server-server-api#end-to-end-encryption
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, TypeVar

from msgspec import Struct

from federation.ids import DeviceID, UserID, parse_user_id
from homeserver.api.route import Call, Reply, Route
from homeserver.api.server.declaring import V1, signed_route
from homeserver.devices.keys import KeyAnswer
from homeserver.devices.remote.asking import Claimed
from homeserver.devices.remote.serving import KeysForServers

T = TypeVar("T")

AT_ONCE: Final = 500
"""Of how many people keys are looked up before others have a turn."""


class QueryBody(Struct, frozen=True):
    """Whose keys are asked for."""

    device_keys: dict[str, list[DeviceID]]


class ClaimBody(Struct, frozen=True):
    """Of which devices one-time keys are claimed: by person and device, the algorithm."""

    one_time_keys: dict[str, dict[DeviceID, str]]


def _parts(wanted: Mapping[str, T]) -> Iterator[dict[UserID, T]]:
    """What is wanted of some people at a time.

    Raises: BadIdentifier.
    """
    left = iter(wanted.items())
    while some := {parse_user_id(person): what for person, what in islice(left, AT_ONCE)}:
        yield some


def routes(keys: KeysForServers) -> tuple[Route, ...]:
    """The endpoints of devices and keys."""

    async def devices(call: Call) -> Reply:
        return await keys.devices(call.origin, parse_user_id(call.params["userId"]))

    async def query(call: Call) -> Reply:
        body: QueryBody = call.body
        found = KeyAnswer()
        for some in _parts(body.device_keys):
            found.add(await keys.query(call.origin, some))
        return {"device_keys": found.devices, "master_keys": found.master, "self_signing_keys": found.self_signing}

    async def claim(call: Call) -> Reply:
        body: ClaimBody = call.body
        claimed: Claimed = {}
        for some in _parts(body.one_time_keys):
            claimed |= await keys.claim(call.origin, some)
        return {"one_time_keys": claimed}

    return (
        signed_route("GET", V1 + "/user/devices/{userId}", devices),
        signed_route("POST", V1 + "/user/keys/query", query, QueryBody),
        signed_route("POST", V1 + "/user/keys/claim", claim, ClaimBody),
    )
