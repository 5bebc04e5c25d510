"""What our people are in rooms where this server has no part."""

from federation.event import Event
from federation.ids import UserID
from homeserver.rooms.remote.ground import Ground
from homeserver.storage.database import Database
from homeserver.storage.events import RoomEvent
from homeserver.storage.invites import Outlying, Shown, find_outlying, set_outlying
from homeserver.storage.rooms import RoomRecord

__all__ = ["Outlying", "load_outlying", "set_move"]


async def load_outlying(database: Database, user_id: UserID, room_id: str) -> Outlying | None:
    """What somebody of ours is in a room, by their last membership event."""
    return await database.read(find_outlying, user_id, room_id)


async def set_move(ground: Ground, event: Event, shown: Shown | None = None) -> None:
    """Keep what an event makes one of ours in a room where this server has no part; the room's turn is ours."""
    seal = ground.seal
    creator = event.sender
    record = RoomRecord(nid=seal.next_id("rooms"), room_id=event.room_id, version=event.version, creator=creator)
    held = RoomEvent(event, nid=seal.next_id("events"), room_nid=record.nid, group=0)
    await ground.database.write(set_outlying, record, held, shown)
