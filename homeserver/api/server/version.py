"""What this server is, and where others find it.

Spec: server-server-api#server-implementation, server-server-api#resolving-server-names
"""

from msgspec.json import encode

from homeserver import VERSION
from homeserver.api.route import Call, Reply, Route
from homeserver.api.server.declaring import V1

_VERSION = encode({"server": {"name": "Parta", "version": VERSION}})


def routes() -> tuple[Route, ...]:
    """The endpoint of the implementation's name and version."""
    return (
        Route(
            method="GET",
            path=V1 + "/version",
            handle=_see_version,
            auth="none",
            rate="other",
            spec="server-server-api#get_matrixfederationv1version",
        ),
    )


def delegation_routes(delegated: str | None) -> tuple[Route, ...]:
    """The endpoint that tells other servers where this one is, where it is not where its name says."""
    if delegated is None:
        return ()
    encoded = encode({"m.server": delegated})

    async def announce(call: Call) -> Reply:
        return encoded

    return (
        Route(
            method="GET",
            path="/.well-known/matrix/server",
            handle=announce,
            auth="none",
            spec="server-server-api#getwell-knownmatrixserver",
        ),
    )


async def _see_version(call: Call) -> Reply:
    return _VERSION
