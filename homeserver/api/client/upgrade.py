"""Upgrading rooms.

Spec: client-server-api#room-upgrades
"""

from msgspec import Struct

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.upgrade import Upgrades


class Upgrade(Struct, frozen=True):
    """The body that says what a room becomes."""

    new_version: str
    additional_creators: tuple[str, ...] = ()


def routes(upgrades: Upgrades) -> tuple[Route, ...]:
    """The endpoint that upgrades rooms."""

    async def upgrade(call: Call) -> Reply:
        body: Upgrade = call.body
        new = await upgrades.upgrade(
            call.caller.user_id, call.params["roomId"], body.new_version, body.additional_creators
        )
        return {"replacement_room": new.room_id}

    return (
        Route(
            method="POST",
            path="/_matrix/client/v3/rooms/{roomId}/upgrade",
            handle=upgrade,
            rate="create",
            spec="client-server-api#post_matrixclientv3roomsroomidupgrade",
            body=Upgrade,
        ),
    )
