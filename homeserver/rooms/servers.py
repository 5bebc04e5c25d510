"""Which servers are in a room, and which may learn of it."""

from federation.ids import ServerName
from homeserver.policy import Policy, TellServer, allows
from homeserver.rooms.room import Room


def servers_of(room: Room) -> frozenset[ServerName]:
    """The servers with somebody joined (committed), ours among them if it is."""
    return frozenset(room.shown.servers)


async def may_know(policy: Policy, server: ServerName, room: Room) -> bool:
    """Whether a server may learn why something cannot be done in a room, and thereby that the room is there."""
    is_in = server in room.shown.servers

    async def shares_room() -> bool:
        return is_in

    return await allows(policy, TellServer(by=None, server=server, about="room", shares_room=shares_room))
