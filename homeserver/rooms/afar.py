"""Rooms of other servers, as people who are not in them learn of them: listed there, in a space, by a summary, by date.

Whom they are told of is for this server to say, too: an asking server speaks for all its people.

Spec: server-server-api#published-room-directory, server-server-api#spaces
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from federation.errors import BadAnswer, Refused, RemoteFault
from federation.ids import EventID, RoomID, ServerName, UserID, find_server_name, parse_server_name
from federation.transport.peers import Asks
from homeserver.policy import LookElsewhere, NotFound, Policy, allows
from homeserver.rooms.directory import MOST_ROOMS, Search
from homeserver.rooms.rooms import Rooms
from homeserver.storage.changes import EventAdded
from homeserver.storage.database import Change

MOST_CHILDREN: Final = 500
MOST_VIA: Final = 3
"""How many servers are asked for a room, one after the other."""
FRESH_MS: Final = 5_000
"""How long it is remembered what a server said of a space: a class looks at it at once."""
MOST_REMEMBERED: Final = 500
WAIT_S: Final = 8.0
MOST_BYTES: Final = 4 << 20
"""How much a server may say of its rooms, or of one: read whole, on the reactor's thread."""
_LONGEST: Final = 20_000
_V1: Final = "/_matrix/federation/v1"
_TEXTS: Final = tuple("name topic canonical_alias avatar_url join_rule room_type room_version encryption".split())
_OPEN_RULES: Final = frozenset({"public", "knock", "knock_restricted"})
_EVENT_ID: Final = re.compile(r"\$[\x21-\x7e]{1,254}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a server says of a room: its summary in client form, and the events that make rooms its children."""

    summary: dict[str, Any]
    children: Sequence[dict[str, Any]]


class Dated(NamedTuple):
    """An event that a server says it found by its date."""

    server: ServerName
    event_id: EventID
    at_ms: int


class RoomsAfar:
    """Asks other servers of their rooms."""

    def __init__(self, rooms: Rooms, peers: Asks, policy: Policy, now_ms: Callable[[], int]) -> None:
        self._rooms = rooms
        self._peers = peers
        self._policy = policy
        self.now_ms = now_ms
        self._known: OrderedDict[tuple[str, bool], tuple[int, Level]] = OrderedDict()

    def heed(self, changes: Iterable[Change]) -> None:
        """Forget what was said to us when one of ours comes into a room or leaves one: others tell us by that."""
        ours = f":{self._rooms.seal.server}"
        events = [change.event.event for change in changes if isinstance(change, EventAdded)]
        if any(each.membership is not None and (each.state_key or "").endswith(ours) for each in events):
            self._known.clear()

    async def list(self, by: UserID | None, name: str, search: Search) -> dict[str, Any]:
        """A page of what another server lists.

        Raises: NotFound where that server is not asked; BadIdentifier; RemoteFault.
        Spec: server-server-api#post_matrixfederationv1publicrooms
        """
        server = parse_server_name(name)
        if by is None or not await allows(self._policy, LookElsewhere(by=by, server=server)):
            raise NotFound("The directory of that server cannot be reached")
        try:
            answer = await self._list(server, search)
        except Refused:
            raise NotFound("The directory of that server cannot be reached") from None
        return _read_page(answer, search.limit or MOST_ROOMS)

    async def _list(self, server: ServerName, search: Search) -> dict[str, Any]:
        """What a server lists: asked for in the plain form where all of it is wanted, which old servers have, too."""
        path = f"{_V1}/publicRooms"
        page: dict[str, Any] = {"limit": search.limit or MOST_ROOMS}
        if search.since is not None:
            page["since"] = search.since
        wanted: dict[str, Any] = {"generic_search_term": search.term} if search.term else {}
        if search.room_types is not None:
            wanted["room_types"] = list(search.room_types)
        if not wanted:
            query = [(name, str(value)) for name, value in page.items()]
            return await self._peers.ask(server, "GET", path, query=query, timeout_s=WAIT_S, most_bytes=MOST_BYTES)
        body = {**page, "include_all_networks": False, "filter": wanted}
        return await self._peers.ask(server, "POST", path, body=body, timeout_s=WAIT_S, most_bytes=MOST_BYTES)

    async def find(self, by: UserID, room_id: str, via: Iterable[str], *, suggested_only: bool = False) -> Level | None:
        """What another server says of a room that is not known here, if that person could get into it."""
        level = await self._find(by, room_id, via, suggested_only)
        return level if level is not None and await self._is_for(by, level.summary) else None

    async def _find(self, by: UserID, room_id: str, via: Iterable[str], suggested_only: bool) -> Level | None:
        key, now_ms = (room_id, suggested_only), self.now_ms()
        known = self._known.get(key)
        acts = [LookElsewhere(by=by, server=server) for server in map(find_server_name, via) if server is not None]
        servers = [act.server for act in acts if await allows(self._policy, act)]
        if servers and known is not None and known[0] > now_ms:
            return known[1]
        for server in servers[:MOST_VIA]:
            level = await self._ask(server, room_id, suggested_only)
            if level is not None:
                self._known[key] = (now_ms + FRESH_MS, level)
                self._known.move_to_end(key)
                if len(self._known) > MOST_REMEMBERED:
                    self._known.popitem(last=False)
                return level
        return None

    async def _ask(self, server: ServerName, room_id: str, suggested_only: bool) -> Level | None:
        path, query = f"{_V1}/hierarchy/{quote(room_id, safe='')}", [("suggested_only", str(suggested_only).lower())]
        try:
            answer = await self._peers.ask(server, "GET", path, query=query, timeout_s=WAIT_S, most_bytes=MOST_BYTES)
            return _read_level(room_id, answer.get("room"))
        except (RemoteFault, Refused):
            return None

    async def _is_for(self, by: UserID, summary: Mapping[str, Any]) -> bool:
        """Whether somebody of ours could get into a room, as its summary says."""
        if summary.get("join_rule") in _OPEN_RULES or summary["world_readable"]:
            return True
        for allowing in summary.get("allowed_room_ids", ()):
            room = await self._rooms.load(allowing)
            if room is not None and by in room.joined_members:
                return True
        return False

    async def find_dated(
        self, room_id: str, servers: Iterable[ServerName], at_ms: int, *, backwards: bool
    ) -> Dated | None:
        """The event closest to a time in a room that we are in, as others in it know it."""
        path = f"{_V1}/timestamp_to_event/{quote(room_id, safe='')}"
        query = [("ts", str(at_ms)), ("dir", "b" if backwards else "f")]
        ours = self._rooms.seal.server
        for server in [each for each in servers if each != ours][:MOST_VIA]:
            try:
                answer = await self._peers.ask(
                    server, "GET", path, query=query, timeout_s=WAIT_S, most_bytes=MOST_BYTES
                )
            except (RemoteFault, Refused):
                continue
            event_id, found_ms = answer.get("event_id"), answer.get("origin_server_ts")
            is_good = isinstance(event_id, str) and _EVENT_ID.fullmatch(event_id) is not None
            if is_good and type(found_ms) is int and (found_ms <= at_ms if backwards else found_ms >= at_ms):
                return Dated(server, EventID(str(event_id)), found_ms)
        return None


def _read_page(answer: Mapping[str, Any], limit: int) -> dict[str, Any]:
    chunk = answer.get("chunk")
    if not isinstance(chunk, list):
        raise BadAnswer("there is no chunk")
    page: dict[str, Any] = {"chunk": [each for each in map(_read_summary, chunk[:limit]) if each is not None]}
    for name in ("next_batch", "prev_batch"):
        token = answer.get(name)
        if isinstance(token, str) and len(token) <= _LONGEST:
            page[name] = token
    estimate = answer.get("total_room_count_estimate")
    if type(estimate) is int and 0 <= estimate < 1 << 53:
        page["total_room_count_estimate"] = estimate
    return page


def _read_summary(value: object) -> dict[str, Any] | None:
    """What is well-formed of a room's summary; None without a room."""
    if not isinstance(value, dict) or not _is_room_id(value.get("room_id")):
        return None
    members = value.get("num_joined_members")
    summary: dict[str, Any] = {
        "room_id": value["room_id"],
        "num_joined_members": members if type(members) is int and 0 <= members < 1 << 53 else 0,
        "world_readable": value.get("world_readable") is True,
        "guest_can_join": value.get("guest_can_join") is True,
    }
    for name in _TEXTS:
        text = value.get(name)
        if isinstance(text, str) and len(text) <= _LONGEST:
            summary[name] = text
    allowing = value.get("allowed_room_ids")
    if isinstance(allowing, list):
        summary["allowed_room_ids"] = [each for each in allowing[:50] if _is_room_id(each)]
    return summary


def _read_level(room_id: str, value: object) -> Level:
    summary = _read_summary(value)
    if summary is None or summary["room_id"] != room_id or not isinstance(value, dict):
        raise BadAnswer("not that room")
    children = value.get("children_state")
    some = children[:MOST_CHILDREN] if isinstance(children, list) else []
    return Level(summary=summary, children=[child for child in map(_read_child, some) if child is not None])


def _read_child(value: object) -> dict[str, Any] | None:
    """A child as clients are shown it; None for what is none."""
    if not isinstance(value, dict) or value.get("type") != "m.space.child" or not _is_room_id(value.get("state_key")):
        return None
    content, sender, sent_ms = value.get("content"), value.get("sender"), value.get("origin_server_ts")
    via = content.get("via") if isinstance(content, dict) else None
    if not isinstance(via, list) or not via or not all(isinstance(server, str) for server in via):
        return None
    if not isinstance(sender, str) or type(sent_ms) is not int:
        return None
    return {
        "type": "m.space.child",
        "state_key": RoomID(value["state_key"]),
        "content": content,
        "sender": sender,
        "origin_server_ts": sent_ms,
    }


def _is_room_id(value: object) -> bool:
    return isinstance(value, str) and value.startswith("!") and len(value) <= 255 and "\0" not in value
