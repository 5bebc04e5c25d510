"""Creating rooms.

Spec: client-server-api#creation
"""

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.create import Creation, NewRoom


def routes(creation: Creation) -> tuple[Route, ...]:
    """The endpoint that creates rooms."""

    async def create(call: Call) -> Reply:
        return {"room_id": (await creation.create(call.caller.user_id, call.body)).room_id}

    return (
        Route(
            method="POST",
            path="/_matrix/client/v3/createRoom",
            handle=create,
            rate="create",
            spec="client-server-api#post_matrixclientv3createroom",
            body=NewRoom,
        ),
    )
