"""What this server speaks, and where clients find it.

Spec: client-server-api#api-versions, client-server-api#well-known-uris
"""

from msgspec.json import encode

from homeserver.api.route import Call, Reply, Route

VERSIONS = ("v1.1", "v1.5", "v1.8", "v1.9", "v1.11", "v1.12")
"""The releases of the specification whose additions are here; clients take each as news of its own.

v1.2, 1.3, 1.4, 1.6, 1.7 and 1.10 wait for space hierarchies, relations, threads, finding events by time, uploads in two
steps, and a support contact.
"""

UNSTABLE = {
    "org.matrix.msc3814": True,  # dehydrated devices
}
"""Proposals that are here under their own names."""

_VERSIONS = encode({"versions": VERSIONS, "unstable_features": UNSTABLE})


def routes(public_base_url: str | None, identity_server: str | None) -> tuple[Route, ...]:
    """The endpoints by which a client finds this server; the second only where there is an address to announce."""
    versions = Route(
        method="GET",
        path="/_matrix/client/versions",
        handle=_see_versions,
        auth="none",
        spec="client-server-api#get_matrixclientversions",
    )
    if public_base_url is None:
        return (versions,)
    discovery = encode(build_discovery(public_base_url, identity_server))

    async def announce(call: Call) -> Reply:
        return discovery

    well_known = Route(
        method="GET",
        path="/.well-known/matrix/client",
        handle=announce,
        auth="none",
        spec="client-server-api#getwell-knownmatrixclient",
    )
    return (versions, well_known)


def build_discovery(public_base_url: str, identity_server: str | None) -> dict[str, object]:
    """Where clients of this server find it, and which identity server they may use."""
    found: dict[str, object] = {"m.homeserver": {"base_url": public_base_url}}
    if identity_server is not None:
        found["m.identity_server"] = {"base_url": identity_server}
    return found


async def _see_versions(call: Call) -> Reply:
    return _VERSIONS
