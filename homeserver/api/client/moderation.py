"""What operators do with the accounts of others.

Spec: client-server-api#server-administration
"""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from federation.ids import UserID, parse_user_id
from homeserver.accounts.moderation import Moderation
from homeserver.api.route import Call, Reply, Route
from homeserver.storage.devices import Device

_CLIENT = "/_matrix/client"


class Lock(Struct, frozen=True):
    """The body that locks an account or unlocks it."""

    locked: bool


class Suspension(Struct, frozen=True):
    """The body that suspends an account or lets it act again."""

    suspended: bool


def routes(moderation: Moderation) -> tuple[Route, ...]:
    """The endpoints for operators that the specification knows."""
    return tuple(_routes(_ModerationAPI(moderation)))


def _routes(api: "_ModerationAPI") -> Iterator[Route]:
    for name, see, set_, body in (
        ("lock", api.see_lock, api.lock, Lock),
        ("suspend", api.see_suspension, api.suspend, Suspension),
    ):
        path, anchor = f"{_CLIENT}/v1/admin/{name}/{{userId}}", f"matrixclientv1admin{name}userid"
        yield _route("GET", path, see, anchor, auth="admin")
        yield _route("PUT", path, set_, anchor, auth="admin", body=body)
    yield _route("GET", f"{_CLIENT}/v3/admin/whois/{{userId}}", api.whois, "matrixclientv3adminwhoisuserid")


def _route(method: str, path: str, handle: Any, anchor: str, **more: Any) -> Route:
    spec = f"client-server-api#{method.lower()}_{anchor}"
    return Route(method=method, path=path, handle=handle, rate="other", spec=spec, **more)


class _ModerationAPI:
    def __init__(self, moderation: Moderation) -> None:
        self._moderation = moderation

    async def see_lock(self, call: Call) -> Reply:
        account = await self._moderation.standing(call.caller.user_id, parse_user_id(call.params["userId"]))
        return {"locked": account.locked}

    async def see_suspension(self, call: Call) -> Reply:
        account = await self._moderation.standing(call.caller.user_id, parse_user_id(call.params["userId"]))
        return {"suspended": account.suspended}

    async def lock(self, call: Call) -> Reply:
        locked: bool = call.body.locked
        await self._moderation.lock(call.caller.user_id, parse_user_id(call.params["userId"]), locked=locked)
        return {"locked": locked}

    async def suspend(self, call: Call) -> Reply:
        suspended: bool = call.body.suspended
        await self._moderation.suspend(call.caller.user_id, parse_user_id(call.params["userId"]), suspended=suspended)
        return {"suspended": suspended}

    async def whois(self, call: Call) -> Reply:
        caller, user_id = call.caller, parse_user_id(call.params["userId"])
        devices = await self._moderation.whois(caller.user_id, user_id, is_admin=caller.admin)
        return show_sessions(user_id, devices)


def show_sessions(user_id: UserID, devices: Iterable[Device]) -> dict[str, Any]:
    """Where somebody is signed in.

    Spec: client-server-api#get_matrixclientv3adminwhoisuserid
    """
    return {"user_id": user_id, "devices": {device.device_id: _show(device) for device in devices}}


def _show(device: Device) -> dict[str, Any]:
    if device.last_seen_ms is None:
        return {"sessions": []}
    seen = {"ip": device.last_seen_ip or "", "last_seen": device.last_seen_ms}
    return {"sessions": [{"connections": [seen]}]}
