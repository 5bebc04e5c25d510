"""The two orders in which conflicted events are replayed. Both are total: ties end with the event ID."""

from collections.abc import Set
from heapq import heapify, heappop, heappush
from typing import TypeAlias

from federation.ids import EventID
from federation.resolution.graph import SLICE, AuthGraph, Steps

_Rank: TypeAlias = tuple[int, int, EventID] | tuple[()]


def power_order(graph: AuthGraph, event_ids: Set[EventID]) -> Steps[list[EventID]]:
    """The reverse topological power ordering: no event before one it rests on; among the free the sender's power by the
    event's own auth events (most first), then time, then ID.

    An event rests on another also by way of events that are not to be ordered: those take their turn as soon as they
    are free, unlisted. Events on a cycle of auth events, and what rests on them, are never free and are left out.

    Spec: rooms/v12#definitions
    """
    blocked, blocking = yield from _edges(graph, (yield from graph.between(event_ids)))

    def rank(event_id: EventID) -> tuple[_Rank, EventID]:
        if event_id not in event_ids:
            return (), event_id
        event = graph.load(event_id)
        return (-graph.power_of_sender(event), event.origin_server_ts, event_id), event_id

    free = [rank(event_id) for event_id, cited in blocked.items() if not cited]
    heapify(free)
    order: list[EventID] = []
    while free:
        event_id = heappop(free)[1]
        if event_id in event_ids:
            order.append(event_id)
            if not len(order) % SLICE:
                yield
        for waiting in blocking.get(event_id, ()):
            blocked[waiting].remove(event_id)
            if not blocked[waiting]:
                heappush(free, rank(waiting))
    return order


def _edges(
    graph: AuthGraph, nodes: Set[EventID]
) -> Steps[tuple[dict[EventID, set[EventID]], dict[EventID, list[EventID]]]]:
    """For each node the nodes it cites; for each that is cited the nodes that cite it."""
    cited: dict[EventID, set[EventID]] = {}
    citing: dict[EventID, list[EventID]] = {}
    for seen, event_id in enumerate(nodes, 1):
        cited[event_id] = {other for other in graph.load(event_id).auth_events if other in nodes}
        for other in cited[event_id]:
            citing.setdefault(other, []).append(event_id)
        if not seen % SLICE:
            yield
    return cited, citing


def mainline_order(graph: AuthGraph, event_ids: Set[EventID], power_levels: EventID | None) -> Steps[list[EventID]]:
    """The mainline ordering: events that rest on older power levels first, as seen from the given ones; then time, ID.

    Spec: rooms/v12#definitions
    """
    position: dict[EventID, int] = {}
    ancestor = power_levels
    while ancestor is not None and ancestor not in position:
        position[ancestor] = len(position)
        ancestor = graph.find_cited_levels(ancestor)
        if not len(position) % SLICE:
            yield
    off = len(position)  # after every index: not on the mainline
    ranks = []
    for seen, event_id in enumerate(event_ids, 1):
        place = _find_place(graph, graph.find_cited_levels(event_id), position, off)
        ranks.append((-place, graph.load(event_id).origin_server_ts, event_id))
        if not seen % SLICE:
            yield
    return [event_id for _, _, event_id in sorted(ranks)]


def _find_place(graph: AuthGraph, ancestor: EventID | None, position: dict[EventID, int], off: int) -> int:
    """The position of the nearest ancestor on the mainline. Those passed on the way are remembered in `position`."""
    passed = []
    while ancestor is not None and ancestor not in position:
        passed.append(ancestor)
        position[ancestor] = off  # ends the walk on a cycle
        ancestor = graph.find_cited_levels(ancestor)
    place = off if ancestor is None else position[ancestor]
    position.update(dict.fromkeys(passed, place))
    return place
