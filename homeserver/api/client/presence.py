"""Presence.

Spec: client-server-api#presence
"""

from msgspec import Struct

from federation.errors import Refused
from federation.ids import parse_user_id
from homeserver.api.route import Call, Reply, Route
from homeserver.ephemeral.presence import Presences, State

_STATUS = "/_matrix/client/v3/presence/{userId}/status"


class PresenceBody(Struct, frozen=True):
    """Whether somebody is there, and what they say about it.

    Spec: client-server-api#put_matrixclientv3presenceuseridstatus
    """

    presence: State
    status_msg: str | None = None


def routes(presences: Presences) -> tuple[Route, ...]:
    """The endpoints of presence."""
    api = _PresenceAPI(presences)
    return (
        Route(
            method="GET",
            path=_STATUS,
            handle=api.see,
            rate="other",
            spec="client-server-api#get_matrixclientv3presenceuseridstatus",
        ),
        Route(
            method="PUT",
            path=_STATUS,
            handle=api.set,
            rate="ephemeral",
            spec="client-server-api#put_matrixclientv3presenceuseridstatus",
            body=PresenceBody,
        ),
    )


class _PresenceAPI:
    def __init__(self, presences: Presences) -> None:
        self._presences = presences

    async def see(self, call: Call) -> Reply:
        return await self._presences.see(call.caller.user_id, parse_user_id(call.params["userId"]))

    async def set(self, call: Call) -> Reply:
        body: PresenceBody = call.body
        if call.params["userId"] != call.caller.user_id:
            raise Refused("presence", "One speaks for oneself only")
        await self._presences.set(call.caller.user_id, body.presence, body.status_msg)
        return {}
