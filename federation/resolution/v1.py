"""State resolution of room version 1: one key after the other, by depth.

It is known to lose bans and power levels and stays as it is for the rooms that have it.

Spec: rooms/v1#state-resolution
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from hashlib import sha1
from typing import Final

from federation.event import Event
from federation.ids import EventID, StateKey
from federation.resolution.graph import SLICE, AuthGraph, Steps

_PASSES: Final = ("m.room.power_levels", "m.room.join_rules", "m.room.member")
"""The types that later passes lean on, in their order."""


def resolve_steps(entries: Iterable[tuple[StateKey, EventID]], graph: AuthGraph) -> Steps[dict[StateKey, EventID]]:
    """The resolution of the union of the state sets. A key that some sets lack is no conflict here.

    Within a pass all keys meet the state from before it, so that their order is of no matter.

    Spec: rooms/v1#state-resolution
    """
    candidates: dict[StateKey, list[EventID]] = {}
    for key, event_id in entries:
        candidates.setdefault(key, []).append(event_id)
    state = {key: found[0] for key, found in candidates.items() if len(found) == 1}
    conflicts = {key: found for key, found in candidates.items() if len(found) > 1}
    for event_type in _PASSES:
        chosen = {}
        for seen, key in enumerate([key for key in conflicts if key[0] == event_type], 1):
            chosen[key] = _last_in_a_row(graph, key, _by_depth(graph, conflicts.pop(key)), state).event_id
            if not seen % SLICE:
                yield
        state |= chosen
    find = partial(_find, graph, state)
    others = {}
    for seen, (key, found) in enumerate(conflicts.items(), 1):
        # the highest depth and lowest hash that passes
        event = next((event for event in reversed(_by_depth(graph, found)) if graph.allows(event, find)), None)
        if event is not None:
            others[key] = event.event_id
        if not seen % SLICE:
            yield
    return state | others


def _by_depth(graph: AuthGraph, event_ids: Iterable[EventID]) -> list[Event]:
    """Ascending depth, then descending SHA-1 of the event ID."""
    by_hash = sorted(
        event_ids, key=lambda event_id: sha1(event_id.encode(), usedforsecurity=False).digest(), reverse=True
    )
    return sorted(map(graph.load, by_hash), key=lambda event: event.depth)


def _last_in_a_row(
    graph: AuthGraph, key: StateKey, events: Sequence[Event], state: Mapping[StateKey, EventID]
) -> Event:
    """The first event, or the last of those after it that each are allowed where the one before stands."""
    current = events[0]
    for event in events[1:]:
        if not graph.allows(event, partial(_find, graph, {**state, key: current.event_id})):
            break
        current = event
    return current


def _find(graph: AuthGraph, state: Mapping[StateKey, EventID], key: StateKey) -> Event | None:
    event_id = state.get(key)
    return None if event_id is None else graph.load(event_id)
