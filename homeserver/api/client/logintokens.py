"""Let oneself in on another device.

Spec: client-server-api#post_matrixclientv1loginget_token
"""

from msgspec import Struct

from homeserver.accounts.interactive import Auth, Interactive
from homeserver.accounts.logintokens import LIFETIME_MS, LoginTokens
from homeserver.api.client.interactive import build_operation, prove
from homeserver.api.route import Call, Reply, Route


class TokenBody(Struct, frozen=True):
    """Nothing but the proof of who asks."""

    auth: Auth | None = None


def routes(tokens: LoginTokens, interactive: Interactive) -> tuple[Route, ...]:
    """The endpoint that gives out login tokens; each needs a proof of its own."""

    async def make(call: Call) -> Reply:
        proof = await prove(call, interactive, build_operation(call, "POST /login/get_token"))
        interactive.use_up(proof)
        return {"login_token": await tokens.make(call.caller.user_id), "expires_in_ms": LIFETIME_MS}

    return (
        Route(
            method="POST",
            path="/_matrix/client/v1/login/get_token",
            handle=make,
            rate="token",
            spec="client-server-api#post_matrixclientv1loginget_token",
            body=TokenBody,
            body_optional=True,
        ),
    )
