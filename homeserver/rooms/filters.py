"""Filters of room events, as clients write them.

Spec: client-server-api#filtering
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

from federation.event import Event

Test = Callable[[Event], bool]

MOST_ENTRIES: Final = 1000
_Entries = Annotated[tuple[str, ...], Meta(max_length=MOST_ENTRIES)]


class EventFilter(Struct, frozen=True, kw_only=True):
    """Which events, by type and sender; an absent list lets all pass.

    Spec: client-server-api#post_matrixclientv3useruseridfilter
    """

    limit: Annotated[int, Meta(gt=0)] | None = None
    types: _Entries | None = None
    not_types: _Entries = ()
    senders: _Entries | None = None
    not_senders: _Entries = ()


class RoomEventFilter(EventFilter, frozen=True, kw_only=True):
    """Which events of which rooms.

    Spec: client-server-api#post_matrixclientv3useruseridfilter
    """

    rooms: _Entries | None = None
    not_rooms: _Entries = ()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False

    def takes_room(self, room_id: str) -> bool:
        """Whether events of that room may pass at all."""
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)


def build_type_test(wanted: EventFilter) -> Callable[[str], bool]:
    """A function that tells whether events of a type may pass at all."""
    some = None if wanted.types is None else _pattern(wanted.types)
    none = _pattern(wanted.not_types)
    return lambda name: (some is None or some(name)) and not none(name)


def build_test(wanted: EventFilter) -> Test | None:
    """A function that tells whether an event passes, None when all do. Rooms are not looked at."""
    tests: list[Test] = []
    if wanted.types is not None or wanted.not_types:
        takes = build_type_test(wanted)
        tests.append(lambda event: takes(event.type))
    if wanted.senders is not None:
        senders = frozenset(wanted.senders)
        tests.append(lambda event: event.sender in senders)
    if wanted.not_senders:
        not_senders = frozenset(wanted.not_senders)
        tests.append(lambda event: event.sender not in not_senders)
    if isinstance(wanted, RoomEventFilter) and wanted.contains_url is not None:
        has_url = wanted.contains_url
        tests.append(lambda event: ("url" in event.content) is has_url)
    if not tests:
        return None
    return lambda event: all([test(event) for test in tests])


def _pattern(types: Sequence[str]) -> Callable[[str], bool]:
    """Whether a type is one of these, in which `*` stands for any characters."""
    exact = frozenset(name for name in types if "*" not in name)
    globs = [name.split("*") for name in types if "*" in name]
    return lambda name: name in exact or any([_matches(pieces, name) for pieces in globs])


def _matches(pieces: Sequence[str], text: str) -> bool:
    """Whether the text is these pieces with anything in between; it never goes back, whatever the pattern."""
    first, *inner, last = pieces
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in inner:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
