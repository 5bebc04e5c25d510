"""What other servers are told of rooms that they are not in: where an alias leads, what is listed, what a space holds.

Spec: server-server-api#querying-for-information, server-server-api#spaces
"""

from typing import Any, Final

from federation.errors import Refused
from federation.ids import ServerName, UserID, parse_room_alias, server_of
from homeserver.policy import NotFound, Policy, TellServer, allows
from homeserver.rooms.acl import check_acl
from homeserver.rooms.aliases import Aliases, Target
from homeserver.rooms.restricted import RESTRICTED, allowing_rooms, join_rule
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.spaces import children_of, strip
from homeserver.rooms.summaries import summarise
from homeserver.rooms.view import is_world_readable

MOST_CHILDREN: Final = 500
"""How many children of a space are told of."""


class RoomsForServers:
    """Tells other servers of rooms."""

    def __init__(self, rooms: Rooms, aliases: Aliases, policy: Policy) -> None:
        self._rooms = rooms
        self._aliases = aliases
        self._policy = policy

    async def find_alias(self, alias: str) -> Target:
        """Where an alias of ours leads.

        Raises: NotFound, also for another server's; BadIdentifier.
        Spec: server-server-api#get_matrixfederationv1querydirectory
        """
        if server_of(parse_room_alias(alias)) != self._rooms.seal.server:
            raise NotFound("That is another server's alias")
        return await self._aliases.find(None, alias)

    async def level(self, origin: ServerName, room_id: str, *, suggested_only: bool) -> dict[str, Any]:
        """A room and its children, as far as people of that server could join or look in, and which they could not.

        Raises: NotFound, also when the server may not learn of the room.
        Spec: server-server-api#get_matrixfederationv1hierarchyroomid
        """
        room = await self._rooms.load(room_id)
        if room is None or not await self._may_learn(origin, room):
            raise NotFound("Room not found")
        shown, hidden = [], []
        for event in children_of(room, suggested_only=suggested_only)[:MOST_CHILDREN]:
            child = await self._rooms.load(event.state_key or "")
            if child is None:
                continue
            if await self._may_learn(origin, child):
                shown.append(_summarise(child, suggested_only=suggested_only))
            else:
                hidden.append(child.room_id)
        summary = _summarise(room, suggested_only=suggested_only)
        return {"room": summary, "children": shown, "inaccessible_children": hidden}

    async def _may_learn(self, origin: ServerName, room: Room) -> bool:
        is_in = origin in room.shown.servers

        async def shares_room() -> bool:
            return is_in

        try:
            check_acl(room, origin)
        except Refused:
            return False
        if not is_in and not await self._is_open_to(origin, room):
            return False
        return await allows(self._policy, TellServer(by=None, server=origin, about="room", shares_room=shares_room))

    async def _is_open_to(self, origin: ServerName, room: Room) -> bool:
        rule, version = join_rule(room), room.version
        if rule == "public" or is_world_readable(room) or _is_invited(origin, room):
            return True
        if (rule == "knock" and version.knock) or (rule == "knock_restricted" and version.knock_restricted):
            return True
        if rule not in RESTRICTED:
            return False
        others = [await self._rooms.load(room_id) for room_id in allowing_rooms(room)]
        return any(other is not None and origin in other.shown.servers for other in others)


def _is_invited(origin: ServerName, room: Room) -> bool:
    return any(
        key[0] == "m.room.member" and held.event.membership == "invite" and server_of(UserID(key[1])) == origin
        for key, held in room.shown.state.items()
    )


def _summarise(room: Room, *, suggested_only: bool) -> dict[str, Any]:
    children = children_of(room, suggested_only=suggested_only)[:MOST_CHILDREN]
    return {**summarise(room), "children_state": [strip(child) for child in children]}
