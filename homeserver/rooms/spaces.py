"""Spaces: rooms that hold rooms, walked depth first and shown page by page.

A walk is kept in memory between its pages, under a token that nobody can guess. Each page is a value of its own, so
that a page that got lost is given again; a token that is forgotten, after a restart too, begins no page.

Spec: client-server-api#spaces
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from immutables import Map

from federation.event import Event, stripped_state
from federation.ids import RoomID, UserID
from homeserver.policy import Hidden, Invalid
from homeserver.rooms.listing import read_text
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.summaries import Summaries, summarise

MOST_ROOMS: Final = 100
"""How many rooms a page has at most."""
DEFAULT_ROOMS: Final = 50
MOST_LOOKED_AT: Final = 500
"""After how many rooms a page ends although it is not full, because few of them may be shown."""
DEEPEST: Final = 50
MOST_WALKED: Final = 2_000
"""How many rooms one walk looks at."""
MOST_WALKS: Final = 500
"""How many walks are remembered."""

_CHILD: Final = "m.space.child"
_ORDER: Final = re.compile(r"[\x20-\x7E]{1,50}")
_LAST: Final = "\x7f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A way through a space: `ahead` are the rooms to come with their depth, the next one last; `seen` were met."""

    by: UserID
    root: RoomID
    suggested_only: bool = False
    max_depth: int = DEEPEST
    ahead: tuple[tuple[RoomID, int], ...]
    seen: Map[RoomID, None] = Map()


class Spaces:
    """Shows what spaces hold."""

    def __init__(self, rooms: Rooms, summaries: Summaries) -> None:
        self._rooms = rooms
        self._summaries = summaries
        self._walks: OrderedDict[str, Walk] = OrderedDict()

    async def hierarchy(self, walk: Walk, token: str | None, limit: int | None) -> dict[str, object]:
        """A page of a space's rooms that the asker may learn of, in client form; with a token what comes after it.

        Raises: Hidden when the asker may not learn of the space; Invalid for an unknown token, or another walk's.
        Spec: client-server-api#get_matrixclientv1roomsroomidhierarchy
        """
        if token is not None:
            walk = self._resume(token, walk)
        room = await self._rooms.load(walk.root)
        if room is None or not await self._summaries.may_learn(walk.by, room):
            raise Hidden
        shown, walk = await self._walk(walk, min(limit or DEFAULT_ROOMS, MOST_ROOMS))
        answer: dict[str, object] = {"rooms": shown}
        if walk.ahead and len(walk.seen) < MOST_WALKED:
            answer["next_batch"] = self._keep(walk)
        return answer

    async def _walk(self, walk: Walk, limit: int) -> tuple[list[dict[str, object]], Walk]:
        shown: list[dict[str, object]] = []
        ahead, seen = list(walk.ahead), walk.seen
        for _ in range(MOST_LOOKED_AT):
            if not ahead or len(shown) == limit:
                break
            room_id, depth = ahead.pop()
            if room_id in seen:
                continue
            seen = seen.set(room_id, None)
            room = await self._rooms.load(room_id)
            if room is None or not await self._summaries.may_learn(walk.by, room):
                continue
            children = children_of(room, suggested_only=walk.suggested_only)
            shown.append(summarise(room) | {"children_state": [_strip(child) for child in children]})
            if depth < walk.max_depth:
                ahead += [(RoomID(child.state_key or ""), depth + 1) for child in reversed(children)]
        while ahead and ahead[-1][0] in seen:
            ahead.pop()
        return shown, replace(walk, ahead=tuple(ahead[-MOST_WALKED:]), seen=seen)

    def _resume(self, token: str, asked: Walk) -> Walk:
        walk = self._walks.get(token)
        if walk is None or (walk.by, walk.root) != (asked.by, asked.root):
            raise Invalid("M_INVALID_PARAM", "Not a token of this hierarchy")
        if (walk.suggested_only, walk.max_depth) != (asked.suggested_only, asked.max_depth):
            raise Invalid("M_INVALID_PARAM", "suggested_only and max_depth cannot change from page to page")
        self._walks.move_to_end(token)
        return walk

    def _keep(self, walk: Walk) -> str:
        token = self._rooms.seal.make_opaque()
        self._walks[token] = walk
        if len(self._walks) > MOST_WALKS:
            self._walks.popitem(last=False)
        return token


def begin_walk(by: UserID, root: str, *, suggested_only: bool, max_depth: int | None) -> Walk:
    """The walk through a space from its root."""
    room_id = RoomID(root)
    depth = DEEPEST if max_depth is None else min(max_depth, DEEPEST)
    return Walk(by=by, root=room_id, suggested_only=suggested_only, max_depth=depth, ahead=((room_id, 0),))


def children_of(room: Room, *, suggested_only: bool) -> Sequence[Event]:
    """The events that make rooms children of a space, in the order of the children; of a plain room none.

    Spec: client-server-api#ordering-of-children-within-a-space
    """
    if read_text(room.create, "type") != "m.space":
        return ()
    children = [
        held.event
        for key, held in room.shown.state.items()
        if key[0] == _CHILD
        and _is_child(held.event)
        and (held.event.content.get("suggested") is True or not suggested_only)
    ]
    return sorted(children, key=_order)


def _is_child(event: Event) -> bool:
    via = event.content.get("via")
    return isinstance(via, list) and bool(via) and all(isinstance(server, str) for server in via)


def _order(event: Event) -> tuple[str, int, str]:
    """Children with a valid order come first."""
    order = event.content.get("order")
    valid = isinstance(order, str) and _ORDER.fullmatch(order) is not None
    return (str(order) if valid else _LAST, event.origin_server_ts, event.state_key or "")


def _strip(event: Event) -> dict[str, object]:
    return {**stripped_state(event), "origin_server_ts": event.origin_server_ts}
