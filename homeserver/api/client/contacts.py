"""Third-party identifiers (addresses, phone numbers): this server keeps none, and says so.

Spec: client-server-api#adding-account-administrative-contact-information
"""

from typing import Any

from msgspec import Struct

from homeserver.accounts.interactive import Auth, Interactive
from homeserver.api.client.interactive import build_operation, prove
from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route

_V3 = "/_matrix/client/v3"
_REQUESTS = ("register", "account/password")
_ADDITIONS = ("", "/bind")
_REMOVALS = ("/delete", "/unbind")


class Verified(Struct, frozen=True):
    """The body that adds one which this server has verified."""

    sid: str
    client_secret: str
    auth: Auth | None = None


def routes(interactive: Interactive) -> tuple[Route, ...]:
    """The endpoints of third-party identifiers."""
    listing = Route(
        method="GET",
        path=f"{_V3}/account/3pid",
        handle=_list,
        spec="client-server-api#get_matrixclientv3account3pid",
    )
    requests = (
        _route(f"{place}/{medium}/requestToken", _refuse_medium, auth="none")
        for place in _REQUESTS
        for medium in ("email", "msisdn")
    )
    own = (_route(f"account/3pid/{medium}/requestToken", _refuse_own, auth="none") for medium in ("email", "msisdn"))
    additions = (_route(f"account/3pid{suffix}", _refuse_credentials) for suffix in _ADDITIONS)

    async def add(call: Call) -> Reply:
        await prove(call, interactive, build_operation(call, "POST /account/3pid/add"))
        return await _refuse_credentials(call)

    proved = _route("account/3pid/add", add, body=Verified)
    removals = (_route(f"account/3pid{suffix}", _remove) for suffix in _REMOVALS)
    return (listing, *requests, *own, *additions, proved, *removals)


def _route(place: str, handle: Any, **more: Any) -> Route:
    anchor = f"post{_V3}/{place}".replace("/", "").lower()
    return Route(
        method="POST",
        path=f"{_V3}/{place}",
        handle=handle,
        rate="login",
        spec=f"client-server-api#{anchor}",
        **{"body": dict[str, Any], **more},
    )


async def _list(call: Call) -> Reply:
    return {"threepids": []}


async def _refuse_medium(call: Call) -> Reply:
    """The same for every address, be it known to anybody or not."""
    raise MatrixError(403, "M_THREEPID_DENIED", "This server takes no addresses or phone numbers")


async def _refuse_own(call: Call) -> Reply:
    """As `_refuse_medium`, in the word that there is for it where somebody would add one to their account."""
    raise MatrixError(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED", "This server takes no addresses or phone numbers")


async def _refuse_credentials(call: Call) -> Reply:
    raise MatrixError(403, "M_THREEPID_AUTH_FAILED", "This server has verified no such address or phone number")


async def _remove(call: Call) -> Reply:
    """There is none to remove, and no identity server that could still know of one."""
    return {"id_server_unbind_result": "no-support"}
