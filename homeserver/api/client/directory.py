"""The room directory.

Spec: client-server-api#published-room-directory
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.directory import MOST_ROOMS, Directory, Search
from homeserver.rooms.networks import FIRST_OF_NETWORKS, Networks, is_of_networks

_V3 = "/_matrix/client/v3"


class Terms(Struct, frozen=True):
    """What to search the directory for."""

    generic_search_term: str | None = None
    room_types: Annotated[tuple[str | None, ...], Meta(max_length=100)] | None = None


class Listing(Struct, frozen=True):
    """The body of a search in the directory."""

    limit: Annotated[int, Meta(ge=0)] = MOST_ROOMS
    since: str | None = None
    filter: Terms = Terms()
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class Visibility(Struct, frozen=True):
    """The body that lists a room or takes it out."""

    visibility: Literal["public", "private"] = "public"


def routes(directory: Directory, networks: Networks, server_name: str) -> tuple[Route, ...]:
    """The endpoints of the room directory."""
    return tuple(_routes(_DirectoryAPI(directory, networks, server_name)))


def _routes(api: "_DirectoryAPI") -> Iterator[Route]:
    public, listed = f"{_V3}/publicRooms", f"{_V3}/directory/list/room/{{roomId}}"
    anchors = ("matrixclientv3publicrooms", "matrixclientv3directorylistroomroomid")
    yield Route(
        method="GET",
        path=public,
        handle=api.page,
        auth="optional",
        rate="search",
        spec=f"client-server-api#get_{anchors[0]}",
    )
    yield Route(
        method="POST",
        path=public,
        handle=api.search,
        rate="search",
        spec=f"client-server-api#post_{anchors[0]}",
        body=Listing,
        body_optional=True,
    )
    yield Route(
        method="GET",
        path=listed,
        handle=api.is_published,
        auth="optional",
        rate="other",
        spec=f"client-server-api#get_{anchors[1]}",
    )
    yield Route(
        method="PUT",
        path=listed,
        handle=api.publish,
        rate="other",
        spec=f"client-server-api#put_{anchors[1]}",
        body=Visibility,
        body_optional=True,
    )


class _DirectoryAPI:
    def __init__(self, directory: Directory, networks: Networks, server_name: str) -> None:
        self._directory = directory
        self._networks = networks
        self._server_name = server_name

    async def page(self, call: Call) -> Reply:
        query = call.query
        search = Search(limit=query.int("limit", MOST_ROOMS), since=query.str("since"))
        server = self._find_server(call)
        if server is not None:
            return await self._directory.find_afar(call.asker, server, search)
        return await self._directory.find(call.asker, search)

    async def search(self, call: Call) -> Reply:
        body: Listing = call.body
        term, server = body.filter.generic_search_term or "", self._find_server(call)
        search = Search(limit=body.limit, since=body.since, term=term, room_types=body.filter.room_types)
        if server is not None:
            return await self._directory.find_afar(call.asker, server, search)
        of_network = None if body.include_all_networks else body.third_party_instance_id
        if of_network is not None or (body.include_all_networks and is_of_networks(body.since)):
            return await self._networks.find(call.asker, of_network, body.since, body.limit, term)
        answer = await self._directory.find(call.asker, search)
        if body.include_all_networks and "next_batch" not in answer and self._networks.are_there:
            return {**answer, "next_batch": FIRST_OF_NETWORKS}
        return answer

    async def is_published(self, call: Call) -> Reply:
        published = await self._directory.is_published(call.asker, call.params["roomId"])
        return {"visibility": "public" if published else "private"}

    async def publish(self, call: Call) -> Reply:
        published = call.body.visibility == "public"
        await self._directory.publish(call.caller.user_id, call.params["roomId"], published=published)
        return {}

    def _find_server(self, call: Call) -> str | None:
        """The other server whose directory is asked for."""
        server = call.query.str("server", self._server_name)
        return None if server == self._server_name else server
