"""What other servers ask a policy server, and where anybody learns its key.

Spec: server-server-api#policy-servers, client-server-api#policy-servers
"""

from typing import Any, Final

from msgspec.json import encode

from federation.ed25519 import SigningKey
from federation.errors import BadEvent, Refused
from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route
from homeserver.api.server.declaring import signed_route
from homeserver.rooms.receive.recommender import Recommender

BODY_LIMIT: Final = 2 * 65536
"""As much as an event may have, and something unsigned with it."""


def routes(recommender: Recommender) -> tuple[Route, ...]:
    """The endpoint where events are brought to be recommended."""

    async def sign(call: Call) -> Reply:
        try:
            return await recommender.sign(call.origin, call.body)
        except BadEvent as fault:
            raise MatrixError(400, "M_BAD_JSON", str(fault)) from None
        except Refused as refusal:
            raise MatrixError(403 if refusal.rule == "acl" else 400, "M_FORBIDDEN", refusal.why) from None

    return (signed_route("POST", "/_matrix/policy/v1/sign", sign, dict[str, Any], body_limit=BODY_LIMIT),)


def key_routes(key: SigningKey | None) -> tuple[Route, ...]:
    """The endpoint that tells the key that a room names whose policy server is to be this one; None: none may."""
    encoded = None if key is None else encode({"public_keys": {"ed25519": key.verify_key.encode()}})

    async def announce(call: Call) -> Reply:
        if encoded is None:
            raise MatrixError(404, "M_NOT_FOUND", "There is no policy server here")
        return encoded

    return (
        Route(
            method="GET",
            path="/.well-known/matrix/policy_server",
            handle=announce,
            auth="none",
            rate="other",
            spec="client-server-api#getwell-knownmatrixpolicy_server",
        ),
    )
