"""The composition of what comes from other servers into rooms, and of what they are given of them."""

from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from federation.transport.tasks import Tasks
from homeserver.api.route import Route
from homeserver.api.server import backfill, events, policy, transactions
from homeserver.rooms.backfill import Backfill
from homeserver.rooms.giving import Giving
from homeserver.rooms.receive.adopt import Adoption
from homeserver.rooms.receive.intake import World
from homeserver.rooms.receive.outside import Outside
from homeserver.rooms.receive.receiver import Receiver
from homeserver.rooms.receive.recommender import Recommender
from homeserver.rooms.receive.transactions import Transactions
from homeserver.rooms.turns import Turns
from homeserver.server.core import Core
from homeserver.server.region import RegionParts
from homeserver.server.rooms import RoomParts

_log: Final = Logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivingParts:
    """What takes in events of other servers, and gives them ours. Who takes an EDU puts itself into `transactions`."""

    world: World
    receiver: Receiver
    adoption: Adoption
    transactions: Transactions
    giving: Giving
    beside: Tasks


def build_receiving(core: Core, rooms: RoomParts, region: RegionParts) -> ReceivingParts:
    """Make what takes in and gives events."""
    beside = Tasks(lambda failure: _log.failure("what was to be told beside failed", failure))
    world = World(
        rooms=rooms.doors.rooms,
        database=core.database,
        outside=Outside(region.peers, region.keyring, core.world.run),
        turns=Turns(),
        policy=core.policy,
        beside=beside.run,
    )
    receiver = Receiver(world)
    rooms.doors.rooms.ask_to_sign = receiver.advisers.ask
    backfill = Backfill(world)
    rooms.doors.history.older = backfill.fetch
    rooms.doors.dates.fetch = backfill.fetch_event
    return ReceivingParts(
        world=world,
        receiver=receiver,
        adoption=Adoption(world),
        transactions=Transactions(receiver),
        giving=Giving(rooms.doors.rooms, core.database),
        beside=beside,
    )


def receiving_routes(core: Core, region: RegionParts, parts: ReceivingParts) -> tuple[Route, ...]:
    """The endpoints for other servers that concern events; none where there is no federation."""
    if region.regions.mode == "none":
        return ()
    server, now_ms = core.world.server_name, core.world.now_ms
    return (
        *transactions.routes(parts.transactions),
        *events.routes(parts.giving, server, now_ms),
        *backfill.routes(parts.giving, server, now_ms),
        *policy.routes(Recommender(parts.world)),
    )


def policy_key_routes(rooms: RoomParts) -> tuple[Route, ...]:
    """The endpoint that tells the key of this server as a policy server."""
    return policy.key_routes(rooms.doors.rooms.seal.policy_key)
