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
    nodes = yield from graph.between(event_ids)
    blocked: dict[EventID, set[EventID]] = {}
    blocking: dict[EventID, list[EventID]] = {}
    for event_id in nodes:
        blocked[event_id] = nodes.intersection(graph.load(event_id).auth_events)
        for cited in blocked[event_id]:
            blocking.setdefault(cited, []).append(event_id)

    def rank(event_id: EventID) -> tuple[_Rank, EventID]:
        if event_id not in event_ids:
            return (), event_id
        event = graph.load(event_id)
        return (-graph.power_of_sender(event), event.origin_server_ts, event_id), event_id

    free = [rank(event_id) for event_id in nodes if not blocked[event_id]]
    heapify(free)
    order: list[EventID] = []
    seen = 0
    while free:
        event_id = heappop(free)[1]
        if event_id in event_ids:
            order.append(event_id)
        for waiting in blocking.get(event_id, ()):
            blocked[waiting].remove(event_id)
            if not blocked[waiting]:
                heappush(free, rank(waiting))
        seen += 1
        if not seen % SLICE:
            yield
    return order


def mainline_order(graph: AuthGraph, event_ids: Set[EventID], power_levels: EventID | None) -> Steps[list[EventID]]:
    """The mainline ordering: events that rest on older power levels first, as seen from the given ones; then time, ID.

    Spec: rooms/v12#definitions
    """
    position: dict[EventID, int] = {}
    ancestor = power_levels
    while ancestor is not None and ancestor not in position:
        position[ancestor] = len(position)
        ancestor = graph.find_cited_levels(ancestor)
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
