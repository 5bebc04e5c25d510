"""Aliases of rooms.

Spec: client-server-api#room-aliases
"""

from collections.abc import Iterator

from msgspec import Struct

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.aliases import Aliases

_V3 = "/_matrix/client/v3"
_ALIAS = f"{_V3}/directory/room/{{roomAlias}}"
_ANCHOR = "matrixclientv3directoryroomroomalias"


class Target(Struct, frozen=True):
    """The body that says where an alias leads."""

    room_id: str


def routes(aliases: Aliases) -> tuple[Route, ...]:
    """The endpoints of aliases."""
    return tuple(_routes(_AliasAPI(aliases)))


def _routes(api: "_AliasAPI") -> Iterator[Route]:
    yield Route(
        method="GET",
        path=_ALIAS,
        handle=api.find,
        auth="optional",
        rate="other",
        spec=f"client-server-api#get_{_ANCHOR}",
    )
    yield Route(
        method="PUT", path=_ALIAS, handle=api.set, rate="other", spec=f"client-server-api#put_{_ANCHOR}", body=Target
    )
    yield Route(
        method="DELETE", path=_ALIAS, handle=api.remove, rate="other", spec=f"client-server-api#delete_{_ANCHOR}"
    )
    yield Route(
        method="GET",
        path=f"{_V3}/rooms/{{roomId}}/aliases",
        handle=api.of_room,
        rate="other",
        spec="client-server-api#get_matrixclientv3roomsroomidaliases",
    )


class _AliasAPI:
    def __init__(self, aliases: Aliases) -> None:
        self._aliases = aliases

    async def find(self, call: Call) -> Reply:
        by = call.asker
        found = await self._aliases.find(by, call.params["roomAlias"])
        return {"room_id": found.room_id, "servers": found.servers}

    async def set(self, call: Call) -> Reply:
        await self._aliases.set(call.caller.user_id, call.params["roomAlias"], call.body.room_id)
        return {}

    async def remove(self, call: Call) -> Reply:
        caller = call.caller
        await self._aliases.remove(caller.user_id, call.params["roomAlias"], is_admin=caller.admin)
        return {}

    async def of_room(self, call: Call) -> Reply:
        caller = call.caller
        found = await self._aliases.of_room(caller.user_id, call.params["roomId"], is_admin=caller.admin)
        return {"aliases": found}
