"""Typing notifications.

Spec: client-server-api#typing-notifications
"""

from msgspec import Struct

from federation.errors import Refused
from homeserver.api.route import Call, Reply, Route
from homeserver.ephemeral.typing import DEFAULT_MS, Typing


class TypingBody(Struct, frozen=True):
    """Whether somebody types, and for how many milliseconds to believe it.

    Spec: client-server-api#put_matrixclientv3roomsroomidtypinguserid
    """

    typing: bool
    timeout: int = DEFAULT_MS


def routes(typing: Typing) -> tuple[Route, ...]:
    """The endpoint of typing notifications."""
    return (
        Route(
            method="PUT",
            path="/_matrix/client/v3/rooms/{roomId}/typing/{userId}",
            handle=_TypingAPI(typing).set,
            rate="ephemeral",
            spec="client-server-api#put_matrixclientv3roomsroomidtypinguserid",
            body=TypingBody,
        ),
    )


class _TypingAPI:
    def __init__(self, typing: Typing) -> None:
        self._typing = typing

    async def set(self, call: Call) -> Reply:
        body: TypingBody = call.body
        if call.params["userId"] != call.caller.user_id:
            raise Refused("typing", "One types for oneself only")
        if body.typing:
            await self._typing.begin(call.caller.user_id, call.params["roomId"], body.timeout)
        else:
            await self._typing.end(call.caller.user_id, call.params["roomId"])
        return {}
