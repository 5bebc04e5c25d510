"""The composition of cooperation between organisations, of one region or two."""

from dataclasses import dataclass

from homeserver.api.route import Route
from homeserver.api.school import cooperation as school_api
from homeserver.api.school import guests as guests_api
from homeserver.api.server import claims as server_api
from homeserver.schools.commands import Bureau
from homeserver.schools.cooperation.claims import Claims, Ground
from homeserver.schools.cooperation.commands import Embassy
from homeserver.schools.cooperation.directory import OpenRooms
from homeserver.schools.cooperation.guests import Guests
from homeserver.schools.cooperation.network import Network
from homeserver.schools.cooperation.notices import Notices
from homeserver.schools.cooperation.office import CooperationOffice
from homeserver.schools.cooperation.rounds import Rounds
from homeserver.schools.gate import Gate
from homeserver.server.core import Core
from homeserver.server.region import RegionParts
from homeserver.server.rooms import RoomParts


@dataclass(frozen=True, slots=True, kw_only=True)
class CooperationParts:
    """The office for cooperation, and what goes on between regions about it."""

    office: CooperationOffice
    guests: Guests
    claims: Claims
    notices: Notices
    rounds: Rounds


def build_cooperation(core: Core, rooms: RoomParts, region: RegionParts) -> CooperationParts:
    """Make what concerns cooperation; let the gate ask other regions for their people, and the room directory list what
    is open to whom.
    """
    world, database = rooms.desk.world, core.database
    network = Network(database, rooms.doors.rooms, core.facts, world)
    notices = Notices(database, network, region.peers, world)
    claims = Claims(
        Ground(
            key=region.keys.current,
            peers=region.peers,
            keyring=region.keyring,
            may_talk=region.regions.may_talk,
            database=database,
            facts=core.facts,
            network=network,
            world=world,
        )
    )
    guests = Guests(database, core.facts, network, world)
    if isinstance(core.policy, Gate):
        core.policy.ask_for_claim = claims.ask_for
        core.facts.may_talk = region.regions.may_talk
        rooms.doors.directory.own = rooms.doors.directory.afar = OpenRooms(guests, rooms.doors.rooms)
    parts = (network, notices, claims)
    rounds = Rounds(database, parts, world, core.world.reactor, region.regions.may_talk)
    region.regions.on_change = rounds.hurry
    office = CooperationOffice(database, core.facts, network, notices, rounds)
    return CooperationParts(office=office, guests=guests, claims=claims, notices=notices, rounds=rounds)


def build_embassy(bureau: Bureau, parts: CooperationParts) -> Embassy:
    """Make what the commands of cooperation work with."""
    return Embassy(bureau=bureau, office=parts.office, guests=parts.guests, notices=parts.notices)


def cooperation_routes(parts: CooperationParts) -> tuple[Route, ...]:
    """The endpoints of cooperation for administrators."""
    return (*school_api.routes(parts.office), *guests_api.routes(parts.guests))


def claim_routes(core: Core, region: RegionParts, parts: CooperationParts) -> tuple[Route, ...]:
    """The endpoints of cooperation for other regions; none where there is no federation, or no school."""
    if region.regions.mode == "none" or core.world.settings.policy != "school":
        return ()
    return server_api.routes(parts.claims, parts.notices)
