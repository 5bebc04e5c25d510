"""What all that concerns memberships across servers stands on."""

from dataclasses import dataclass

from federation.ids import ServerName
from federation.transport.peers import Asks
from homeserver.policy import NotFound, Policy
from homeserver.rooms.receive.adopt import Adoption
from homeserver.rooms.receive.intake import World
from homeserver.rooms.receive.outside import Outside
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

    async def open(self, room_id: str) -> Room:
        """A room in which this server has part.

        Raises: NotFound.
        """
        room = await self.rooms.load(room_id)
        if room is None or self.server not in room.shown.servers:
            raise build_unknown()
        return room

    async def check_known(self, server: ServerName, room: Room) -> None:
        """Answer a server that may not learn that there is such a room as if there were none.

        Raises: NotFound.
        """
        if not await may_know(self.policy, server, room):
            raise build_unknown() from None

    def lacks(self, room: Room | None) -> bool:
        """Whether this server has no part in a room, or none any more while others have."""
        if room is None:
            return True
        servers = room.head.servers
        return bool(servers) and self.server not in servers


def build_unknown() -> NotFound:
    """What is answered of a room that is not here, and of one that is not for who asks."""
    return NotFound("Unknown room")
