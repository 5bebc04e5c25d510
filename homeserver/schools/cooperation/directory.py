"""The room directory of a region of schools: to each person, by the region that hosts them, the rooms open to them.

Whom nothing is open to in a region finds that there is no directory.

School: rows 63, 67, 68
"""

from collections.abc import Sequence
from typing import Any

from federation.ids import RoomID, ServerName, UserID, parse_server_name
from homeserver.policy import Invalid, NotFound
from homeserver.rooms.directory import MOST_ROOMS, Search
from homeserver.rooms.listing import build_summary
from homeserver.rooms.rooms import Rooms
from homeserver.schools.cooperation.guests import Guests, Opening


class OpenRooms:
    """Lists for somebody what is open to them, in the form of the Matrix room directory."""

    def __init__(self, guests: Guests, rooms: Rooms) -> None:
        self._guests = guests
        self._rooms = rooms

    async def list(self, by: UserID | None, name: str, search: Search) -> dict[str, Any]:
        """A page of the rooms of that region that the asker may enter.

        Raises: NotFound: there are none, of another region. BadIdentifier; Invalid for a token that is none.
        Spec: client-server-api#post_matrixclientv3publicrooms
        """
        server, limit = parse_server_name(name), min(max(search.limit, 1), MOST_ROOMS)
        if search.since is not None and not search.since.startswith("!"):
            raise Invalid("M_INVALID_PARAM", "Not a pagination token")
        found, has_any = ((), False) if by is None else await self._find(by, server, search, limit + 1)
        if not has_any and search.since is None and server != self._rooms.seal.server:
            raise NotFound("The directory of that server cannot be reached")
        chunk = [await self._summarise(opening) for opening in found[:limit]]
        page: dict[str, Any] = {"chunk": chunk, "total_room_count_estimate": len(found)}
        return {**page, "next_batch": found[limit - 1].room_id} if len(found) > limit else page

    async def _find(self, by: UserID, server: ServerName, search: Search, most: int) -> tuple[Sequence[Opening], bool]:
        """What is open at that server and looked for; and whether anything is open there."""
        after: str | None = search.since or ""
        found: Sequence[Opening] = ()
        has_any = False
        while after is not None and len(found) < most:
            openings, after = await self._guests.find_open(by, after)
            there = [opening for opening in openings if opening.server == server]
            has_any = has_any or bool(there)
            found = [*found, *(opening for opening in there if _is_wanted(opening, search))]
        return found[:most], has_any

    async def _summarise(self, opening: Opening) -> dict[str, object]:
        """What the room shows, if this region has part in it; else what its host has made known."""
        room = await self._rooms.load(opening.room_id)
        if room is not None and self._rooms.seal.server in room.head.servers:
            return build_summary(room.record, room.head)
        return _build_summary(opening.room_id, opening.name)


def _is_wanted(opening: Opening, search: Search) -> bool:
    words = "\n".join((opening.name, *opening.titles)).casefold()
    return search.term.casefold() in words and (search.room_types is None or None in search.room_types)


def _build_summary(room_id: RoomID, name: str) -> dict[str, object]:
    return {
        "room_id": room_id,
        "name": name,
        "num_joined_members": 0,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "restricted",
    }
