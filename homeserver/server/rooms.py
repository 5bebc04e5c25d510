"""The composition of rooms: the live ones, what is done in them, and the profiles shown there."""

from dataclasses import dataclass, replace

from msgspec.structs import asdict

from federation.ed25519 import SigningKey
from federation.ids import UserID
from homeserver.accounts.profile import Profiles
from homeserver.accounts.propagation import Propagations
from homeserver.api.client import retention
from homeserver.api.client import rooms as client_rooms
from homeserver.api.errors import RateLimited, find_matrix_error
from homeserver.api.route import Route
from homeserver.rooms.create import Creation
from homeserver.rooms.delayed import Bounds, DelayedEvents, Senders
from homeserver.rooms.delayed import World as DelayedWorld
from homeserver.rooms.doors import Doors as RoomDoors
from homeserver.rooms.doors import build_doors
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Seal
from homeserver.rooms.search.follower import Follower
from homeserver.schools.books import World as SchoolWorld
from homeserver.schools.desk import Desk
from homeserver.schools.direct import DirectRooms
from homeserver.server.core import Core
from homeserver.server.retention import build_rules
from homeserver.signing import load_policy_key, load_signing_key


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomParts:
    """What is done in rooms, the profiles that are shown there, and the desk that changes schools and their rooms."""

    doors: RoomDoors
    profiles: Profiles
    propagations: Propagations
    delayed: DelayedEvents
    follower: Follower
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
            policy_key=_load_policy_key(core),
        ),
    )
    outside = SchoolWorld(server=server_name, now_ms=world.now_ms, token_bytes=world.token_bytes)
    desk = Desk(database, rooms, core.facts, outside, core.visitors)
    begin = DirectRooms(rooms, core.facts, desk).begin if settings.policy == "school" else None
    default_version, questions = settings.rooms.default_version, core.services.questions
    doors = build_doors(rooms, database, policy, lambda user_id: profiles.find(user_id), default_version, questions)
    propagations = Propagations(database, doors.people)
    profiles = Profiles(database, policy, propagations, questions)
    creation = Creation(rooms, database, policy, profiles.find, default_version, begin=begin, questions=questions)
    doors = replace(doors, creation=creation)
    delayed = build_delayed(core, doors)
    return RoomParts(
        doors=doors,
        profiles=profiles,
        propagations=propagations,
        delayed=delayed,
        follower=Follower(database, world.reactor),
        desk=desk,
    )


def _load_policy_key(core: Core) -> SigningKey | None:
    settings = core.world.settings
    return None if settings.federation.mode == "none" else load_policy_key(settings.data_dir, core.world.token_bytes)


def build_delayed(core: Core, doors: RoomDoors) -> DelayedEvents:
    """Make what sends events later."""
    world = core.world

    def may_send(user_id: UserID) -> bool:
        try:
            core.limits.check("message", user_id)
        except RateLimited:
            return False
        return True

    def explain(fault: BaseException) -> dict[str, object] | None:
        answer = find_matrix_error(fault)
        return None if answer is None else answer.body()

    outside = DelayedWorld(
        clock=world.reactor,
        now_ms=world.now_ms,
        make_id=doors.rooms.seal.make_opaque,
        may_send=may_send,
        explain=explain,
    )
    senders = Senders(sending=doors.sending, settings=doors.settings, transactions=doors.transactions)
    return DelayedEvents(core.database, senders, Bounds(**asdict(world.settings.delayed_events)), outside)


def room_routes(core: Core, rooms: RoomParts) -> tuple[Route, ...]:
    """The endpoints of rooms."""
    return (
        *client_rooms.routes(rooms.doors, rooms.delayed, core.world.now_ms, core.world.server_name, core.world.reactor),
        *retention.routes(build_rules(core.world.settings)),
    )
