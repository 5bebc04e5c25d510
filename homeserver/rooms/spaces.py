"""Spaces: rooms that hold rooms, walked depth first and shown page by page.

A walk is kept in memory between its pages, under a token that nobody can guess. Each page is a value of its own, so
that a page that got lost is given again; a token that is forgotten, after a restart too, begins no page.

Spec: client-server-api#spaces
"""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from immutables import Map

from federation.event import Event, stripped_state
from federation.ids import RoomID, UserID
from homeserver.policy import Hidden, Invalid
from homeserver.rooms.afar import MOST_VIA, RoomsAfar
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

PATIENCE_MS: Final = 20_000
"""After how long no other servers are asked for the rooms of a page any more."""

_CHILD: Final = "m.space.child"
_ORDER: Final = re.compile(r"[\x20-\x7E]{1,50}")
_LAST: Final = "\x7f"


class Step(NamedTuple):
    """A room to look at, how deep it lies, and servers that may know it."""

    room_id: RoomID
    depth: int
    via: tuple[str, ...] = ()


class Shown(NamedTuple):
    """A room as it is shown, and its children in their order: the contents of the events by room."""

    summary: dict[str, object]
    children: Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A way through a space: `ahead` are the rooms to come, the next one last; `seen` were met."""

    by: UserID
    root: RoomID
    suggested_only: bool = False
    max_depth: int = DEEPEST
    ahead: tuple[Step, ...]
    seen: Map[RoomID, None] = Map()


class Spaces:
    """Shows what spaces hold; rooms that are not known here are found by `afar`."""

    afar: RoomsAfar | None = None

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
        if await self._find(walk, walk.ahead[0] if token is None else Step(walk.root, 0)) is None:
            raise Hidden
        shown, walk = await self._walk(walk, min(limit or DEFAULT_ROOMS, MOST_ROOMS))
        answer: dict[str, object] = {"rooms": shown}
        if walk.ahead and len(walk.seen) < MOST_WALKED:
            answer["next_batch"] = self._keep(walk)
        return answer

    async def _walk(self, walk: Walk, limit: int) -> tuple[list[dict[str, object]], Walk]:
        shown: list[dict[str, object]] = []
        ahead, seen = list(walk.ahead), walk.seen
        until_ms = self._rooms.seal.now_ms() + PATIENCE_MS
        for _ in range(MOST_LOOKED_AT):
            if not ahead or len(shown) == limit:
                break
            step = ahead.pop()
            if step.room_id in seen:
                continue
            seen = seen.set(step.room_id, None)
            found = await self._find(walk, step, hurry=self._rooms.seal.now_ms() > until_ms)
            if found is None:
                continue
            shown.append(found.summary)
            if step.depth < walk.max_depth:
                ahead += [_step(child, step.depth + 1) for child in reversed(found.children)]
        while ahead and ahead[-1][0] in seen:
            ahead.pop()
        return shown, replace(walk, ahead=tuple(ahead[-MOST_WALKED:]), seen=seen)

    async def _find(self, walk: Walk, step: Step, *, hurry: bool = False) -> Shown | None:
        """A room that the asker may learn of; with `hurry` no other server is asked."""
        room = await self._rooms.load(step.room_id)
        if room is not None and await self._summaries.may_learn(walk.by, room):
            events = children_of(room, suggested_only=walk.suggested_only)
            shown = summarise(room) | {"children_state": [strip(event) for event in events]}
            return Shown(shown, [(event.state_key or "", event.content) for event in events])
        if self.afar is None or hurry or (room is not None and self._rooms.seal.server in room.shown.servers):
            return None
        via = step.via or (step.room_id.partition(":")[2],)
        level = await self.afar.find(walk.by, step.room_id, via, suggested_only=walk.suggested_only)
        if level is None:
            return None
        children = sorted(level.children, key=_order_stripped)
        shown = level.summary | {"children_state": children}
        return Shown(shown, [(child["state_key"], child["content"]) for child in children])

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
    return Walk(by=by, root=room_id, suggested_only=suggested_only, max_depth=depth, ahead=(Step(room_id, 0),))


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
    return _place(event.content.get("order"), event.origin_server_ts, event.state_key or "")


def _order_stripped(child: Mapping[str, Any]) -> tuple[str, int, str]:
    return _place(child["content"].get("order"), child["origin_server_ts"], child["state_key"])


def _place(order: object, sent_ms: int, room_id: str) -> tuple[str, int, str]:
    """Children with a valid order come first."""
    valid = isinstance(order, str) and _ORDER.fullmatch(order) is not None
    return (str(order) if valid else _LAST, sent_ms, room_id)


def _step(child: tuple[str, Mapping[str, Any]], depth: int) -> Step:
    room_id, content = child
    return Step(RoomID(room_id), depth, tuple(content["via"][:MOST_VIA]))


def strip(event: Event) -> dict[str, object]:
    """A child as it is shown."""
    return {**stripped_state(event), "origin_server_ts": event.origin_server_ts}
