"""How the endpoints of the server-server API are declared that a server must sign for."""

from typing import Any, Final

from homeserver.api.route import JSON_LIMIT, Endpoint, Route

V1: Final = "/_matrix/federation/v1"
V2: Final = "/_matrix/federation/v2"


def signed_route(
    method: str, path: str, handle: Endpoint, body: Any = None, *, rate: str = "region", body_limit: int = JSON_LIMIT
) -> Route:
    """An endpoint for servers that this one has to do with; where the specification tells of it follows from its path.

    Spec: server-server-api#request-authentication
    """
    anchor = method + "".join(letter for letter in path if letter not in "/{}")
    return Route(
        method=method,
        path=path,
        handle=handle,
        auth="region",
        rate=rate,
        spec=f"server-server-api#{anchor.lower()}",
        body=body,
        body_limit=body_limit,
    )
