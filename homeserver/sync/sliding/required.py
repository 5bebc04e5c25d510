"""What of a room is wanted: how many events, and which of its state."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import msgspec

from federation.ids import StateKey
from homeserver.storage.events import RoomEvent
from homeserver.storage.sync import MEMBER
from homeserver.sync.filters import Filter, parse_filter

MOST_EVENTS: Final = 100
"""How many events of a room one answer holds at most, whatever is asked for."""

Pattern: TypeAlias = tuple[str | None, str | None]
"""A type and a state key, None for any."""


class Required(NamedTuple):
    """Which state one list or subscription wants. With `lazy`, members are included only where named one by one."""

    include: frozenset[Pattern] = frozenset()
    exclude: frozenset[Pattern] = frozenset()
    lazy: bool = False

    def wants(self, key: StateKey) -> bool:
        """Whether it wants the state under that key, lazily loaded members aside."""
        return any(self._includes(pattern, key) for pattern in self.include) and not self.excludes(key)

    def excludes(self, key: StateKey) -> bool:
        """Whether it wants that state in no case."""
        return any(_matches(pattern, key) for pattern in self.exclude)

    @property
    def has_all_members(self) -> bool:
        """Whether it wants members that it does not name."""
        return not self.lazy and any(kind in (None, MEMBER) and key is None for kind, key in self.include)

    def _includes(self, pattern: Pattern, key: StateKey) -> bool:
        if self.lazy and key[0] == MEMBER:
            return pattern == key
        return _matches(pattern, key)


def _matches(pattern: Pattern, key: StateKey) -> bool:
    return pattern[0] in (None, key[0]) and pattern[1] in (None, key[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Config:
    """What is wanted of a room by all that matches it; equal ones are the same object.

    `lazy`: the members who matter to a timeline are wanted with it. `members` are named, `all_members` says that not
    only they are wanted. `filter` is what a timeline goes by.
    """

    limit: int
    required: frozenset[Required]
    lazy: bool
    all_members: bool
    members: frozenset[str]
    filter: Filter

    def wants(self, key: StateKey) -> bool:
        """Whether the state under that key is wanted, lazily loaded members aside."""
        return any(each.wants(key) for each in self.required)

    def select(self, state: "State") -> dict[StateKey, RoomEvent]:
        """All state that is wanted, lazily loaded members aside."""
        chosen: dict[StateKey, RoomEvent] = {}
        for required in self.required:
            found = (held for pattern in required.include for held in state.find(pattern, members=not required.lazy))
            if required.exclude:
                found = (held for held in found if not required.excludes((held.type, held.state_key or "")))
            chosen.update(((held.type, held.state_key or ""), held) for held in found)
        return chosen


@lru_cache(maxsize=4096)
def build_config(limit: int, required: frozenset[Required]) -> Config:
    """What is wanted by so many events and any of those kinds of state."""
    limit = min(limit, MOST_EVENTS)
    all_members = any(each.has_all_members for each in required)
    return Config(
        limit=limit,
        required=required,
        lazy=any(each.lazy for each in required) and not all_members,
        all_members=all_members,
        members=frozenset(
            key for each in required for kind, key in each.include if kind in (None, MEMBER) and key is not None
        ),
        filter=_build_filter(limit),
    )


def combine(configs: Collection[Config]) -> Config:
    """What any of them wants."""
    if len(configs) == 1:
        return next(iter(configs))
    return build_config(max(each.limit for each in configs), frozenset().union(*(each.required for each in configs)))


def _build_filter(limit: int) -> Filter:
    """The state is selected here, so the filter lets none of it pass; members are read only as far as they matter."""
    timeline: dict[str, object] = {"limit": limit} if limit else {"rooms": []}
    state = {"rooms": [], "lazy_load_members": True}
    return parse_filter(msgspec.json.encode({"room": {"timeline": timeline, "state": state}}))


class State:
    """The state of a room, from memory or read; `by_type` groups all of it but members."""

    __slots__ = ("_all", "_group", "_grouped")

    def __init__(
        self,
        state: Mapping[StateKey, RoomEvent],
        group: Callable[[], Mapping[str, Sequence[RoomEvent]]] | None = None,
    ) -> None:
        self._all = state
        self._group = group or (lambda: group_state(state))
        self._grouped: Mapping[str, Sequence[RoomEvent]] | None = None

    def get(self, key: StateKey) -> RoomEvent | None:
        """The event under that key."""
        return self._all.get(key)

    def content(self, kind: str, field: str) -> str | None:
        """A text in the state of that type, None when it is empty or none."""
        held = self._all.get((kind, ""))
        value = None if held is None else held.event.content.get(field)
        return value if isinstance(value, str) and value else None

    def find(self, pattern: Pattern, *, members: bool) -> Iterable[RoomEvent]:
        """The events that a pattern includes; without `members`, only those of members that it names."""
        kind, key = pattern
        if kind is not None and key is not None:
            held = self._all.get((kind, key))
            return () if held is None else (held,)
        if self._grouped is None:
            self._grouped = self._group()
        groups = [self._grouped.get(kind, ())] if kind is not None else list(self._grouped.values())
        found = [held for group in groups for held in group if key in (None, held.state_key)]
        if members and kind in (None, MEMBER):
            found += self._find_members(key)
        return found

    def _find_members(self, user_id: str | None) -> Iterable[RoomEvent]:
        if user_id is None:
            return [held for key, held in self._all.items() if key[0] == MEMBER]
        held = self._all.get((MEMBER, user_id))
        return () if held is None else (held,)


def group_state(state: Mapping[StateKey, RoomEvent]) -> dict[str, list[RoomEvent]]:
    """All state but members, by its type."""
    groups: dict[str, list[RoomEvent]] = {}
    for key, held in state.items():
        if key[0] != MEMBER:
            groups.setdefault(key[0], []).append(held)
    return groups
