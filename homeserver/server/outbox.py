"""The composition of what leaves for others: transactions to application services and to other servers."""

from homeserver.api.admin import federation
from homeserver.api.client import appservice
from homeserver.api.route import Route
from homeserver.outbox import servers
from homeserver.outbox.servers.inspection import Destinations
from homeserver.outbox.services import Deliveries, World
from homeserver.rooms.doors import Doors
from homeserver.server.core import Core
from homeserver.server.region import RegionParts
from homeserver.server.sync import SyncParts


def build_deliveries(core: Core, doors: Doors, told: SyncParts) -> Deliveries:
    """Make what tells application services; typing and presence are told to it, too."""
    world = core.world
    deliveries = Deliveries(
        World(
            database=core.database,
            rooms=doors.rooms,
            questions=core.services.questions,
            typing=told.typing,
            presences=told.presences,
            policy=core.policy,
            clock=world.reactor,
            now_ms=world.now_ms,
            token_bytes=world.token_bytes,
        )
    )
    if core.services.questions.services.all:
        core.streams.bystanders.append(deliveries)
    return deliveries


def build_sending(core: Core, doors: Doors, region: RegionParts) -> servers.Sending:
    """Make what tells other servers; whoever of them calls is told at once."""
    world = core.world
    sending = servers.Sending(
        servers.World(
            server=world.server_name,
            database=core.database,
            rooms=doors.rooms,
            peers=region.peers,
            clock=world.reactor,
            now_ms=world.now_ms,
            token_bytes=world.token_bytes,
        )
    )
    region.peers.on_heard = sending.note_heard
    return sending


def build_ephemera(core: Core, doors: Doors, told: SyncParts, sending: servers.Sending) -> servers.Ephemera:
    """Make what tells other servers who types, reads and is there; of a school's people, the last is not told."""
    ephemera = servers.Ephemera(sending, doors.rooms, core.database, told.typing, told.presences, core.world.reactor)
    ephemera.tells_presence = core.world.settings.policy != "school"
    if core.world.settings.federation.mode != "none":
        core.streams.bystanders.append(ephemera)
    return ephemera


def destination_routes(core: Core, region: RegionParts, sending: servers.Sending) -> tuple[Route, ...]:
    """The endpoints by which operators see the other servers."""
    return federation.routes(Destinations(core.database, core.operators, region.peers, sending))


def service_routes(core: Core, doors: Doors, deliveries: Deliveries) -> tuple[Route, ...]:
    """The endpoints for application services."""
    return appservice.routes(core.services.questions, doors.networks, deliveries.hurry, core.world.now_ms)
