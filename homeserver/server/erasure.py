"""The composition of what removes: rooms, their past, and the files that nothing shows any more."""

from homeserver.media.files import Files
from homeserver.media.sweeping import Sweeper
from homeserver.rooms.purging import Purges
from homeserver.rooms.purging import World as PurgeWorld
from homeserver.server.core import Core
from homeserver.server.rooms import RoomParts


def build_sweeper(core: Core) -> Sweeper:
    """Make what takes doomed files from the disk."""
    settings = core.world.settings
    return Sweeper(core.database, Files(settings.media.path, largest=settings.limits.upload_bytes), core.world.reactor)


def build_purges(core: Core, rooms: RoomParts, sweeper: Sweeper) -> Purges:
    """Make what removes rooms and their history."""
    live = rooms.doors.rooms
    return Purges(
        PurgeWorld(
            rooms=live,
            database=core.database,
            creation=rooms.doors.creation,
            sweep=sweeper.sweep,
            new_id=live.seal.make_opaque,
        )
    )
