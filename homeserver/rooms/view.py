"""The door to what a room holds: who may read it at all, and as of when."""

from dataclasses import dataclass

from federation.ids import UserID
from homeserver.policy import Hidden, Policy, SeeRoom
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.members import find_membership
from homeserver.storage.rooms import is_joined
from homeserver.storage.state import load_key_events

_LEFT = ("leave", "ban")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A room that somebody may read; `left` is the membership event that ended it for those who have left."""

    room: Room
    user_id: UserID
    left: RoomEvent | None = None


class Views:
    """Opens rooms for reading."""

    def __init__(self, rooms: Rooms, database: Database, policy: Policy) -> None:
        self._rooms = rooms
        self._db = database
        self._policy = policy

    async def open(self, user_id: UserID, room_id: str) -> View:
        """A room for somebody who is joined, was joined and has not forgotten it, or may look in from outside.

        Raises: Hidden for everybody else, and for a room that does not exist; Refused.
        Spec: client-server-api#room-history-visibility
        """
        room = await self._rooms.load(room_id)
        if room is None:
            raise Hidden
        if user_id in room.joined_members:
            return View(room=room, user_id=user_id)
        left = await self._find_left(room, user_id)
        if left is None and not is_world_readable(room):
            raise Hidden
        await self._policy.check(SeeRoom(by=user_id, room=room))
        return View(room=room, user_id=user_id, left=left)

    async def open_joined(self, user_id: UserID, room_id: str) -> Room:
        """A room for somebody who is joined.

        Raises: Hidden for everybody else, and for a room that does not exist: after the same work, so that the time
            tells nothing either, whether the room is in memory or not.
        """
        live = self._rooms.find(room_id)
        is_known = live is not None and user_id in live.joined_members
        if not is_known and not await self._db.read(is_joined, user_id, room_id):
            raise Hidden
        room = await self._rooms.load(room_id)
        if room is None or user_id not in room.joined_members:
            raise Hidden
        return room

    async def _find_left(self, room: Room, user_id: UserID) -> RoomEvent | None:
        member = room.shown.state.get(("m.room.member", user_id))
        if member is None or member.event.membership not in _LEFT:
            return None
        remembered = await self._db.read(_remembers, room.nid, user_id)
        return member if remembered else None


def is_world_readable(room: Room) -> bool:
    """Whether anybody may read what is sent now.

    Spec: client-server-api#room-history-visibility
    """
    rule = room.state("m.room.history_visibility")
    return rule is not None and rule.content.get("history_visibility") == "world_readable"


def _remembers(txn: Txn, room_nid: int, user_id: UserID) -> bool:
    """Whether somebody was ever joined, and has not forgotten the room."""
    membership = find_membership(txn, user_id, room_nid)
    if membership is None or membership.forgotten:
        return False
    events = load_key_events(txn, room_nid, ("m.room.member", user_id))
    return any(event.membership == "join" for event in events.values())
