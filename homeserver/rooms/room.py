"""The live room: a room that is in use, in memory."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from federation.event import Event
from federation.ids import EventID, RoomID, UserID
from federation.versions import RoomVersion
from homeserver.rooms.head import Head
from homeserver.storage.events import Origin, RoomEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event that somebody of ours wants to send; the room gives it its place."""

    type: str
    sender: UserID
    content: Mapping[str, object]
    state_key: str | None = None
    redacts: EventID | None = None
    origin: Origin | None = None


class Room:
    """A live room. `head` is what new events build on, `shown` what is committed and may be shown.

    `recent` are the last committed events in ascending stream order: every event of the room with a stream position
    above `recent_floor` is in it.
    """

    nid: int
    room_id: RoomID
    version: RoomVersion
    create: Event
    head: Head
    shown: Head
    recent: deque[RoomEvent]
    recent_floor: int

    def state(self, event_type: str, state_key: str = "", /) -> Event | None:
        """The current (committed) state event under that key."""
        return self.shown.find((event_type, state_key))

    def membership(self, user_id: UserID, /) -> str | None:
        """The current (committed) membership of that person, None if there never was one."""
        member = self.shown.find(("m.room.member", user_id))
        return member.membership if member is not None else None
