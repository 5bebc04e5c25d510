"""The composition of federation: with whom, where they are, how they are asked, and what they may ask here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from federation.errors import BadKey
from federation.ids import ServerName, parse_server_name
from federation.transport.discovery import Discovery, Sources
from federation.transport.keyring import Archive, Keyring
from federation.transport.peers import Peers, Sender
from federation.transport.resolver import SystemResolver
from homeserver.api.route import Route
from homeserver.api.server import keys, version
from homeserver.api.signed import SignedRequests
from homeserver.regions import Ground, Regions
from homeserver.server.core import Core
from homeserver.signing import BadKeyFile, OwnKeys, Published, load_own_keys
from homeserver.storage.destinations import StoredDestinations
from homeserver.storage.serverkeys import StoredKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionParts:
    """The server among the others. `keys` are its own, `published` gives them as others see them."""

    keys: OwnKeys
    published: Published
    regions: Regions
    peers: Peers
    keyring: Keyring
    stored_keys: StoredKeys

    async def begin(self) -> None:
        """Remember with whom to talk, and who could not be reached."""
        if self.regions.mode != "none":
            await self.regions.begin()
            await self.peers.begin()
            await self.stored_keys.tidy()


def build_region(core: Core) -> RegionParts:
    """Make what talks with other servers; the signing key is loaded, or made at the first start.

    Raises: BadKeyFile, also for a key of the federation's authority that is none.
    """
    world, server = core.world, core.world.server_name
    own = load_own_keys(world.settings.data_dir, world.token_bytes, world.now_ms())
    published = Published(server, own, world.now_ms)
    regions = _build_regions(core)
    peers = _build_peers(core, own, regions)
    stored_keys = StoredKeys(core.database)
    keyring = Keyring(
        Archive(
            ours=published,
            peers=peers,
            store=stored_keys,
            notaries=[parse_server_name(notary) for notary in world.settings.federation.notaries],
            find_listed=regions.find_keys,
            check=regions.check,
            now_ms=world.now_ms,
            reactor=world.reactor,
            threads=world.reactor.getThreadPool(),
        )
    )
    return RegionParts(
        keys=own, published=published, regions=regions, peers=peers, keyring=keyring, stored_keys=stored_keys
    )


def _build_regions(core: Core) -> Regions:
    world = core.world
    ground = Ground(
        server=world.server_name,
        settings=world.settings.federation,
        database=core.database,
        outward=core.outward,
        now_ms=world.now_ms,
        reactor=world.reactor,
    )
    try:
        return Regions(ground)
    except BadKey as fault:
        raise BadKeyFile(f"federation.list.authority_keys: {fault}") from None


def _build_peers(core: Core, own: OwnKeys, regions: Regions) -> Peers:
    world = core.world

    def chance() -> float:
        return int.from_bytes(world.token_bytes(4)) / 2**32

    discovery = Discovery(
        Sources(
            outward=core.outward,
            resolver=SystemResolver(world.reactor),
            now_ms=world.now_ms,
            chance=chance,
            check_delegation=regions.check_delegation,
        )
    )
    return Peers(
        Sender(
            server=world.server_name,
            key=own.current,
            outward=core.outward,
            discovery=discovery,
            destinations=StoredDestinations(core.database),
            now_ms=world.now_ms,
            chance=chance,
            check=regions.check,
            run=world.run,
        )
    )


def build_signed_requests(
    server: ServerName, region: RegionParts, run: Callable[..., Awaitable[Any]]
) -> SignedRequests:
    """Make what tells whose request it is."""
    return SignedRequests(
        server=server,
        check=region.regions.check,
        find_key=region.keyring.find_key,
        note_heard=region.peers.heard_from,
        run=run,
    )


def region_routes(core: Core, region: RegionParts) -> tuple[Route, ...]:
    """The endpoints for other servers; none where there is no federation."""
    if region.regions.mode == "none":
        return ()
    return (
        *version.routes(),
        *keys.routes(region.keyring, region.published, region.keys.current, core.world.now_ms),
    )


def delegation_routes(core: Core) -> tuple[Route, ...]:
    """The endpoint that tells other servers where this one is, for wherever its name leads."""
    federation = core.world.settings.federation
    return version.delegation_routes(None if federation.mode == "none" else federation.delegate)
