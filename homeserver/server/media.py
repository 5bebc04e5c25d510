"""The composition of media."""

from dataclasses import dataclass

from homeserver.api.admin import media as admin_media
from homeserver.api.client import media
from homeserver.api.route import Route
from homeserver.media.catalogue import Catalogue
from homeserver.media.files import Files
from homeserver.media.keeping import Keeping
from homeserver.media.media import Media
from homeserver.media.previews.addresses import Hosts
from homeserver.media.previews.previews import Previews
from homeserver.media.previews.reader import Reader
from homeserver.media.previews.web import Web
from homeserver.media.processes import Processes
from homeserver.media.remote import Place, RemoteMedia
from homeserver.media.sweeping import Sweeper
from homeserver.media.thumbnails import Thumbnails
from homeserver.media.upkeep import Upkeep
from homeserver.media.world import World as MediaWorld
from homeserver.server.core import Core
from homeserver.server.region import RegionParts


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaParts:
    """Files: the door to them, previews, the operators' hands, and their daily upkeep."""

    media: Media
    previews: Previews
    keeping: Keeping
    catalogue: Catalogue
    upkeep: Upkeep
    files: Files
    world: MediaWorld


def build_media(core: Core) -> MediaParts:
    """Make what keeps files and gives them out."""
    world, settings = core.world, core.world.settings
    name, database, reactor = world.server_name, core.database, world.reactor
    files = Files(settings.media.path, largest=settings.limits.upload_bytes)
    outside = MediaWorld(
        reactor=reactor, threads=reactor.getThreadPool(), now_ms=world.now_ms, token_bytes=world.token_bytes
    )
    processes = Processes(reactor, reactor)
    sweeper = Sweeper(database, files, reactor)
    return MediaParts(
        media=Media(name, database, core.policy, files, Thumbnails(files, processes), outside),
        previews=build_previews(core, files, processes, outside),
        keeping=Keeping(name, database, core.operators, sweeper, world.now_ms),
        catalogue=Catalogue(name, database, core.operators),
        files=files,
        world=outside,
        upkeep=Upkeep(name, database, files, sweeper, settings.media, outside),
    )


def build_remote_media(core: Core, parts: MediaParts, region: RegionParts) -> RemoteMedia:
    """Make what fetches files of other servers."""
    place = Place(
        peers=region.peers,
        outward=core.outward,
        check_host=region.regions.check_delegation,
        files=parts.files,
        database=core.database,
        world=parts.world,
        largest=core.world.settings.limits.upload_bytes,
    )
    return RemoteMedia(place)


def build_previews(core: Core, files: Files, processes: Processes, outside: MediaWorld) -> Previews:
    """Make what reads pages of the web; where previews are off, or a region of schools has listed no hosts, of none."""
    settings = core.world.settings.media
    named = settings.previews.hosts
    if named is None:
        named = ("*",) if core.world.settings.policy == "open" else ()
    hosts = Hosts(named if settings.url_previews else ())
    reader = Reader(
        server_name=core.world.server_name,
        web=Web(core.outward, core.world.reactor, hosts, settings.previews.languages),
        processes=processes,
        files=files,
        world=outside,
        settings=settings.previews,
    )
    return Previews(core.database, core.policy, reader, hosts, settings.previews, core.world.now_ms)


def media_routes(core: Core, parts: MediaParts) -> tuple[Route, ...]:
    """The endpoints of media."""
    settings = core.world.settings
    return media.routes(
        parts.media,
        parts.previews,
        upload_bytes=settings.limits.upload_bytes,
        legacy_paths=settings.media.legacy_paths,
    )


def media_admin_routes(core: Core, parts: MediaParts) -> tuple[Route, ...]:
    """The endpoints of operators about media."""
    return admin_media.routes(parts.keeping, parts.catalogue, core.world.server_name)
