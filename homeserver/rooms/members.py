"""Who is in a room, now or at some point of its history.

Spec: client-server-api#get_matrixclientv3roomsroomidmembers
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from federation.ids import RoomID, StateKey, UserID
from homeserver.rooms.places import find_token_place
from homeserver.rooms.room import Room
from homeserver.rooms.view import View, Views
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import Place, RoomEvent, load_page
from homeserver.storage.members import load_memberships
from homeserver.storage.state import load_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which members: at a token (None: now), with one membership, without another."""

    at: Place | int | None = None
    membership: str | None = None
    not_membership: str | None = None

    def choose(self, state: Mapping[StateKey, RoomEvent]) -> list[RoomEvent]:
        """The wanted among the member events of a state."""
        members = [held for (kind, _), held in state.items() if kind == "m.room.member"]
        wanted, unwanted = self.membership, self.not_membership
        if wanted is not None:
            members = [held for held in members if held.membership == wanted]
        return members if unwanted is None else [held for held in members if held.membership != unwanted]


class Members:
    """Tells who is in rooms. Methods raise Hidden for a room that is not there or not for the asker, and Refused."""

    def __init__(self, database: Database, views: Views) -> None:
        self._db = database
        self._views = views

    async def events(self, by: UserID, room_id: str, which: Which) -> Sequence[RoomEvent]:
        """The member events of a room.

        Spec: client-server-api#get_matrixclientv3roomsroomidmembers
        """
        view = await self._views.open(by, room_id)
        if view.left is None and which.at is None:
            return which.choose(view.room.shown.state)
        return which.choose(await self._db.read(_read_state, view, which.at))

    async def joined(self, by: UserID, room_id: str) -> Mapping[UserID, RoomEvent]:
        """The joined members' events, for those among them.

        Spec: client-server-api#get_matrixclientv3roomsroomidjoined_members
        """
        return (await self._views.open_joined(by, room_id)).joined_members

    async def joined_rooms(self, by: UserID) -> list[RoomID]:
        """The rooms that somebody is joined to.

        Spec: client-server-api#get_matrixclientv3joined_rooms
        """
        return [held.room_id for held in await self._db.read(load_memberships, by, "join")]


def _read_state(txn: Txn, view: View, at: Place | int | None) -> Mapping[StateKey, RoomEvent]:
    """The state at a token, but not later than the viewer left."""
    room: Room = view.room
    left = view.left
    place = left.place if at is None and left is not None else find_token_place(txn, room.nid, at or 0)
    if left is not None and place >= left.place:
        return load_state(txn, room.record, left.group)
    last = load_page(txn, room.record, place, 1, backwards=True)
    return load_state(txn, room.record, last[0].group) if last else {}
