"""OpenID tokens.

Spec: client-server-api#openid
"""

from typing import Any

from federation.ids import UserID
from homeserver.accounts.openid import OpenIDTokens
from homeserver.api.route import Call, Reply, Route


def routes(tokens: OpenIDTokens, server_name: str) -> tuple[Route, ...]:
    """The endpoint that gives out OpenID tokens."""

    async def make(call: Call) -> Reply:
        made = await tokens.make(call.caller.user_id, UserID(call.params["userId"]))
        return {
            "access_token": made.token,
            "token_type": "Bearer",
            "matrix_server_name": server_name,
            "expires_in": made.expires_in_ms // 1000,
        }

    return (
        Route(
            method="POST",
            path="/_matrix/client/v3/user/{userId}/openid/request_token",
            handle=make,
            rate="create",
            spec="client-server-api#post_matrixclientv3useruseridopenidrequest_token",
            body=dict[str, Any],
            body_optional=True,
        ),
    )
