"""The composition of exports of people."""

from homeserver.media.files import Files
from homeserver.schools.books import World as SchoolWorld
from homeserver.schools.export.exports import Exports
from homeserver.schools.export.exports import World as ExportsWorld
from homeserver.schools.export.person import Exporter
from homeserver.schools.export.person import World as ExportWorld
from homeserver.server.core import Core


def build_exporter(core: Core) -> Exporter:
    """Make what writes exports."""
    settings = core.world.settings
    files = Files(settings.media.path, largest=settings.limits.upload_bytes)
    return Exporter(ExportWorld(database=core.database, files=files, reactor=core.world.reactor))


def build_exports(core: Core) -> Exports:
    """Make what lets schools export their people."""
    world = core.world
    outside = SchoolWorld(server=world.server_name, now_ms=world.now_ms, token_bytes=world.token_bytes)
    return Exports(
        ExportsWorld(
            database=core.database,
            facts=core.facts,
            exporter=build_exporter(core),
            folder=world.settings.data_dir / "exports",
            new_id=outside.new_id,
            now_ms=world.now_ms,
        )
    )
