"""Rooms that other servers are not in: what is listed, and what spaces hold.

Spec: server-server-api#published-room-directory, server-server-api#spaces
"""

from typing import Annotated, Final

from msgspec import Meta, Struct

from homeserver.api.client.directory import Terms
from homeserver.api.route import Call, Reply, Route
from homeserver.api.server.declaring import V1, signed_route
from homeserver.rooms.directory import MOST_ROOMS, Directory, Search
from homeserver.rooms.levels import RoomsForServers

_NOTHING: Final = {"chunk": [], "total_room_count_estimate": 0}
"""The rooms of a third party's network, which other servers are not told of."""


class ListingBody(Struct, frozen=True):
    """Which of the listed rooms."""

    limit: Annotated[int, Meta(ge=0)] = 0
    since: str | None = None
    filter: Terms = Terms()
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


def routes(directory: Directory, rooms: RoomsForServers) -> tuple[Route, ...]:
    """The endpoints of rooms."""

    async def page(call: Call) -> Reply:
        query = call.query
        if query.str("third_party_instance_id") and not query.flag("include_all_networks"):
            return _NOTHING
        return await directory.find(None, Search(limit=query.int("limit", 0) or MOST_ROOMS, since=query.str("since")))

    async def search(call: Call) -> Reply:
        body: ListingBody = call.body
        if body.third_party_instance_id and not body.include_all_networks:
            return _NOTHING
        term = body.filter.generic_search_term or ""
        wanted = Search(limit=body.limit or MOST_ROOMS, since=body.since, term=term, room_types=body.filter.room_types)
        return await directory.find(None, wanted)

    async def level(call: Call) -> Reply:
        suggested_only = call.query.flag("suggested_only")
        return await rooms.level(call.origin, call.params["roomId"], suggested_only=suggested_only)

    return (
        signed_route("GET", V1 + "/publicRooms", page),
        signed_route("POST", V1 + "/publicRooms", search, ListingBody),
        signed_route("GET", V1 + "/hierarchy/{roomId}", level),
    )
