"""States that are not in memory: read as groups, and added up where branches of history meet. All of it runs in a
reading thread, where a long resolution keeps nobody waiting.

Spec: server-server-api#room-state-resolution
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from immutables import Map

from federation.ids import EventID, StateKey
from federation.resolution import resolve
from homeserver.rooms.groups import Group
from homeserver.rooms.receive.chains import Outlier
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, Standing, load_events
from homeserver.storage.received import Chain, find_rejected
from homeserver.storage.rooms import RoomRecord
from homeserver.storage.state import load_group, load_group_nids


class Needed(NamedTuple):
    """States that must be in memory before one can go on; with `added` also what they add up to."""

    groups: frozenset[int]
    added: bool


class Resolved(NamedTuple):
    """What states add up to, as what differs from the first of them."""

    first: Group
    changes: Mapping[StateKey, RoomEvent | None]


def read_groups(txn: Txn, room: RoomRecord, nids: Sequence[int], near: Map[StateKey, RoomEvent]) -> list[Group]:
    """States by their ids, sharing what they can with one that is `near`."""
    rows = [load_group(txn, nid) for nid in nids]
    members = [load_group_nids(txn, row) for row in rows]
    known = {held.nid: held for held in near.values()}
    known |= load_events(txn, room, {nid for each in members for nid in each if nid not in known})
    groups = []
    for row, each in zip(rows, members, strict=True):
        state = {known[nid].key: known[nid] for nid in each}
        delta = {} if row.base is None else {known[nid].key: nid for nid in row.event_nids}
        base = row.nid if row.base is None else row.base
        groups.append(Group(nid=row.nid, base=base, delta=Map(delta), state=share(state, near)))
    return groups


def share(state: Mapping[StateKey, RoomEvent], near: Map[StateKey, RoomEvent]) -> Map[StateKey, RoomEvent]:
    """The state as a map that has its structure in common with another one."""
    shared = near.mutate()
    for key in near:
        if key not in state:
            del shared[key]
    for key, held in state.items():
        if near.get(key) is not held:
            shared[key] = held
    found: Map[StateKey, RoomEvent] = shared.finish()
    return found


def read_sum(txn: Txn, room: RoomRecord, groups: Sequence[Group], at_hand: Sequence[Outlier]) -> Resolved:
    """What states add up to; `at_hand` are events that storage may not have yet."""
    first = max(groups, key=lambda group: len(group.state))
    sets = [{key: held.event_id for key, held in group.state.items()} for group in groups]
    held = {each.event_id: each for group in groups for each in group.state.values()}
    chain = Chain(txn, room, held | {each.event_id: each for each, _ in at_hand})
    chain.gather(held)
    rejected = {each.event_id for each, standing in at_hand if standing is Standing.REJECTED}
    rejected |= find_rejected(txn, [event_id for event_id in chain.held if event_id not in held])
    state = resolve(room.version, sets, chain.find, rejected.__contains__)
    return Resolved(first, _changes(first, state, chain.held))


def _changes(
    first: Group, state: Mapping[StateKey, EventID], held: Mapping[EventID, RoomEvent]
) -> dict[StateKey, RoomEvent | None]:
    changes: dict[StateKey, RoomEvent | None] = {
        key: held[event_id]
        for key, event_id in state.items()
        if (was := first.state.get(key)) is None or was.event_id != event_id
    }
    return changes | {key: None for key in first.state if key not in state}
