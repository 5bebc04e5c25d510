"""The composition of media."""

from homeserver.api.client import (
    media,
)
from homeserver.api.route import Route
from homeserver.media.files import Files
from homeserver.media.media import Media
from homeserver.media.media import World as MediaWorld
from homeserver.media.thumbnails import Thumbnails
from homeserver.server.core import Core


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
