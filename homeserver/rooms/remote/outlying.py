"""What our people are in rooms where this server has no part."""

from federation.event import Event
from federation.ids import RoomID, ServerName, UserID
from homeserver.rooms.outlying import OutlyingRoom
from homeserver.rooms.remote.ground import Ground
from homeserver.storage.database import Database
from homeserver.storage.events import RoomEvent
from homeserver.storage.invites import Bounds, Outlying, Shown, find_outlying, set_invited, set_outlying
from homeserver.storage.rooms import RoomRecord

__all__ = ["Outlying", "build_seen", "load_outlying", "servers_by", "set_invitation", "set_move"]


async def load_outlying(database: Database, user_id: UserID, room_id: str) -> Outlying | None:
    """What somebody of ours is in a room, by their last membership event."""
    return await database.read(find_outlying, user_id, room_id)


def servers_by(known: Outlying | None) -> list[ServerName]:
    """The servers that may know a room, by what is known of somebody's membership there."""
    if known is None:
        return []
    shown = known.shown.servers if known.shown is not None else ()
    return [*shown, known.event.event.origin]


def build_seen(person: UserID, room_id: RoomID, known: Outlying | None) -> OutlyingRoom:
    """The room as the policy may ask of it, by what is known of somebody's membership there."""
    return OutlyingRoom(room_id, {} if known is None else {person: known.membership.membership})


async def set_move(ground: Ground, event: Event, shown: Shown | None = None) -> None:
    """Keep what an event makes one of ours in a room where this server has no part; the room's turn is ours."""
    await ground.database.write(set_outlying, *_build_rows(ground, event), shown)


async def set_invitation(ground: Ground, event: Event, shown: Shown, bounds: Bounds) -> None:
    """Keep an invitation of another server's in the same way, unless too many are open.

    Raises: TooManyOpen.
    """
    await ground.database.write(set_invited, *_build_rows(ground, event), shown, bounds)


def _build_rows(ground: Ground, event: Event) -> tuple[RoomRecord, RoomEvent]:
    """A room and an event as they are kept if they are new."""
    seal = ground.seal
    creator = event.sender
    record = RoomRecord(nid=seal.next_id("rooms"), room_id=event.room_id, version=event.version, creator=creator)
    return record, RoomEvent(event, nid=seal.next_id("events"), room_nid=record.nid, group=0)
