"""The composition of what removes: rooms, their past, and the files that nothing shows any more."""

from homeserver.accounts.erasure import Erasures
from homeserver.accounts.erasure import World as ErasureWorld
from homeserver.media.files import Files
from homeserver.media.sweeping import Sweeper
from homeserver.rooms.purging import Purges
from homeserver.rooms.purging import World as PurgeWorld
from homeserver.rooms.traces import Traces
from homeserver.schools.gate import service_account
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


def build_erasures(core: Core, rooms: RoomParts, sweeper: Sweeper) -> Erasures:
    """Make what erases people."""
    traces = Traces(rooms.doors.rooms, core.database, service_account(core.world.server_name))
    return Erasures(
        ErasureWorld(
            database=core.database,
            propagations=rooms.propagations,
            traces=traces,
            sweep=sweeper.sweep,
            now_ms=core.world.now_ms,
        )
    )
