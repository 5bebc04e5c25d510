"""All ways in and out across servers, as the doors for clients call them."""

from collections.abc import Mapping
from typing import Any, Final

from federation.errors import BadAnswer, PeerRefused
from federation.ids import EventID, RoomAlias, RoomID, ServerName, UserID, find_server_name, server_of
from homeserver.rooms.beyond import Entering
from homeserver.rooms.remote.departing import Departing
from homeserver.rooms.remote.ground import Ground
from homeserver.rooms.remote.inviting import Inviting
from homeserver.rooms.remote.joining import Joining
from homeserver.rooms.remote.outlying import Outlying, load_outlying
from homeserver.rooms.room import Room
from homeserver.rooms.seal import Draft

ALIAS_S: Final = 10.0
_MOST_SERVERS: Final = 50


class Remote:
    """What the doors to rooms do where other servers are needed."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._joining = Joining(ground)
        self._departing = Departing(ground)
        self._inviting = Inviting(ground)

    def lacks(self, room: Room | None) -> bool:
        """Whether this server has no part in a room, or none any more."""
        return self._ground.lacks(room)

    async def join(self, wanted: Entering) -> bool:
        """Join a room; see `Joining.join`."""
        return await self._joining.join(wanted)

    async def knock(self, wanted: Entering) -> bool:
        """Ask to be let into a room; see `Departing.knock`."""
        return await self._departing.knock(wanted)

    async def leave(self, person: UserID, room_id: str, content: Mapping[str, object]) -> None:
        """Refuse an invitation or take back a knock; see `Departing.leave`."""
        await self._departing.leave(person, room_id, content)

    async def invite(self, room: Room, draft: Draft) -> EventID:
        """Ask somebody of another server in; see `Inviting.invite`."""
        return await self._inviting.invite(room, draft)

    async def find_outlying(self, person: UserID, room_id: str) -> Outlying | None:
        """What somebody of ours is in a room, whether or not this server has part in it."""
        return await load_outlying(self._ground.database, person, room_id)

    async def find_alias(self, alias: RoomAlias) -> tuple[RoomID, list[ServerName]] | None:
        """The room that another server's alias leads to and servers that know it; None if it leads nowhere.

        Raises: RemoteFault; Refused.
        Spec: server-server-api#get_matrixfederationv1querydirectory
        """
        server = server_of(alias)
        path, query = "/_matrix/federation/v1/query/directory", [("room_alias", alias)]
        try:
            answer = await self._ground.peers.ask(server, "GET", path, query=query, timeout_s=ALIAS_S)
        except PeerRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        return RoomID(_room_in(answer)), list(dict.fromkeys([*_servers_in(answer), server]))


def _room_in(answer: Mapping[str, Any]) -> str:
    room_id = answer.get("room_id")
    if not isinstance(room_id, str) or not room_id.startswith("!") or len(room_id.encode()) > 255:
        raise BadAnswer("the alias leads to no room")
    return room_id


def _servers_in(answer: Mapping[str, Any]) -> list[ServerName]:
    servers = answer.get("servers")
    listed = servers[:_MOST_SERVERS] if isinstance(servers, list) else []
    return [server for server in map(find_server_name, listed) if server is not None]
