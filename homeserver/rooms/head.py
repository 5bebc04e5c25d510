"""What a room is at one moment: an immutable value that every appended event succeeds by another."""

from typing import Final

import msgspec
from immutables import Map
from msgspec.structs import replace

from federation.auth import PowerLevels
from federation.event import Event
from federation.ids import ServerName, StateKey, UserID, server_of
from homeserver.rooms.groups import CREATE, POWER_LEVELS, Changes, Group, difference
from homeserver.storage.events import RoomEvent
from homeserver.storage.state import GroupRow

__all__ = ["CREATE", "MOST_BEFORE", "POWER_LEVELS", "Head", "build_head", "first_head"]

MOST_BEFORE: Final = 20
"""How many events an event can follow at most. Spec: rooms/v12#event-format"""


class Head(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """State, extremities and what follows from them, sharing structure with the heads before and after.

    `at` is the current state with its group: where history has forked, what the states after the extremities add up
    to. `joined` are the joined members' membership events, `servers` the number of joined members by server.
    """

    at: Group
    extremities: tuple[RoomEvent, ...]
    levels: PowerLevels
    joined: Map[UserID, RoomEvent]
    servers: Map[ServerName, int]

    @property
    def state(self) -> Map[StateKey, RoomEvent]:
        """The current state."""
        return self.at.state

    @property
    def group(self) -> int:
        """The id of the current state."""
        return self.at.nid

    @property
    def depth(self) -> int:
        """The depth of the deepest extremity."""
        return max([held.event.depth for held in self.extremities])

    @property
    def before(self) -> tuple[RoomEvent, ...]:
        """What an event of ours follows: all extremities, or the deepest of too many."""
        if len(self.extremities) <= MOST_BEFORE:
            return self.extremities
        return tuple(sorted(self.extremities, key=lambda held: held.event.depth)[-MOST_BEFORE:])

    def find(self, key: StateKey) -> Event | None:
        """The state event under that key."""
        held = self.at.state.get(key)
        return held.event if held is not None else None

    def after_message(self, held: RoomEvent) -> "Head":
        """The head that a message of ours leaves."""
        return replace(self, extremities=self._left_by(held))

    def after_state(self, held: RoomEvent) -> tuple["Head", GroupRow]:
        """The head that a state event of ours leaves, and its state group, whose id `held.group` is already."""
        at, row = self.at.after(held)
        return self.become(at, self._left_by(held), {held.key: held}), row

    def become(self, at: Group, extremities: tuple[RoomEvent, ...], changes: Changes | None = None) -> "Head":
        """The head with that state and these extremities; `changes` is how the state differs, if the caller knows."""
        if changes is None:
            changes = difference(self.state, at.state)
        head = replace(self, at=at, extremities=extremities)
        for key, held in changes.items():
            if key[0] == "m.room.member":
                head = head._with_member(UserID(key[1]), held)
        return head.relevelled() if POWER_LEVELS in changes else head

    def relevelled(self) -> "Head":
        """The same head with its power levels read again."""
        return replace(self, levels=self.at.levels)

    def _left_by(self, held: RoomEvent) -> tuple[RoomEvent, ...]:
        if len(self.extremities) <= MOST_BEFORE:
            return (held,)
        before = set(held.event.prev_events)
        return (*[each for each in self.extremities if each.event_id not in before], held)

    def _with_member(self, user_id: UserID, held: RoomEvent | None) -> "Head":
        is_now = held if held is not None and held.membership == "join" else None
        was = user_id in self.joined
        if not was and is_now is None:
            return self
        joined = self.joined.delete(user_id) if is_now is None else self.joined.set(user_id, is_now)
        if was and is_now is not None:
            return replace(self, joined=joined)
        server = server_of(user_id)
        count = self.servers.get(server, 0) + (-1 if is_now is None else 1)
        servers = self.servers.set(server, count) if count else self.servers.delete(server)
        return replace(self, joined=joined, servers=servers)


def first_head(held: RoomEvent) -> tuple[Head, GroupRow]:
    """The head that a create event leaves, with its state group."""
    group = GroupRow(held.group, None, (held.nid,))
    return build_head(Map({CREATE: held}), group, Map(), (held,)), group


def build_head(
    state: Map[StateKey, RoomEvent], group: GroupRow, delta: Map[StateKey, int], extremities: tuple[RoomEvent, ...]
) -> Head:
    """The head of a room that comes from storage; `delta` are the group's events by key, if it has a base."""
    base = group.nid if group.base is None else group.base
    at = Group(nid=group.nid, base=base, delta=delta, state=state)
    return head_of(at, extremities)


def head_of(at: Group, extremities: tuple[RoomEvent, ...]) -> Head:
    """The head with that state and these extremities, all else read from them."""
    joined: dict[UserID, RoomEvent] = {}
    servers: dict[ServerName, int] = {}
    for key, held in at.state.items():
        if key[0] == "m.room.member" and held.membership == "join":
            user_id = UserID(key[1])
            joined[user_id] = held
            server = server_of(user_id)
            servers[server] = servers.get(server, 0) + 1
    return Head(at=at, extremities=extremities, levels=at.levels, joined=Map(joined), servers=Map(servers))
