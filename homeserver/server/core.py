"""What every part of a server stands on: the world outside, and what is made of it first; the ground of `server`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

from msgspec.structs import asdict
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from config.settings import Settings
from federation.ids import ServerName, parse_server_name
from federation.transport.agent import Outward, Rules
from homeserver.accounts.tokens import Mint
from homeserver.api.limits import RateLimits
from homeserver.operators import Operators
from homeserver.policy import OpenPolicy, Policy
from homeserver.rooms.notices import Voice, build_voice
from homeserver.schools.facts import Facts
from homeserver.schools.gate import Gate, service_account
from homeserver.schools.visitors import Visitors
from homeserver.server.services import ServiceParts, build_service_parts
from homeserver.storage.database import Database, open_database
from homeserver.streams import Streams

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is outside: the configuration, the reactor (the real one), the clock and chance."""

    settings: Settings
    reactor: Any
    now_ms: Callable[[], int]
    token_bytes: Callable[[int], bytes]

    def run(self, work: Callable[[*Ts], T], /, *args: *Ts) -> Deferred[T]:
        """Do work in a thread."""
        ran: Deferred[T] = deferToThreadPool(self.reactor, self.reactor.getThreadPool(), work, *args)
        return ran

    @property
    def voice(self) -> Voice | None:
        """In whose name the server gives notices; None: it gives none."""
        notices = self.settings.server_notices
        if notices.localpart is None:
            return None
        return build_voice(notices.localpart, self.server_name, notices.display_name, notices.room_name)

    @property
    def server_name(self) -> ServerName:
        """The region's name on the wire."""
        return parse_server_name(self.settings.server_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What everything stands on. `facts` is what the schools' policy judges by, also when the policy is open."""

    world: World
    database: Database
    streams: Streams
    facts: Facts
    visitors: Visitors
    policy: Policy
    operators: Operators
    mint: Mint
    limits: RateLimits
    outward: Outward
    services: ServiceParts


def build_core(world: World) -> Core:
    """Open the database and make the core.

    Raises: CannotOpen; OSError; ConfigError for an application service's registration.
    """
    settings, now_ms = world.settings, world.now_ms
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(settings.database, settings.data_dir, world.reactor, now_ms)
    services = build_service_parts(settings, database, world.reactor, now_ms)
    facts = Facts(database, now_ms)
    visitors = Visitors(services.identities)
    policy = _build_policy(world, facts, visitors)
    return Core(
        world=world,
        database=database,
        streams=Streams(database, world.reactor, now_ms()),
        facts=facts,
        visitors=visitors,
        policy=policy,
        operators=Operators(database, policy, now_ms),
        mint=Mint(world.token_bytes, now_ms),
        limits=RateLimits(enabled=settings.limits.rates, now_ms=now_ms),
        outward=Outward(world.reactor, Rules(**asdict(settings.network))),
        services=services,
    )


def _build_policy(world: World, facts: Facts, visitors: Visitors) -> Policy:
    if world.settings.policy == "open":
        return OpenPolicy()
    voice = world.voice
    return Gate(facts, service_account(world.server_name), None if voice is None else voice.user_id, visitors)
