"""The composition of memberships across servers."""

from dataclasses import dataclass

from homeserver.api.route import Route
from homeserver.api.server import invites, joins
from homeserver.rooms.remote.entries import Entries
from homeserver.rooms.remote.ground import Ground
from homeserver.rooms.remote.invited import Invited
from homeserver.rooms.remote.remote import Remote
from homeserver.rooms.remote.resident import Resident
from homeserver.rooms.remote.third import ThirdParty
from homeserver.server.core import Core
from homeserver.server.receiving import ReceivingParts
from homeserver.server.region import RegionParts
from homeserver.server.rooms import RoomParts


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinParts:
    """What lets people of other servers in and out, takes invitations, and gets ours into rooms elsewhere."""

    resident: Resident
    invited: Invited
    remote: Remote
    third_party: ThirdParty


def build_joins(core: Core, rooms: RoomParts, region: RegionParts, receiving: ReceivingParts) -> JoinParts:
    """Make what concerns memberships across servers, and open the doors of rooms to it where there is federation."""
    entries = Entries(core.world.reactor)
    ground = Ground(
        world=receiving.world,
        peers=region.peers,
        receiver=receiving.receiver,
        adoption=receiving.adoption,
        entries=entries,
    )
    parts = JoinParts(
        resident=Resident(ground),
        invited=Invited(ground, core.services.questions),
        remote=Remote(ground),
        third_party=ThirdParty(ground),
    )
    if region.regions.mode != "none":
        rooms.doors.memberships.beyond = parts.remote
        rooms.doors.aliases.beyond = parts.remote
        rooms.doors.creation.beyond = parts.remote
        receiving.receiver.heed_outlying = parts.invited.heed
        receiving.receiver.wait_for_entry = entries.wait_for
    return parts


def join_routes(region: RegionParts, parts: JoinParts) -> tuple[Route, ...]:
    """The endpoints for other servers that concern memberships; none where there is no federation."""
    if region.regions.mode == "none":
        return ()
    return (
        *joins.routes(parts.resident),
        *invites.routes(parts.invited),
        *invites.third_party_routes(parts.third_party),
    )
