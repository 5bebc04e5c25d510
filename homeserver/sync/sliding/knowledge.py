"""What filters ask of rooms beside their place in the roster: what they are, and what spaces name."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from federation.ids import RoomID
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.storage.database import Database
from homeserver.storage.sliding import Nature, load_natures, room_type
from homeserver.sync.sliding.requests import SlidingRequest
from homeserver.sync.sliding.rooms import LiveRooms
from homeserver.sync.sliding.rosters import Place, Roster
from homeserver.sync.sliding.scopes import Knowledge
from homeserver.sync.views import ENCRYPTION

MOST_NATURES: Final = 100_000


class Natures:
    """What rooms are, remembered as long as nothing has changed in them."""

    def __init__(self, database: Database, rooms: Rooms, live: LiveRooms) -> None:
        self._database = database
        self._rooms = rooms
        self._live = live
        self._known: OrderedDict[RoomID, tuple[int, Nature]] = OrderedDict()

    async def load(self, request: SlidingRequest, roster: Roster) -> Knowledge:
        """All that the filters of a request ask, as of the roster's position."""
        position = roster.position
        natures: dict[RoomID, Nature] | None = None
        if any(each.filter.needs_nature for each in request.lists.values()):
            natures = await self._load_natures(roster.places.values())
        named = {space for each in request.lists.values() for space in each.filter.spaces or ()}
        spaces = {space: await self._load_children(space, roster) for space in named}
        return Knowledge(natures, spaces, position)

    async def _load_natures(self, places: Iterable[Place]) -> dict[RoomID, Nature]:
        versions = {place.room_id: place.changed if place.membership == "join" else place.stream for place in places}
        found: dict[RoomID, Nature] = {}
        for room_id, version in versions.items():
            known = self._known.get(room_id)
            room = self._rooms.find(room_id)
            if room is not None:
                found[room_id] = _nature_of(room)
            elif known is not None and known[0] == version:
                found[room_id] = known[1]
        missing = [room_id for room_id in versions if room_id not in found]
        if missing:
            found.update(await self._database.read(load_natures, missing))
        for room_id in missing:
            self._known[room_id] = versions[room_id], found[room_id]
            if len(self._known) > MOST_NATURES:
                self._known.popitem(last=False)
        return found

    async def _load_children(self, space: str, roster: Roster) -> frozenset[str]:
        """The rooms that a space names, if the person is in it."""
        place = roster.places.get(RoomID(space))
        if place is None or place.membership != "join":
            return frozenset()
        room = await self._rooms.load(space)
        children = () if room is None else self._live.group(room.room_id, room.shown.state).get("m.space.child", ())
        return frozenset(held.state_key or "" for held in children if _names(held.event.content.get("via")))


def _names(via: object) -> bool:
    return isinstance(via, list) and bool(via)


def _nature_of(room: Room) -> Nature:
    return Nature(room_type(room.create.content), ENCRYPTION in room.shown.state)
