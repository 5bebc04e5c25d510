"""Rooms in common with somebody.

Spec: client-server-api#mutual-rooms
"""

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.mutual import Mutual


def routes(mutual: Mutual) -> tuple[Route, ...]:
    """The endpoint of mutual rooms."""

    async def see(call: Call) -> Reply:
        return await mutual.rooms(call.caller.user_id, call.query.need("user_id"), call.query.str("from"))

    return (
        Route(
            method="GET",
            path="/_matrix/client/v1/mutual_rooms",
            handle=see,
            rate="search",
            spec="client-server-api#get_matrixclientv1mutual_rooms",
        ),
    )
