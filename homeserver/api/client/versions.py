"""What this server speaks, and where clients find it.

Spec: client-server-api#api-versions, client-server-api#well-known-uris
"""

from collections.abc import Mapping

from msgspec.json import encode
from msgspec.structs import asdict

from config.settings import Settings, Support
from homeserver.api.route import Call, Reply, Route

VERSIONS = tuple(f"v1.{number}" for number in range(1, 20))
"""The releases of the specification whose additions for clients are here; clients take each as news of its own."""

UNSTABLE = {
    "org.matrix.e2e_cross_signing": True,  # in the specification since 1.1; clients set cross-signing up by this name
    "org.matrix.simplified_msc3575": True,  # sliding sync
    "org.matrix.msc3814": True,  # dehydrated devices
    "org.matrix.msc4108": True,  # two devices meet for a sign-in by QR code
    "org.matrix.msc4140": True,  # delayed events
    "uk.half-shot.msc2666.query_mutual_rooms": True,  # rooms in common; clients ask for it under this name
}
"""Proposals that are here under their own names."""

_VERSIONS = encode({"versions": VERSIONS, "unstable_features": UNSTABLE})


def routes(discovery: Mapping[str, object] | None, support: Mapping[str, object] | None = None) -> tuple[Route, ...]:
    """The endpoints by which a client finds this server and those who answer for it; the others only where there is
    something to announce.
    """
    versions = Route(
        method="GET",
        path="/_matrix/client/versions",
        handle=_see_versions,
        auth="none",
        spec="client-server-api#get_matrixclientversions",
    )
    found = [versions]
    if discovery is not None:
        found.append(_announcement("client", discovery))
    if support is not None:
        found.append(_announcement("support", support))
    return tuple(found)


def _announcement(name: str, content: Mapping[str, object]) -> Route:
    encoded = encode(content)

    async def announce(call: Call) -> Reply:
        return encoded

    return Route(
        method="GET",
        path=f"/.well-known/matrix/{name}",
        handle=announce,
        auth="none",
        spec=f"client-server-api#getwell-knownmatrix{name}",
    )


def build_support(support: Support) -> dict[str, object] | None:
    """Whom to ask about this server, None where nobody is named.

    Spec: client-server-api#well-known-uris
    """
    named = [
        {name: value for name, value in asdict(contact).items() if value is not None} for contact in support.contacts
    ]
    found: dict[str, object] = {"contacts": named} if named else {}
    if support.page is not None:
        found["support_page"] = support.page
    return found or None


def build_discovery(settings: Settings) -> dict[str, object] | None:
    """Where clients of this server find it, which identity server they may use, and what carries calls of many (the
    key of MSC4143); None when clients are not told where it is.
    """
    if settings.public_base_url is None:
        return None
    found: dict[str, object] = {"m.homeserver": {"base_url": settings.public_base_url}}
    if settings.identity_server is not None:
        found["m.identity_server"] = {"base_url": settings.identity_server}
    if settings.rtc_transports:
        found["org.matrix.msc4143.rtc_foci"] = settings.rtc_transports
    return found


async def _see_versions(call: Call) -> Reply:
    return _VERSIONS
