"""What this server does not offer, answered as the specification has a server answer that does not: clients ask first.

There is no single sign-on and no OAuth 2.0 here.

Spec: client-server-api#authentication-api-discovery
"""

from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Endpoint, Reply, Route

_SSO = "/_matrix/client/v3/login/sso/redirect"


def routes() -> tuple[Route, ...]:
    """The endpoints of what is not offered."""
    no_sso = _refuse("M_UNRECOGNIZED", "There is no single sign-on on this homeserver")
    no_oauth = _refuse("M_UNRECOGNIZED", "Legacy authentication is in use on this homeserver.")
    return (
        _route(_SSO, no_sso, "get_matrixclientv3loginssoredirect"),
        _route(_SSO + "/{idpId}", no_sso, "get_matrixclientv3loginssoredirectidpid"),
        _route("/_matrix/client/v1/auth_metadata", no_oauth, "get_matrixclientv1auth_metadata"),
    )


def _refuse(errcode: str, why: str) -> Endpoint:
    async def refuse(call: Call) -> Reply:
        raise MatrixError(404, errcode, why)

    return refuse


def _route(path: str, handle: Endpoint, anchor: str) -> Route:
    return Route(method="GET", path=path, handle=handle, auth="none", rate="other", spec=f"client-server-api#{anchor}")
