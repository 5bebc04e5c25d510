"""The composition root: every part of the server is made here, once, and handed to the parts that use it.

Read it from top to bottom in the order of the layers: the world outside, the core, rooms, people, schools, sync; then
the routes by resource, and the server that answers them. Nothing else makes these objects, and none of them gets more
of the others than it uses.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IListeningPort

from config.settings import Resource, Settings
from homeserver import VERSION
from homeserver.accounts.accounts import Accounts
from homeserver.accounts.commands import Clerk
from homeserver.accounts.data import ClientConfig, Filters
from homeserver.accounts.interactive import Interactive
from homeserver.accounts.login import Logins
from homeserver.accounts.moderation import Moderation
from homeserver.accounts.nonces import Nonces
from homeserver.accounts.openid import OpenIDTokens
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.profile import Profiles
from homeserver.accounts.propagation import Propagations
from homeserver.accounts.registration import Registration
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.userdirectory import UserDirectory
from homeserver.api import metrics as metrics_page
from homeserver.api.access import Instants, open_access_log
from homeserver.api.admin import register as admin_register
from homeserver.api.client import (
    account,
    backup,
    capabilities,
    contacts,
    data,
    dehydrated,
    devices,
    events,
    filters,
    keys,
    login,
    media,
    moderation,
    networks,
    openid,
    presence,
    profile,
    pushers,
    pushrules,
    receipts,
    register,
    sliding,
    sync,
    todevice,
    typing,
    userdirectory,
    versions,
)
from homeserver.api.client import rooms as room_routes
from homeserver.api.connection import EdgeFactory
from homeserver.api.edge import Attendants, Edge
from homeserver.api.listeners import Door, close_doors, open_doors
from homeserver.api.metrics import Metrics, watch_turns
from homeserver.api.route import Route
from homeserver.api.school import organisations
from homeserver.api.school import people as school_people
from homeserver.control import Run, open_control
from homeserver.core import Core, World, build_core
from homeserver.devices.backup import Backups
from homeserver.devices.crosssigning import CrossSigning
from homeserver.devices.dehydrated import DehydratedDevices
from homeserver.devices.devices import Devices
from homeserver.devices.keys import Keys
from homeserver.devices.lastseen import LastSeen
from homeserver.devices.todevice import ToDevice
from homeserver.ephemeral.presence import Presences
from homeserver.ephemeral.receipts import Receipts
from homeserver.ephemeral.typing import Typing
from homeserver.media.files import Files
from homeserver.media.media import Media
from homeserver.media.media import World as MediaWorld
from homeserver.media.thumbnails import Thumbnails
from homeserver.push.counts import Counts
from homeserver.push.notifications import Notifications
from homeserver.push.pushers import Pushers
from homeserver.push.pushing import Pushing
from homeserver.push.pushing import World as PushWorld
from homeserver.push.rulebook import Rulebook
from homeserver.rooms.create import Creation
from homeserver.rooms.doors import Doors as RoomDoors
from homeserver.rooms.doors import build_doors
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Seal
from homeserver.schools.books import World as SchoolWorld
from homeserver.schools.commands import Bureau
from homeserver.schools.desk import Desk
from homeserver.schools.direct import DirectRooms
from homeserver.schools.office import Office
from homeserver.schools.roster.imports import Rosters
from homeserver.schools.rounds import Rounds
from homeserver.schools.sheets import Sheets
from homeserver.signing import load_signing_key
from homeserver.storage.database import Change
from homeserver.sync.answers import Sources
from homeserver.sync.events import build_events
from homeserver.sync.sync import Sync

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 7.0
"""How long a stop waits for what is being answered; a supervisor kills after ten."""
PUT_AWAY_S: Final = 2.0
"""How long a stop waits for the database after that."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountParts:
    """Accounts, their sessions and devices."""

    passwords: Passwords
    sessions: Sessions
    accounts: Accounts
    registration: Registration
    last_seen: LastSeen


def build_accounts(core: Core, rooms: RoomParts) -> AccountParts:
    """Make what people sign in with."""
    world, database, policy, now_ms = core.world, core.database, core.policy, core.world.now_ms
    passwords = Passwords(world.settings.passwords, world.reactor, world.token_bytes)
    rules = world.settings.registration
    return AccountParts(
        passwords=passwords,
        sessions=Sessions(database, policy, core.mint, now_ms),
        accounts=Accounts(database, policy, passwords, rooms.propagations, now_ms, core.limits.check),
        registration=Registration(database, passwords, core.mint, rules, world.server_name, now_ms),
        last_seen=LastSeen(database, world.reactor, now_ms),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncParts:
    """What people are told: syncs, what is unread, and who is there."""

    sync: Sync
    rulebook: Rulebook
    counts: Counts
    pushing: Pushing
    typing: Typing
    receipts: Receipts
    presences: Presences


def build_sync(core: Core, rooms: Rooms) -> SyncParts:
    """Make what tells people what is new."""
    world, database, streams, policy = core.world, core.database, core.streams, core.policy
    reactor, now_ms = world.reactor, world.now_ms
    rulebook = Rulebook(database)
    counts = Counts(database, streams, rulebook, rooms.find)
    typist = Typing(streams, policy, rooms.load, reactor)
    presences = Presences(database, streams, policy, reactor, now_ms, enabled=world.settings.presence)
    sources = Sources(
        database=database,
        policy=policy,
        streams=streams,
        rooms=rooms,
        typing=typist,
        presences=presences,
        notices=counts,
        clock=reactor,
        now_ms=now_ms,
    )
    push_world = PushWorld(
        database=database,
        rooms=rooms,
        rulebook=rulebook,
        counts=counts,
        outward=core.outward,
        clock=reactor,
        now_ms=now_ms,
        token_bytes=world.token_bytes,
        bare=world.settings.policy == "school",
    )
    return SyncParts(
        sync=Sync(sources),
        rulebook=rulebook,
        counts=counts,
        pushing=Pushing(push_world),
        typing=typist,
        receipts=Receipts(database, policy, rooms.load, now_ms),
        presences=presences,
    )


def build_bureau(core: Core, rooms: RoomParts, people: AccountParts) -> Bureau:
    """Make the offices of the schools."""
    database, facts, desk = core.database, core.facts, rooms.desk
    return Bureau(
        desk=desk,
        office=Office(database, facts, desk),
        rosters=Rosters(facts, desk),
        sheets=Sheets(database, facts, desk, people.passwords),
        passwords=people.passwords,
    )


def build_clerk(core: Core, rooms: RoomParts, people: AccountParts) -> Clerk:
    """Make the clerk that does the operator's commands on accounts."""
    return Clerk(
        server_name=core.world.server_name,
        database=core.database,
        registration=people.registration,
        accounts=people.accounts,
        propagations=rooms.propagations,
        mint=core.mint,
        now_ms=core.world.now_ms,
    )


def account_routes(core: Core, rooms: RoomParts, people: AccountParts, push_rules: data.Keeper) -> tuple[Route, ...]:
    """The endpoints of accounts, sessions, devices and keys."""
    database, policy, server_name = core.database, core.policy, core.world.server_name
    now_ms = core.world.now_ms
    interactive = Interactive(people.accounts, people.registration, core.mint, server_name, now_ms)
    logins = Logins(database, policy, people.accounts, core.mint)
    return (
        *login.routes(logins, people.sessions, server_name),
        *register.routes(people.registration, interactive, logins, server_name),
        *account.routes(people.accounts, interactive),
        *contacts.routes(),
        *devices.routes(Devices(database), interactive),
        *profile.routes(rooms.profiles),
        *data.routes(ClientConfig(database), {"m.push_rules": push_rules}),
        *keys.routes(Keys(database, policy), CrossSigning(database, policy), interactive),
        *todevice.routes(ToDevice(database, policy, now_ms)),
        *backup.routes(Backups(database)),
        *dehydrated.routes(DehydratedDevices(database, now_ms)),
        *openid.routes(OpenIDTokens(database, policy, core.mint, now_ms), server_name),
        *moderation.routes(Moderation(database, server_name, now_ms)),
        *networks.routes(),
        *userdirectory.routes(UserDirectory(database, policy)),
        *capabilities.routes(policy, default_version=core.world.settings.rooms.default_version),
    )


def sync_routes(core: Core, told: SyncParts, stored: Filters) -> tuple[Route, ...]:
    """The endpoints of sync and of what is told in it beside events."""
    return (
        *sync.routes(told.sync, stored),
        *sliding.routes(told.sync.sliding),
        *filters.routes(stored),
        *pushrules.routes(told.rulebook),
        *pushers.routes(Pushers(core.database, core.world.now_ms), Notifications(core.database, told.rulebook)),
        *typing.routes(told.typing),
        *receipts.routes(told.receipts),
        *presence.routes(told.presences),
    )


def media_routes(core: Core) -> tuple[Route, ...]:
    """The endpoints of media."""
    world, settings = core.world, core.world.settings
    reactor = world.reactor
    files = Files(settings.media.path, largest=settings.limits.upload_bytes)
    outside = MediaWorld(
        reactor=reactor, threads=reactor.getThreadPool(), now_ms=world.now_ms, token_bytes=world.token_bytes
    )
    store = Media(world.server_name, core.database, core.policy, files, Thumbnails(files, reactor, reactor), outside)
    return media.routes(store, upload_bytes=settings.limits.upload_bytes, legacy_paths=settings.media.legacy_paths)


def admin_routes(core: Core, people: AccountParts) -> tuple[Route, ...]:
    """The endpoints for operators and their tools."""
    secret = core.world.settings.registration.shared_secret
    nonces = None if secret is None else Nonces(secret, core.mint, core.world.now_ms)
    return admin_register.routes(people.registration, nonces, core.world.server_name)


class Server:
    """A region's server: `start` it, and `stop` it within ten seconds."""

    def __init__(self, world: World) -> None:
        self.core = core = build_core(world)
        self.rooms = build_rooms(core)
        self.people = build_accounts(core, self.rooms)
        self.told = build_sync(core, self.rooms.doors.rooms)
        self.clerk = build_clerk(core, self.rooms, self.people)
        self.bureau = build_bureau(core, self.rooms, self.people)
        self.metrics = Metrics()
        self._reactor = world.reactor
        self._access = open_access_log(world.settings.log, world.reactor)
        self._control: IListeningPort | None = None
        self._rounds = Rounds(self.bureau.desk, world.reactor)
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
            limits=self.core.limits,
            metrics=self.metrics,
            access=self._access,
            spool_dir=settings.data_dir,
        )
        resources = self._gather_routes(settings)
        doors = []
        for listener in settings.listeners:
            routes = [route for resource in listener.resources for route in resources.get(resource, ())]
            edge = Edge(routes, attendants, behind_proxy=listener.behind_proxy)
            doors.append(Door(listener=listener, factory=EdgeFactory(edge)))
        return tuple(doors)

    def _gather_routes(self, settings: Settings) -> dict[Resource, tuple[Route, ...]]:
        core = self.core
        return {
            "client": (
                *versions.routes(
                    settings.public_base_url, settings.identity_server, versions.build_support(settings.support)
                ),
                *account_routes(core, self.rooms, self.people, self.told.counts.rules),
                *sync_routes(core, self.told, Filters(core.database)),
                *events.routes(build_events(self.told.sync, core.streams, core.database, self.rooms.doors)),
                *room_routes.routes(self.rooms.doors, core.world.now_ms, core.world.server_name),
                *media_routes(core),
            ),
            "school": (
                *organisations.routes(self.bureau.office),
                *school_people.routes(self.bureau.office, self.bureau.rosters, self.bureau.sheets),
            ),
            "admin": admin_routes(core, self.people),
            "metrics": metrics_page.routes(self.metrics),
        }

    def _tell(self, position: int, changes: Sequence[Change]) -> None:
        """Let those who remember things forget what a commit has changed, then wake who waits."""
        self.people.sessions.heed(position, changes)
        self.core.facts.heed(changes)
        self.told.counts.heed(changes)
        self.told.pushing.heed(position, changes)
        self.core.streams.advance(position, changes)

    def _measure(self) -> dict[str, float]:
        """Sizes for the metrics."""
        edges = [door.factory for door in self.doors]
        return {
            "stream_position": self.core.database.position,
            "live_rooms": self.rooms.doors.rooms.live,
            "known_sessions": self.people.sessions.known,
            "open_connections": sum(len(factory.channels) for factory in edges),
            "running_requests": sum(factory.edge.running for factory in edges),
        }

    async def prepare(self) -> None:
        """Finish what an earlier run left unfinished, and put right what time has changed."""
        if self.core.world.settings.policy == "school":
            await self.bureau.desk.settle_all()
        await self.rooms.propagations.resume()
        await self.told.pushing.resume()

    async def start(self, run: Run) -> None:
        """Answer requests from now on; `run` does what the operator's commands ask for.

        Raises: CannotListen.
        """
        open_doors(self.doors, self._reactor)
        self.metrics.turns = watch_turns(self._reactor)
        self._control = open_control(self.core.world.settings.data_dir, run, self._reactor)
        self.people.last_seen.start()
        if self.core.world.settings.policy == "school":
            self._rounds.start()
        await self.prepare()
        places = ", ".join(place for door in self.doors for place in door.places())
        _log.info("parta %s serves %s on %s", VERSION, self.core.world.server_name, places)

    async def stop(self) -> None:
        """Accept nobody any more, answer who waits, finish what is being done, write it all down."""
        self._rounds.stop()
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
        await self.people.last_seen.stop()
        await self.told.pushing.stop()
        await self.core.outward.close()
        await self.core.database.close()


def build_server(
    settings: Settings, reactor: Any, now_ms: Callable[[], int], token_bytes: Callable[[int], bytes]
) -> Server:
    """Make the server of a configuration.

    Raises: CannotOpen; BadKeyFile.
    """
    return Server(World(settings=settings, reactor=reactor, now_ms=now_ms, token_bytes=token_bytes))
