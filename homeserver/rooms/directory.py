"""The room directory: which rooms are listed, and finding them.

Spec: client-server-api#published-room-directory
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from federation.errors import Refused
from federation.ids import UserID
from homeserver.policy import Hidden, Invalid, NotFound, Policy, PublishRoom, SeeRoom, allows
from homeserver.rooms.aliases import may_name
from homeserver.rooms.listing import build_listing
from homeserver.rooms.rooms import Rooms
from homeserver.storage.database import Database, Txn
from homeserver.storage.directory import (
    Listed,
    Listing,
    count_published,
    load_published,
    remove_published,
    set_published,
)

MOST_ROOMS: Final = 100
LONGEST_TERM: Final = 255
_TOKEN: Final = re.compile(r"([np])([0-9]{1,18})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which listed rooms: those whose name, topic or alias holds a term, of some types; `since` is a page's token."""

    limit: int = MOST_ROOMS
    since: str | None = None
    term: str = ""
    room_types: Collection[str | None] | None = None


class Lists(Protocol):
    """Knows what a server lists, for whom."""

    async def list(self, by: UserID | None, name: str, search: Search, /) -> dict[str, Any]:
        """A page of it."""


class Directory:
    """Lists rooms and finds listed ones; those of other servers are found by `afar`.

    Where it depends on the asker what is listed, `own` knows it, and nothing else is.
    """

    afar: Lists | None = None
    own: Lists | None = None

    def __init__(self, rooms: Rooms, database: Database, policy: Policy) -> None:
        self._rooms = rooms
        self._db = database
        self._policy = policy

    async def is_published(self, by: UserID | None, room_id: str) -> bool:
        """Whether a room is listed.

        Raises: NotFound, also for who may not know.
        Spec: client-server-api#get_matrixclientv3directorylistroomroomid
        """
        room = await self._rooms.load(room_id)
        if room is None or not await allows(self._policy, SeeRoom(by=by, room=room)):
            raise NotFound("Room not found")
        return room.published

    async def publish(self, by: UserID, room_id: str, *, published: bool) -> None:
        """List a room or take it out of the list: for members who may name its canonical alias.

        Raises: NotFound, also for who may not know; Refused.
        Spec: client-server-api#put_matrixclientv3directorylistroomroomid
        """
        room = await self._rooms.load(room_id)
        if room is None or not await allows(self._policy, SeeRoom(by=by, room=room)):
            raise NotFound("Room not found")
        if by not in room.joined_members:
            raise Refused("directory", "Only its members can list a room")
        try:
            await self._policy.check(PublishRoom(by=by, room=room, published=published))
        except Hidden:
            raise NotFound("Room not found") from None
        if not may_name(room, by):
            raise Refused("directory", "Only who may name the room can list it")
        # from here on every change of the room renews what is listed, in the order of the writer
        room.published = published
        listing = build_listing(room.record, room.head) if published else None
        try:
            await self._db.write(_publish, room.nid, listing)
        except BaseException:
            room.published = not published
            raise

    async def find(self, by: UserID | None, search: Search) -> dict[str, object]:
        """A page of the listed rooms that the asker may know of, those with most members first, in client form.

        Raises: Invalid for a token that is none.
        Spec: client-server-api#post_matrixclientv3publicrooms
        """
        if self.own is not None:
            return await self.own.list(by, self._rooms.seal.server, search)
        start, backwards = _parse(search.since)
        limit = min(max(search.limit, 1), MOST_ROOMS)
        read = partial(load_published, words=search.term[:LONGEST_TERM].casefold(), room_types=search.room_types)
        found = await self._db.read(partial(read, start=start, most=limit + 1, backwards=backwards))
        page = found[:limit][:: -1 if backwards else 1]
        answer: dict[str, object] = {
            "chunk": [msgspec.Raw(listed.summary) for listed in page if await self._may_see(by, listed)],
            "total_room_count_estimate": await self._db.read(count_published),
        }
        is_more, came_from = len(found) > limit, search.since is not None
        if page and (came_from if backwards else is_more):
            answer["next_batch"] = _token("n", page[-1])
        if page and (is_more if backwards else came_from):
            answer["prev_batch"] = _token("p", page[0])
        return answer

    async def find_afar(self, by: UserID | None, server: str, search: Search) -> dict[str, Any]:
        """A page of the rooms that another server lists.

        Raises: NotFound where it is not asked; BadIdentifier; RemoteFault.
        """
        if self.afar is None:
            raise NotFound("The directory of that server cannot be reached")
        return await self.afar.list(by, server, search)

    async def _may_see(self, by: UserID | None, listed: Listed) -> bool:
        room = await self._rooms.load(listed.room_id)
        return room is not None and await allows(self._policy, SeeRoom(by=by, room=room))


def _parse(since: str | None) -> tuple[tuple[int, int] | None, bool]:
    """(members, nid) beyond which a page begins, and whether it goes backwards."""
    if since is None:
        return None, False
    token = _TOKEN.fullmatch(since)
    if token is None:
        raise Invalid("M_INVALID_PARAM", "Not a pagination token")
    return (int(token[2]), int(token[3])), token[1] == "p"


def _token(direction: str, listed: Listed) -> str:
    return f"{direction}{listed.members}-{listed.room_nid}"


def _publish(txn: Txn, room_nid: int, listing: Listing | None) -> None:
    if listing is None:
        remove_published(txn, room_nid)
    else:
        set_published(txn, listing)
