"""The composition of rooms: the live ones, what is done in them, and the profiles shown there."""

from dataclasses import dataclass, replace

from homeserver.accounts.profile import Profiles
from homeserver.accounts.propagation import Propagations
from homeserver.api.client import rooms as client_rooms
from homeserver.api.route import Route
from homeserver.rooms.create import Creation
from homeserver.rooms.doors import Doors as RoomDoors
from homeserver.rooms.doors import build_doors
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Seal
from homeserver.schools.books import World as SchoolWorld
from homeserver.schools.desk import Desk
from homeserver.schools.direct import DirectRooms
from homeserver.server.core import Core
from homeserver.signing import load_signing_key


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomParts:
    """What is done in rooms, the profiles that are shown there, and the desk that changes schools and their rooms."""

    doors: RoomDoors
    profiles: Profiles
    propagations: Propagations
    desk: Desk


def build_rooms(core: Core) -> RoomParts:
    """Make the live rooms and what changes them; the signing key is loaded, or made at the first start.

    Raises: BadKeyFile.
    """
    world, database, policy = core.world, core.database, core.policy
    settings, server_name = world.settings, world.server_name
    rooms = Rooms(
        database,
        Seal(
            server=server_name,
            key=load_signing_key(settings.data_dir, world.token_bytes),
            now_ms=world.now_ms,
            token_bytes=world.token_bytes,
            next_id=database.next_id,
        ),
    )
    outside = SchoolWorld(server=server_name, now_ms=world.now_ms, token_bytes=world.token_bytes)
    desk = Desk(database, rooms, core.facts, outside)
    begin = DirectRooms(rooms, core.facts, desk).begin if settings.policy == "school" else None
    doors = build_doors(rooms, database, policy, lambda user_id: profiles.find(user_id), settings.rooms.default_version)
    propagations = Propagations(database, doors.people)
    profiles = Profiles(database, policy, propagations)
    creation = Creation(rooms, database, policy, profiles.find, settings.rooms.default_version, begin)
    doors = replace(doors, creation=creation)
    return RoomParts(doors=doors, profiles=profiles, propagations=propagations, desk=desk)


def room_routes(core: Core, rooms: RoomParts) -> tuple[Route, ...]:
    """The endpoints of rooms."""
    return client_rooms.routes(rooms.doors, core.world.now_ms, core.world.server_name)
