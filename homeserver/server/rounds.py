"""The composition of what goes on rounds through the rooms."""

from homeserver.accounts.erasure import Erasures
from homeserver.rooms.retention import Retention
from homeserver.rooms.retention import World as RetentionWorld
from homeserver.server.core import Core
from homeserver.server.erasure import build_sweeper
from homeserver.server.retention import build_rules
from homeserver.server.rooms import RoomParts


def build_retention(core: Core, rooms: RoomParts, erasures: Erasures) -> Retention:
    """Make what removes messages that are too old."""
    settings = core.world.settings
    outside = RetentionWorld(
        rooms=rooms.doors.rooms,
        database=core.database,
        clock=core.world.reactor,
        sweep=build_sweeper(core).sweep,
        finish=erasures.finish,
        every_s=settings.retention.every_minutes * 60,
    )
    return Retention(outside, build_rules(settings))
