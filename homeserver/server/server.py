"""The server itself: its routes by resource, its doors, its start and its end."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IListeningPort

from config.settings import Resource, Settings
from homeserver import VERSION
from homeserver.accounts.data import Filters
from homeserver.api import metrics as metrics_page
from homeserver.api.access import Instants, open_access_log
from homeserver.api.client import (
    absent,
    events,
    versions,
)
from homeserver.api.connection import EdgeFactory
from homeserver.api.edge import Attendants, Edge
from homeserver.api.listeners import Door, close_doors, open_doors
from homeserver.api.metrics import Metrics, watch_turns
from homeserver.api.route import Route
from homeserver.control import Run, open_control
from homeserver.schools.rounds import Rounds
from homeserver.server.accounts import account_routes, build_accounts, build_clerk
from homeserver.server.admin import admin_routes, build_admin
from homeserver.server.calls import call_routes
from homeserver.server.cooperation import build_cooperation, build_embassy, claim_routes, cooperation_routes
from homeserver.server.core import World, build_core
from homeserver.server.erasure import build_purges, build_sweeper
from homeserver.server.joins import build_joins, join_routes
from homeserver.server.media import build_media, media_admin_routes, media_routes
from homeserver.server.outbox import build_deliveries, build_ephemera, build_sending, destination_routes, service_routes
from homeserver.server.people import Parts, build_remote, remote_routes
from homeserver.server.receiving import build_receiving, policy_key_routes, receiving_routes
from homeserver.server.region import build_region, build_signed_requests, delegation_routes, region_routes
from homeserver.server.rooms import build_rooms, room_routes
from homeserver.server.rounds import build_retention
from homeserver.server.schools import build_bureau, school_routes
from homeserver.server.sync import build_sync, sync_routes
from homeserver.storage.database import Change
from homeserver.sync.events import build_events

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 7.0
"""How long a stop waits for what is being answered; a supervisor kills after ten."""
PUT_AWAY_S: Final = 2.0
"""How long a stop waits for the database after that."""


class Server:
    """A region's server: `start` it, and `stop` it within ten seconds."""

    def __init__(self, world: World) -> None:
        self.core = core = build_core(world)
        self.region = build_region(core)
        self.rooms = build_rooms(core)
        self.receiving = build_receiving(core, self.rooms, self.region)
        self.joins = build_joins(core, self.rooms, self.region, self.receiving)
        self.people = build_accounts(core, self.rooms)
        self.told = build_sync(core, self.rooms.doors.rooms)
        self.deliveries = build_deliveries(core, self.rooms.doors, self.told)
        self.sending = build_sending(core, self.rooms.doors, self.region)
        self.ephemera = build_ephemera(core, self.rooms.doors, self.told, self.sending)
        self.purges = build_purges(core, self.rooms, build_sweeper(core))
        self.media = build_media(core)
        self.remote = build_remote(
            core,
            Parts(
                region=self.region,
                rooms=self.rooms,
                people=self.people,
                told=self.told,
                receiving=self.receiving,
                media=self.media,
            ),
        )
        self.admin = build_admin(core, self.rooms, self.people, self.purges)
        self.clerk = build_clerk(core, self.rooms, self.people)
        self.bureau = build_bureau(core, self.rooms, self.people)
        self.cooperation = build_cooperation(core, self.rooms, self.region)
        self.embassy = build_embassy(self.bureau, self.cooperation)
        self.metrics = Metrics()
        self._reactor = world.reactor
        self._access = open_access_log(world.settings.log, world.reactor)
        self._control: IListeningPort | None = None
        self._rounds = Rounds(self.bureau.desk, world.reactor)
        self.retention = build_retention(core, self.rooms, self.clerk.erasures)
        self.doors = self._build_doors(world.settings)
        self.metrics.gauges.append(self._measure)
        core.database.on_commit = self._tell
        core.database.on_batch = lambda units, seconds: self.metrics.batches.add(units)

    def _build_doors(self, settings: Settings) -> tuple[Door, ...]:
        attendants = Attendants(
            reactor=self._reactor,
            instants=Instants(self.core.world.now_ms),
            find_session=self.people.sessions.find,
            note_seen=self.people.last_seen.note,
            identities=self.core.services.identities,
            limits=self.core.limits,
            metrics=self.metrics,
            access=self._access,
            spool_dir=settings.data_dir,
            signed=build_signed_requests(self.core.world.server_name, self.region, self.core.world.run),
            run=self.core.world.run,
        )
        resources = self._gather_routes(settings)
        doors = []
        for listener in settings.listeners:
            routes = dict.fromkeys(route for resource in listener.resources for route in resources.get(resource, ()))
            edge = Edge(routes, attendants, behind_proxy=listener.behind_proxy)
            doors.append(Door(listener=listener, factory=EdgeFactory(edge)))
        return tuple(doors)

    def _gather_routes(self, settings: Settings) -> dict[Resource, tuple[Route, ...]]:
        core, delegation, policy_key = self.core, delegation_routes(self.core), policy_key_routes(self.rooms)
        return {
            "client": (
                *delegation,
                *policy_key,
                *versions.routes(versions.build_discovery(settings), versions.build_support(settings.support)),
                *absent.routes(),
                *call_routes(core),
                *account_routes(core, self.rooms, self.people, self.told.counts.rules),
                *sync_routes(core, self.told, Filters(core.database)),
                *events.routes(build_events(self.told.sync, core.streams, core.database, self.rooms.doors)),
                *room_routes(core, self.rooms),
                *service_routes(core, self.rooms.doors, self.deliveries),
                *media_routes(core, self.media),
            ),
            "school": (*school_routes(self.bureau), *cooperation_routes(self.cooperation)),
            "admin": (
                *admin_routes(core, self.people, self.admin, self.clerk.erasures),
                *media_admin_routes(core, self.media),
                *destination_routes(core, self.region, self.sending),
            ),
            "metrics": metrics_page.routes(self.metrics),
            "federation": (
                *delegation,
                *(() if self.region.regions.mode == "none" else policy_key),
                *region_routes(core, self.region),
                *receiving_routes(core, self.region, self.receiving),
                *remote_routes(core, self.rooms, self.media, self.remote),
                *join_routes(self.region, self.joins),
                *claim_routes(core, self.region, self.cooperation),
            ),
        }

    def _tell(self, position: int, changes: Sequence[Change]) -> None:
        """Let those who remember things forget what a commit has changed, then wake who waits."""
        self.people.sessions.heed(position, changes)
        self.core.services.identities.heed(position, changes)
        self.core.facts.heed(changes)
        self.cooperation.rounds.heed(changes)
        self.told.counts.heed(changes)
        self.told.pushing.heed(position, changes)
        self.deliveries.heed(position, changes)
        self.sending.heed(position, changes)
        self.ephemera.heed(changes)
        self.core.streams.advance(position, changes)
        self.told.typing.heed(changes)
        self.rooms.follower.heed(changes)
        self.remote.heed(changes)

    def _measure(self) -> dict[str, float]:
        """Sizes for the metrics."""
        edges = [door.factory for door in self.doors]
        return {
            "stream_position": self.core.database.position,
            "live_rooms": self.rooms.doors.rooms.live,
            "known_sessions": self.people.sessions.known,
            "open_connections": sum(len(factory.channels) for factory in edges),
            "running_requests": sum(factory.edge.running for factory in edges),
            "destinations_away": self.region.peers.away,
            **self.region.regions.measure(),
            **self.sending.measure(),
            **self.cooperation.rounds.measure(),
        }

    async def prepare(self) -> None:
        """Finish what an earlier run left unfinished, and put right what time has changed."""
        await self.region.begin()
        if self.core.world.settings.policy == "school":
            await self.bureau.desk.settle_all()
        await self.clerk.erasures.resume()
        await self.rooms.propagations.resume()
        await self.told.pushing.resume()
        await self.core.services.identities.prepare()
        await self.deliveries.resume()
        await self.remote.resume()
        if self.region.regions.mode != "none":
            await self.sending.resume()
        await self.purges.resume()
        await self.admin.prepare()
        self.rooms.delayed.resume()
        self.rooms.follower.start()
        if self.core.world.settings.policy == "school":
            self.cooperation.rounds.start()

    async def start(self, run: Run) -> None:
        """Answer requests from now on; `run` does what the operator's commands ask for.

        Raises: CannotListen.
        """
        open_doors(self.doors, self._reactor)
        self.metrics.turns = watch_turns(self._reactor)
        self.retention.start()
        self._control = open_control(self.core.world.settings.data_dir, run, self._reactor)
        self.people.last_seen.start()
        self.media.upkeep.start()
        if self.core.world.settings.policy == "school":
            self._rounds.start()
        await self.prepare()
        places = ", ".join(place for door in self.doors for place in door.places())
        _log.info("parta %s serves %s on %s", VERSION, self.core.world.server_name, places)

    async def stop(self) -> None:
        """Accept nobody any more, answer who waits, finish what is being done, write it all down."""
        self._rounds.stop()
        self.cooperation.rounds.stop()
        self.retention.stop()
        self.region.regions.stop()
        self.region.peers.stop()
        self.remote.stop()
        self.receiving.beside.cancel()
        self.rooms.delayed.stop()
        self.rooms.follower.stop()
        if self._control is not None:
            self._control.stopListening()
        if any(door.ports for door in self.doors):
            _log.info("stopping")
        await close_doors(self.doors, self._reactor, PATIENCE_S)
        self.core.streams.close()
        self.told.typing.close()
        self.told.presences.close()
        try:
            await Deferred.fromCoroutine(self._put_away()).addTimeout(PUT_AWAY_S, self._reactor)
        except TimeoutError:
            _log.error("the database does not answer: what it has not committed is given up")
        if self._access is not None:
            self._access.flush()

    async def _put_away(self) -> None:
        """Write down what is only in memory, and let go of the database."""
        await self.media.upkeep.stop()
        await self.people.last_seen.stop()
        await self.admin.jobs.stop()
        await self.told.pushing.stop()
        await self.deliveries.stop()
        self.ephemera.stop()
        await self.sending.stop()
        await self.core.services.outward.close()
        await self.core.outward.close()
        await self.core.database.close()


def build_server(
    settings: Settings, reactor: Any, now_ms: Callable[[], int], token_bytes: Callable[[int], bytes]
) -> Server:
    """Make the server of a configuration.

    Raises: CannotOpen; BadKeyFile.
    """
    return Server(World(settings=settings, reactor=reactor, now_ms=now_ms, token_bytes=token_bytes))
