"""States of a room as values: a state group with all that it holds, and those of a room that are in memory."""

from collections import OrderedDict
from collections.abc import Mapping
from math import isqrt
from typing import Final

import msgspec
from immutables import Map

from federation.auth import PowerLevels
from federation.event import Event
from federation.ids import StateKey
from homeserver.storage.events import RoomEvent
from homeserver.storage.state import GroupRow

CREATE: Final[StateKey] = ("m.room.create", "")
POWER_LEVELS: Final[StateKey] = ("m.room.power_levels", "")
Changes = Mapping[StateKey, RoomEvent | None]
"""State that is another now, by key; None where there is none any more."""

MOST_KEPT: Final = 64
_LEAST_DELTA: Final = 16


class Group(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A state group: in storage it is `base` with the events of `delta` put over it."""

    nid: int
    base: int
    delta: Map[StateKey, int]
    state: Map[StateKey, RoomEvent]

    def find(self, key: StateKey) -> Event | None:
        """The state event under that key."""
        held = self.state.get(key)
        return held.event if held is not None else None

    @property
    def levels(self) -> PowerLevels:
        """The power levels in this state."""
        create = self.state[CREATE].event
        return PowerLevels.of(create.version, create, self.find(POWER_LEVELS))

    def after(self, held: RoomEvent) -> tuple["Group", GroupRow]:
        """The state after an event whose `group` is that state's id already, and its row."""
        return self.turn(held.group, {held.key: held})

    def turn(self, nid: int, changes: Changes) -> tuple["Group", GroupRow]:
        """The state that differs by these changes, with its id, and its row.

        A delta grows until writing it again and again costs what writing the whole once in a while does.
        """
        state, delta = self.state.mutate(), self.delta.mutate()
        for key, held in changes.items():
            if held is not None:
                state[key], delta[key] = held, held.nid
            else:
                state.pop(key, None)
        after, more = state.finish(), delta.finish()
        if None not in changes.values() and len(more) <= max(_LEAST_DELTA, isqrt(2 * len(after))):
            return _extend(nid, self.base, after, more)
        return whole_group(nid, after)


def _extend(nid: int, base: int, state: Map[StateKey, RoomEvent], delta: Map[StateKey, int]) -> tuple[Group, GroupRow]:
    return Group(nid=nid, base=base, delta=delta, state=state), GroupRow(nid, base, tuple(delta.values()))


def whole_group(nid: int, state: Map[StateKey, RoomEvent]) -> tuple[Group, GroupRow]:
    """A state that rests on no other, and its row."""
    row = GroupRow(nid, None, tuple([held.nid for held in state.values()]))
    return Group(nid=nid, base=nid, delta=Map(), state=state), row


def difference(one: Map[StateKey, RoomEvent], other: Map[StateKey, RoomEvent]) -> dict[StateKey, RoomEvent | None]:
    """What must change for one state to become the other."""
    if one is other:
        return {}
    changed: dict[StateKey, RoomEvent | None] = {
        key: held for key, held in other.items() if (was := one.get(key)) is None or was.nid != held.nid
    }
    return changed | {key: None for key in one if key not in other}


class Groups:
    """The last states of a room, at most so many, and what several of them add up to; `rows` are of those not yet
    written.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._known: OrderedDict[int, Group] = OrderedDict()
        self._sums: OrderedDict[frozenset[int], Group] = OrderedDict()
        self._rows: dict[int, GroupRow] = {}

    def find(self, nid: int) -> Group | None:
        """The state of that id."""
        return self._known.get(nid)

    def find_sum(self, nids: frozenset[int]) -> Group | None:
        """What these states add up to."""
        return self._sums.get(nids)

    def keep(self, group: Group, row: GroupRow | None = None) -> None:
        """Remember a state; its row, if it is yet to be written by whoever builds on it."""
        _remember(self._known, group.nid, group, self._most)
        if row is not None:
            self._rows[group.nid] = row

    def keep_sum(self, nids: frozenset[int], group: Group) -> None:
        """Remember what these states add up to."""
        _remember(self._sums, nids, group, self._most)

    def take_row(self, nid: int) -> GroupRow | None:
        """The row of a state that nobody has written yet; the caller does."""
        return self._rows.pop(nid, None)

    def forget(self) -> None:
        """Leave all to storage, as when an event of theirs is no more what it was."""
        written = [nid for nid in self._known if nid not in self._rows]
        for nid in written:
            del self._known[nid]
        self._sums.clear()


def _remember(
    known: "OrderedDict[int, Group] | OrderedDict[frozenset[int], Group]", key: object, group: Group, most: int
) -> None:
    known[key] = group  # type: ignore[index]  # the key is of the kind that the dictionary has
    known.move_to_end(key)  # type: ignore[arg-type]  # the same
    if len(known) > most:
        known.popitem(last=False)
