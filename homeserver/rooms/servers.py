"""Which servers are in a room."""

from federation.ids import ServerName
from homeserver.rooms.room import Room


def servers_of(room: Room) -> frozenset[ServerName]:
    """The servers with somebody joined (committed), ours among them if it is."""
    return frozenset(room.shown.servers)
