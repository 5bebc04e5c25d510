"""State resolution of room version 2, and 2.1 of version 12: replay what is in conflict, powers first.

Spec: rooms/v2#state-resolution, rooms/v12#state-resolution
"""

from collections.abc import Iterable, Sequence, Set

from federation.event import Event
from federation.ids import EventID, StateKey
from federation.resolution.graph import AuthGraph, Steps
from federation.resolution.order import mainline_order, power_order


def resolve_steps(
    unconflicted: dict[StateKey, EventID], conflicted: Sequence[Set[tuple[StateKey, EventID]]], graph: AuthGraph
) -> Steps[dict[StateKey, EventID]]:
    """The resolution, given what all state sets have in common and what each has besides.

    Spec: rooms/v2#state-resolution, rooms/v12#algorithm
    """
    revised = graph.version.state_resolution == 21
    conflict = yield from _full_conflicted_set(unconflicted.values(), conflicted, graph, revised=revised)
    # 1. the power events in conflict, with what they rest on, the earlier and the more powerful first
    powers = {event_id for event_id in conflict if _is_power_event(graph.load(event_id))}
    powers |= (yield from graph.chain(powers)) & conflict
    first = yield from power_order(graph, powers)
    # 2. replay them on the unconflicted state; in 2.1 on nothing, so that their own auth events count
    state = {} if revised else dict(unconflicted)
    yield from graph.apply(first, state)
    # 3. the others, by the power levels they rest on
    second = yield from mainline_order(graph, conflict - powers, state.get(("m.room.power_levels", "")))
    # 4. replay them too
    yield from graph.apply(second, state)
    # 5. what was not in conflict stays
    return state | unconflicted


def _full_conflicted_set(
    unconflicted: Iterable[EventID],
    conflicted: Sequence[Set[tuple[StateKey, EventID]]],
    graph: AuthGraph,
    *,
    revised: bool,
) -> Steps[set[EventID]]:
    """Spec: rooms/v2#state-resolution, rooms/v12#definitions."""
    branches = [{event_id for _, event_id in branch} for branch in conflicted]
    conflict = set[EventID]().union(*branches)
    # the auth difference; the chains of the unconflicted state belong to each branch and need one walk only
    known = yield from graph.chain(unconflicted)
    chains: list[set[EventID]] = []
    for branch in branches:
        chains.append((yield from graph.chain(branch, known=known)))
    difference = chains[0].union(*chains) - chains[0].intersection(*chains)
    if revised:
        # the conflicted state subgraph
        difference |= yield from graph.between(conflict)
    return {event_id for event_id in conflict | difference if graph.load(event_id).is_state}


def _is_power_event(event: Event) -> bool:
    """Whether the event might take from somebody the ability to do something.

    Spec: rooms/v12#definitions
    """
    if event.type == "m.room.member":
        return event.membership in ("leave", "ban") and event.sender != event.state_key
    return event.type in ("m.room.power_levels", "m.room.join_rules")
