"""The state of rooms: after any event (groups), as it changed (state_changes), and as it is now.

A state group is the whole state after an event as ids of events, or what differs from one such whole (its base), so any
past state is two indexed reads and a fold.
"""

from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from federation.ids import EventID, StateKey
from homeserver.storage.database import Insert, Txn
from homeserver.storage.events import RoomEvent, load_events, load_recent
from homeserver.storage.rooms import RoomRecord

_GROUP: Final = Insert("INSERT INTO state_groups (nid, room_nid, base_nid, event_nids) VALUES (?, ?, ?, ?)")
_CHANGE: Final = Insert(
    "INSERT INTO state_changes (room_nid, stream, type, state_key, event_nid) VALUES (?, ?, ?, ?, ?)"
)
_FORK: Final = Insert(
    "INSERT INTO forks (room_nid, stream, group_nid, depth, extremities) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (room_nid) DO UPDATE SET stream = excluded.stream, group_nid = excluded.group_nid,"
    " depth = excluded.depth, extremities = excluded.extremities"
)


class GroupRow(NamedTuple):
    """A new state group: with `base` None the whole state, else what differs from that group."""

    nid: int
    base: int | None
    event_nids: tuple[int, ...]


class StateChange(NamedTuple):
    """One key of a room's current state got another event at a stream position, or none."""

    stream: int
    key: StateKey
    event_nid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """All that a live room begins with. Up to `forked_upto` its history may have forked."""

    state: Mapping[StateKey, RoomEvent]
    group: GroupRow
    extremities: tuple[RoomEvent, ...]
    recent: list[RoomEvent]
    recent_floor: int
    forked_upto: int = 0


def append_group(txn: Txn, room_nid: int, group: GroupRow) -> None:
    """Record a state group."""
    txn.append(_GROUP, (group.nid, room_nid, group.base, _pack(group.event_nids)))


def append_state_change(txn: Txn, room_nid: int, change: StateChange) -> None:
    """Record that the current state changed."""
    txn.append(_CHANGE, (room_nid, change.stream, *change.key, change.event_nid))


def set_fork(txn: Txn, room_nid: int, stream: int, group: int, extremities: Collection[RoomEvent]) -> None:
    """Record that the room's last event is not its only extremity, or not the last word on its state."""
    depth = max(held.event.depth for held in extremities)
    ids = msgspec.json.encode([held.event_id for held in extremities]).decode()
    txn.append(_FORK, (room_nid, stream, group, depth, ids))


def has_present(txn: Txn, room_nid: int) -> bool:
    """Whether a room has a timeline here, and is not only known for an invitation to it."""
    return (
        txn.one("SELECT 1 FROM events WHERE room_nid = ? AND stream > 0 AND standing = 0 LIMIT 1", (room_nid,))
        is not None
    )


def load_present(txn: Txn, room: RoomRecord, most_recent: int) -> Present:
    """The room as it is now, with its last events."""
    recent = load_recent(txn, room, most_recent + 1)
    floor = recent.pop(0).stream if len(recent) > most_recent else 0
    last = recent[-1]
    forked_upto, *fork = txn.one(
        "SELECT stream, group_nid, extremities FROM forks WHERE room_nid = ?", (room.nid,)
    ) or (0, 0, "")
    is_forked = forked_upto >= last.stream
    group = load_group(txn, fork[0] if is_forked else last.group)
    nids = load_group_nids(txn, group)
    known = {held.nid: held for held in recent}
    known |= load_events(txn, room, [nid for nid in nids if nid not in known])
    state = {held.key: held for held in (known[nid] for nid in nids)}
    extremities = _load_extremities(txn, room, msgspec.json.decode(fork[1]), known) if is_forked else (last,)
    return Present(
        state=state,
        group=group,
        extremities=extremities,
        recent=recent,
        recent_floor=floor,
        forked_upto=forked_upto,
    )


def _load_extremities(
    txn: Txn, room: RoomRecord, event_ids: list[EventID], known: Mapping[int, RoomEvent]
) -> tuple[RoomEvent, ...]:
    nids = [nid for (nid,) in txn.all_in("SELECT nid FROM events WHERE event_id {in}", event_ids)]
    found = {**known, **load_events(txn, room, [nid for nid in nids if nid not in known])}
    in_order = {found[nid].event_id: found[nid] for nid in nids}
    return tuple([in_order[event_id] for event_id in event_ids])


def load_group(txn: Txn, nid: int) -> GroupRow:
    """A state group as it was recorded.

    Raises: LookupError when there is none.
    """
    row = txn.one("SELECT base_nid, event_nids FROM state_groups WHERE nid = ?", (nid,))
    if row is None:
        raise LookupError(f"no state group {nid}")
    return GroupRow(nid, row[0], _unpack(row[1]))


def load_group_nids(txn: Txn, group: GroupRow) -> tuple[int, ...]:
    """The events of a group's state; of two for one key the later counts."""
    base = () if group.base is None else load_group(txn, group.base).event_nids
    return base + group.event_nids


def load_state(txn: Txn, room: RoomRecord, group: int) -> dict[StateKey, RoomEvent]:
    """The whole state of a group."""
    nids = load_group_nids(txn, load_group(txn, group))
    held = load_events(txn, room, nids)
    return {held[nid].key: held[nid] for nid in nids}


def find_in_groups(txn: Txn, groups: Iterable[int], *wanted: Collection[int]) -> dict[int, tuple[int | None, ...]]:
    """By group, for each collection of events that are all of one key, which of them is in the group's state."""
    rows = _load_group_rows(txn, groups)
    bases = _load_group_rows(txn, {row.base for row in rows.values() if row.base is not None} - rows.keys())
    chosen = [frozenset(nids) for nids in wanted]
    nearest = {nid: [_find_in(nids, row) for nids in chosen] for nid, row in (rows | bases).items()}
    nothing: list[int | None] = [None] * len(chosen)
    return {
        nid: tuple(
            own if own is not None else inherited
            for own, inherited in zip(nearest[nid], nearest.get(row.base or 0, nothing), strict=True)
        )
        for nid, row in rows.items()
    }


def find_state(txn: Txn, room: RoomRecord, group: int, event_type: str, state_keys: Collection[str]) -> list[RoomEvent]:
    """The events of one type and these keys in a group's state."""
    row = load_group(txn, group)
    candidates = txn.all_in(
        "SELECT nid, state_key FROM events WHERE state_key {in} AND room_nid = ? AND type = ?",
        state_keys,
        (room.nid, event_type),
    )
    nids = load_group_nids(txn, row)
    at = {nid: index for index, nid in enumerate(nids)}
    chosen: dict[str, int] = {}
    for nid, state_key in sorted(candidates, key=lambda row: at.get(row[0], -1)):
        if nid in at:
            chosen[state_key] = nid
    return list(load_events(txn, room, chosen.values()).values())


def _load_group_rows(txn: Txn, groups: Iterable[int]) -> dict[int, GroupRow]:
    rows = txn.all_in("SELECT nid, base_nid, event_nids FROM state_groups WHERE nid {in}", set(groups))
    return {nid: GroupRow(nid, base, _unpack(packed)) for nid, base, packed in rows}


def _find_in(chosen: frozenset[int], row: GroupRow) -> int | None:
    return next(iter(chosen.intersection(row.event_nids)), None)


class KeyEvent(NamedTuple):
    """A state event of a key: stream position, None outside the timeline, and membership if it gives one."""

    stream: int | None
    membership: str | None


def load_key_events(txn: Txn, room_nid: int, key: StateKey) -> dict[int, KeyEvent]:
    """All events of one key that a room ever had, by id."""
    rows = txn.all(
        "SELECT nid, stream, membership FROM events WHERE room_nid = ? AND type = ? AND state_key = ?",
        (room_nid, *key),
    )
    return {nid: KeyEvent(stream, membership) for nid, stream, membership in rows}


def load_state_changes(txn: Txn, room_nid: int, after: int, upto: int) -> list[StateChange]:
    """What changed in a room's current state above `after` and not above `upto`, in stream order."""
    rows = txn.all(
        "SELECT stream, type, state_key, event_nid FROM state_changes"
        " WHERE room_nid = ? AND stream > ? AND stream <= ? ORDER BY stream",
        (room_nid, after, upto),
    )
    return [StateChange(stream, (type_, state_key), nid) for stream, type_, state_key, nid in rows]


def _pack(nids: Iterable[int]) -> bytes:
    return array("q", nids).tobytes()


def _unpack(packed: bytes) -> tuple[int, ...]:
    nids = array("q")
    nids.frombytes(packed)
    return tuple(nids)
