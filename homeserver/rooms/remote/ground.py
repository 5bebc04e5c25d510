"""What all that concerns memberships across servers stands on."""

from dataclasses import dataclass

from federation.ids import ServerName
from homeserver.policy import Policy
from homeserver.rooms.receive.adopt import Adoption
from homeserver.rooms.receive.intake import World
from homeserver.rooms.receive.outside import Asks, Outside
from homeserver.rooms.receive.receiver import Receiver
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Seal
from homeserver.rooms.servers import may_know
from homeserver.rooms.turns import Turns
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The rooms, the other servers, and whose turn it is to go into a room from here (`entries`)."""

    world: World
    peers: Asks
    receiver: Receiver
    adoption: Adoption
    entries: Turns

    @property
    def rooms(self) -> Rooms:
        """The live rooms."""
        return self.world.rooms

    @property
    def seal(self) -> Seal:
        """What our events are made with."""
        return self.world.rooms.seal

    @property
    def server(self) -> ServerName:
        """Our server."""
        return self.seal.server

    @property
    def database(self) -> Database:
        """The tables."""
        return self.world.database

    @property
    def policy(self) -> Policy:
        """Who may do what."""
        return self.world.policy

    @property
    def outside(self) -> Outside:
        """The other servers, as rooms need them."""
        return self.world.outside

    async def may_know(self, server: ServerName, room: Room) -> bool:
        """Whether a server may learn why something cannot be done in a room, and thereby that the room is there."""
        return await may_know(self.policy, server, room)

    def lacks(self, room: Room | None) -> bool:
        """Whether this server has no part in a room, or none any more while others have."""
        if room is None:
            return True
        servers = room.head.servers
        return bool(servers) and self.server not in servers
