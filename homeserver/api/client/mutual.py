"""Rooms in common with somebody.

Spec: client-server-api#mutual-rooms
"""

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.mutual import Mutual


def routes(mutual: Mutual) -> tuple[Route, ...]:
    """The endpoint of mutual rooms, also under the name and with the tokens that it had as a proposal."""

    async def see(call: Call) -> Reply:
        return await mutual.rooms(call.caller.user_id, call.query.need("user_id"), call.query.str("from"))

    async def see_proposed(call: Call) -> Reply:
        page = await mutual.rooms(call.caller.user_id, call.query.need("user_id"), call.query.str("batch_token"))
        return {"next_batch_token" if name == "next_batch" else name: value for name, value in page.items()}

    return (
        Route(
            method="GET",
            path="/_matrix/client/v1/mutual_rooms",
            handle=see,
            rate="search",
            spec="client-server-api#get_matrixclientv1mutual_rooms",
        ),
        Route(
            method="GET",
            path="/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms",
            handle=see_proposed,
            rate="search",
            spec="MSC2666",
        ),
    )
