"""Filters of whole answers: what a client wants to be told, compiled into quick questions.

Equal filters are one object, so that their parts of an answer can be shared.

Spec: client-server-api#filtering
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

from federation.event import Event
from federation.paths import parse_path
from homeserver.policy import Invalid
from homeserver.rooms.filters import EventFilter, RoomEventFilter, build_test

DEFAULT_LIMIT: Final = 10
MOST_EVENTS: Final = 500
"""How many events of a room one answer holds at most, whatever the filter says."""
MOST_BYTES: Final = 65_536


class RoomFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rooms, and what of them.

    Spec: client-server-api#post_matrixclientv3useruseridfilter_request_roomfilter
    """

    rooms: tuple[str, ...] | None = None
    not_rooms: tuple[str, ...] = ()
    include_leave: bool = False
    ephemeral: RoomEventFilter = RoomEventFilter()
    state: RoomEventFilter = RoomEventFilter()
    timeline: RoomEventFilter = RoomEventFilter()
    account_data: RoomEventFilter = RoomEventFilter()


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A whole filter, as a client writes it.

    Spec: client-server-api#post_matrixclientv3useruseridfilter
    """

    event_fields: tuple[str, ...] | None = None
    event_format: Literal["client", "federation"] = "client"
    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    room: RoomFilter = RoomFilter()


class _Told(NamedTuple):
    """What is no event of a room but passes filters by the same fields."""

    type: str
    sender: str
    content: Mapping[str, Any]


class Part:
    """One part of a filter, ready for use. `passes_all` tells that no event of a wanted room is left out."""

    __slots__ = ("_not_rooms", "_rooms", "_test", "limit", "passes_all")

    def __init__(self, definition: EventFilter) -> None:
        self.limit = DEFAULT_LIMIT if definition.limit is None else min(definition.limit, MOST_EVENTS)
        self._test = build_test(definition)
        self.passes_all = self._test is None
        rooms = definition if isinstance(definition, RoomEventFilter) else RoomEventFilter()
        self._rooms = None if rooms.rooms is None else frozenset(rooms.rooms)
        self._not_rooms = frozenset(rooms.not_rooms)

    def has_room(self, room_id: str) -> bool:
        """Whether anything of that room is wanted."""
        return room_id not in self._not_rooms and (self._rooms is None or room_id in self._rooms)

    def passes(self, event: Event) -> bool:
        """Whether that event is wanted, its room aside."""
        return self._test is None or self._test(event)

    def has(self, kind: str, sender: str = "") -> bool:
        """Whether what is told of that type, by that sender, is wanted."""
        return self._test is None or self._test(_Told(kind, sender, {}))  # type: ignore[arg-type]  # alike where it counts


class Filter:
    """A whole filter, ready for use; equal ones are the same object.

    `lazy` and `redundant` are about members, `threads` about unread counts. `is_plain` tells that events are shown
    whole and in the form of clients; else `fields` are the paths to show, and `federation_format` the form.
    """

    __slots__ = (
        "_not_rooms",
        "_rooms",
        "account_data",
        "ephemeral",
        "federation_format",
        "fields",
        "include_leave",
        "is_plain",
        "lazy",
        "presence",
        "redundant",
        "room_account_data",
        "state",
        "threads",
        "timeline",
    )

    def __init__(self, definition: Definition) -> None:
        room = definition.room
        self.presence = Part(definition.presence)
        self.account_data = Part(definition.account_data)
        self.ephemeral = Part(room.ephemeral)
        self.state = Part(room.state)
        self.timeline = Part(room.timeline)
        self.room_account_data = Part(room.account_data)
        self.include_leave = room.include_leave
        self.lazy = room.state.lazy_load_members
        self.redundant = room.state.include_redundant_members
        self.threads = room.timeline.unread_thread_notifications
        self.fields = None if definition.event_fields is None else tuple(map(parse_path, definition.event_fields))
        self.federation_format = definition.event_format == "federation"
        self.is_plain = self.fields is None and not self.federation_format
        self._rooms = None if room.rooms is None else frozenset(room.rooms)
        self._not_rooms = frozenset(room.not_rooms)

    def has_room(self, room_id: str) -> bool:
        """Whether anything of that room is wanted."""
        return room_id not in self._not_rooms and (self._rooms is None or room_id in self._rooms)


def parse_filter(definition: str | bytes) -> Filter:
    """The filter that a JSON object defines; fields unknown to the specification are passed over.

    Raises:
        Invalid: it is no filter.
    """
    if len(definition) > MOST_BYTES:
        raise Invalid("M_INVALID_PARAM", "The filter is too long")
    try:
        parsed = _decoder.decode(definition)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
        raise Invalid("M_INVALID_PARAM", f"Not a filter: {fault}") from None
    return _build_filter(msgspec.json.encode(parsed))


def check_filter(definition: Mapping[str, Any]) -> None:
    """Refuse what is no filter.

    Raises:
        Invalid: with M_BAD_JSON.
    """
    try:
        msgspec.convert(definition, Definition)
    except msgspec.ValidationError as fault:
        raise Invalid("M_BAD_JSON", f"Not a filter: {fault}") from None


def pick_fields(value: Mapping[str, Any], paths: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    """What stands at those paths of a JSON object, as an object of the same shape."""
    picked: dict[str, Any] = {}
    for path in paths:
        _pick(value, picked, path)
    return picked


@lru_cache(maxsize=1024)
def _build_filter(canonical: bytes) -> Filter:
    return Filter(_decoder.decode(canonical))


_decoder: Final = msgspec.json.Decoder(Definition)

NO_FILTER: Final = parse_filter(b"{}")
"""The filter of whoever gives none."""


def _pick(source: Any, target: dict[str, Any], path: tuple[str, ...]) -> None:
    for name in path:
        if not isinstance(source, dict) or name not in source:
            return
        source = source[name]
    for name in path[:-1]:
        target = target.setdefault(name, {})
    target[path[-1]] = source
