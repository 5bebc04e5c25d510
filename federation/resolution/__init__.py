"""State resolution: the one state that several branches of a room's history add up to, in every room version.

Here live the three algorithms (`v1`, and `v2` with the changes of version 2.1), the walks over the auth events they
need (`graph`) and the two orders in which events are replayed (`order`). What the branches are, and what to do with
the result, is the business of rooms. The rules by which events are allowed are those of `federation.auth`.

The result depends on the state sets and the events only, never on the order in which either arrives. Nothing
recurses, each event is looked up once, and the work is nearly linear in the auth chains of the sets. Chains are a
stranger's making: a cycle ends the walk, and events on it take no part, since nothing can have authorised them.

To add an algorithm: a number in `RoomVersion.state_resolution`, a module with its `resolve_steps`, and the named
scenarios of its proposal as tests.

Spec: server-server-api#room-state-resolution
"""

from collections.abc import Callable, Mapping, Sequence

from federation.auth.selection import never_rejected
from federation.event import Event
from federation.ids import EventID, StateKey
from federation.resolution import v1, v2
from federation.resolution.graph import AuthGraph, MissingEvent, Steps
from federation.versions import RoomVersion

__all__ = ["MissingEvent", "resolve", "resolve_steps"]


def resolve(
    version: RoomVersion,
    state_sets: Sequence[Mapping[StateKey, EventID]],
    events: Callable[[EventID], Event | None],
    rejected: Callable[[EventID], bool] = never_rejected,
) -> dict[StateKey, EventID]:
    """The resolution of these states: one event for each key.

    `events` finds any event of the states and of their auth chains; `rejected` tells which were rejected.

    Raises: MissingEvent when `events` does not know one that is needed.
    Spec: rooms/v2#state-resolution, rooms/v12#state-resolution, rooms/v1#state-resolution
    """
    steps = resolve_steps(version, state_sets, events, rejected)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: dict[StateKey, EventID] = end.value
            return result


def resolve_steps(
    version: RoomVersion,
    state_sets: Sequence[Mapping[StateKey, EventID]],
    events: Callable[[EventID], Event | None],
    rejected: Callable[[EventID], bool] = never_rejected,
) -> Steps[dict[StateKey, EventID]]:
    """The same in slices of a few milliseconds: a generator that yields to let others work and returns the resolution.

    Raises: MissingEvent, from any step.
    Spec: rooms/v2#state-resolution, rooms/v12#state-resolution, rooms/v1#state-resolution
    """
    pairs = [set(state.items()) for state in state_sets]
    common = set.intersection(*pairs) if pairs else set()
    if all(len(found) == len(common) for found in pairs):
        return dict(common)
    graph = AuthGraph(version, events, rejected)
    if version.state_resolution == 1:
        return (yield from v1.resolve_steps(set.union(*pairs), graph))
    return (yield from v2.resolve_steps(dict(common), [found - common for found in pairs], graph))
