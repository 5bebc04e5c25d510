"""Third-party networks: this server is bridged to none, and says so.

Spec: client-server-api#third-party-networks
"""

from typing import Any

from homeserver.api.route import Call, Reply, Route
from homeserver.policy import NotFound

_THIRD: str = "/_matrix/client/v3/thirdparty"


def routes() -> tuple[Route, ...]:
    """The endpoints of third-party networks."""
    return (
        _route("protocols", _no_protocols),
        _route("protocol/{protocol}", _no_protocol),
        _route("location", _nothing),
        _route("location/{protocol}", _no_protocol),
        _route("user", _nothing),
        _route("user/{protocol}", _no_protocol),
    )


def _route(place: str, handle: Any) -> Route:
    anchor = "get_matrixclientv3thirdparty" + place.replace("/{protocol}", "protocol")
    return Route(
        method="GET", path=f"{_THIRD}/{place}", handle=handle, rate="other", spec=f"client-server-api#{anchor}"
    )


async def _no_protocols(call: Call) -> Reply:
    return {}


async def _no_protocol(call: Call) -> Reply:
    raise NotFound("This server is bridged to no such network")


async def _nothing(call: Call) -> Reply:
    """Nothing at another network belongs to that alias or user; without one there is nothing to ask."""
    call.query.need("alias" if call.request.path.endswith(b"location") else "userid")
    return b"[]"
