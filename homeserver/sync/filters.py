"""Filters: what a client wants to be told, parsed strictly and compiled into quick questions about an event.

Equal filters are one object, so that their parts of an answer can be shared.

Spec: client-server-api#filtering
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import msgspec

from federation.event import Event
from federation.paths import parse_path
from homeserver.policy import Invalid

DEFAULT_LIMIT: Final = 10
MOST_EVENTS: Final = 500
"""How many events of a room one answer holds at most, whatever the filter says."""
MOST_BYTES: Final = 65_536

Strings: TypeAlias = tuple[str, ...]


class EventFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which events of one kind.

    Spec: client-server-api#post_matrixclientv3useruseridfilter_request_eventfilter
    """

    limit: int | None = None
    senders: Strings | None = None
    not_senders: Strings | None = None
    types: Strings | None = None
    not_types: Strings | None = None


class RoomEventFilter(EventFilter, frozen=True, kw_only=True, omit_defaults=True):
    """Which events of one kind, and of which rooms.

    Spec: client-server-api#post_matrixclientv3useruseridfilter_request_roomeventfilter
    """

    rooms: Strings | None = None
    not_rooms: Strings | None = None
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False


class RoomFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which rooms, and what of them.

    Spec: client-server-api#post_matrixclientv3useruseridfilter_request_roomfilter
    """

    rooms: Strings | None = None
    not_rooms: Strings | None = None
    include_leave: bool = False
    ephemeral: RoomEventFilter = RoomEventFilter()
    state: RoomEventFilter = RoomEventFilter()
    timeline: RoomEventFilter = RoomEventFilter()
    account_data: RoomEventFilter = RoomEventFilter()


class Definition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole filter, as a client writes it.

    Spec: client-server-api#post_matrixclientv3useruseridfilter
    """

    event_fields: Strings | None = None
    event_format: Literal["client", "federation"] = "client"
    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    room: RoomFilter = RoomFilter()


class Part:
    """One part of a filter, ready for use. `passes_all` tells that nothing is ever left out."""

    __slots__ = ("_contains_url", "_not_rooms", "_not_senders", "_rooms", "_senders", "_type", "limit", "passes_all")

    def __init__(self, definition: EventFilter) -> None:
        self.limit = DEFAULT_LIMIT if definition.limit is None else min(definition.limit, MOST_EVENTS)
        self._senders = None if definition.senders is None else frozenset(definition.senders)
        self._not_senders = frozenset(definition.not_senders or ())
        self._type = _compile_types(definition.types, definition.not_types or ())
        self._rooms: frozenset[str] | None = None
        self._not_rooms: frozenset[str] = frozenset()
        self._contains_url: bool | None = None
        if isinstance(definition, RoomEventFilter):
            self._rooms = None if definition.rooms is None else frozenset(definition.rooms)
            self._not_rooms = frozenset(definition.not_rooms or ())
            self._contains_url = definition.contains_url
        self.passes_all = (
            self._type is None and self._senders is None and not self._not_senders and self._contains_url is None
        )

    def has_room(self, room_id: str) -> bool:
        """Whether anything of that room is wanted."""
        return room_id not in self._not_rooms and (self._rooms is None or room_id in self._rooms)

    def has(self, event_type: str, sender: str | None = None) -> bool:
        """Whether that type of event is wanted from that sender, if it has one."""
        if self._type is not None and not self._type(event_type):
            return False
        if sender is None:
            return True
        return sender not in self._not_senders and (self._senders is None or sender in self._senders)

    def passes(self, event: Event) -> bool:
        """Whether that event is wanted, its room aside."""
        if self.passes_all:
            return True
        if self._contains_url is not None and self._contains_url != ("url" in event.content):
            return False
        return self.has(event.type, event.sender)


class Filter:
    """A whole filter, ready for use; equal ones are the same object."""

    __slots__ = (
        "_not_rooms",
        "_rooms",
        "account_data",
        "ephemeral",
        "federation_format",
        "fields",
        "include_leave",
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
        self._rooms = None if room.rooms is None else frozenset(room.rooms)
        self._not_rooms = frozenset(room.not_rooms or ())

    def has_room(self, room_id: str) -> bool:
        """Whether anything of that room is wanted."""
        return room_id not in self._not_rooms and (self._rooms is None or room_id in self._rooms)

    @property
    def is_plain(self) -> bool:
        """Whether events are shown whole and in the form of clients."""
        return self.fields is None and not self.federation_format


def parse_filter(definition: str | bytes) -> Filter:
    """The filter that a JSON object defines; fields unknown to the specification are passed over.

    Raises:
        Invalid: it is no filter.
    """
    if len(definition) > MOST_BYTES:
        raise Invalid("M_INVALID_PARAM", "The filter is too long")
    try:
        parsed = _decoder.decode(definition)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise Invalid("M_INVALID_PARAM", f"Not a filter: {fault}") from None
    return _build_filter(msgspec.json.encode(parsed))


def check_filter(definition: Mapping[str, Any]) -> None:
    """Refuse what is no filter.

    Raises:
        Invalid: with M_BAD_JSON.
    """
    try:
        _check_limits(msgspec.convert(definition, Definition))
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
    definition = _decoder.decode(canonical)
    _check_limits(definition)
    return Filter(definition)


_decoder: Final = msgspec.json.Decoder(Definition)

NO_FILTER: Final = _build_filter(b"{}")
"""The filter of whoever gives none."""


def _check_limits(definition: Definition) -> None:
    room = definition.room
    for part in (definition.presence, definition.account_data, room.ephemeral, room.state, room.timeline):
        if part.limit is not None and part.limit < 0:
            raise Invalid("M_INVALID_PARAM", "A limit is not negative")


def _compile_types(types: Strings | None, not_types: Strings) -> Callable[[str], bool] | None:
    """A function that tells whether a type is wanted, None where all are."""
    if types is None and not not_types:
        return None
    wanted = None if types is None else _compile_patterns(types)
    unwanted = _compile_patterns(not_types)
    known: dict[str, bool] = {}

    def has(event_type: str) -> bool:
        answer = known.get(event_type)
        if answer is None:
            answer = (wanted is None or wanted(event_type)) and not unwanted(event_type)
            if len(known) < 1000:
                known[event_type] = answer
        return answer

    return has


def _compile_patterns(patterns: Strings) -> Callable[[str], bool]:
    exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
    globs = [tuple(pattern.split("*")) for pattern in patterns if "*" in pattern]
    return lambda text: text in exact or any(_is_like(text, pieces) for pieces in globs)


def _is_like(text: str, pieces: Strings) -> bool:
    """Whether the pieces stand in the text in this order, the first at its start and the last at its end."""
    first, *middle, last = pieces
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _pick(source: Any, target: dict[str, Any], path: tuple[str, ...]) -> None:
    for name in path[:-1]:
        source = source.get(name) if isinstance(source, dict) else None
        if not isinstance(source, dict):
            return
        target = target.setdefault(name, {})
    if isinstance(source, dict) and path[-1] in source:
        target[path[-1]] = source[path[-1]]
