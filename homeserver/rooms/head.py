"""What a room is at one moment: an immutable value that every appended event succeeds by another."""

from math import isqrt
from typing import Final

import msgspec
from immutables import Map
from msgspec.structs import replace

from federation.auth import PowerLevels
from federation.event import Event
from federation.ids import ServerName, StateKey, UserID, server_of
from homeserver.storage.events import RoomEvent
from homeserver.storage.state import GroupRow

CREATE: Final[StateKey] = ("m.room.create", "")
POWER_LEVELS: Final[StateKey] = ("m.room.power_levels", "")

_LEAST_DELTA: Final = 16


class Head(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """State, extremities and what follows from them, sharing structure with the heads before and after.

    `group` is the state group of `state`; in storage it is `base` with the events of `delta` put over it. `joined` are
    the joined members' membership events, `servers` the number of joined members by server.
    """

    state: Map[StateKey, RoomEvent]
    group: int
    base: int
    delta: Map[StateKey, int]
    extremities: tuple[RoomEvent, ...]
    levels: PowerLevels
    joined: Map[UserID, RoomEvent]
    servers: Map[ServerName, int]

    @property
    def depth(self) -> int:
        """The depth of the deepest extremity."""
        return max([held.event.depth for held in self.extremities])

    def find(self, key: StateKey) -> Event | None:
        """The state event under that key."""
        held = self.state.get(key)
        return held.event if held is not None else None

    def after_message(self, held: RoomEvent) -> "Head":
        """The head that a message leaves."""
        return replace(self, extremities=(held,))

    def after_state(self, held: RoomEvent) -> tuple["Head", GroupRow]:
        """The head that a state event leaves, with its new state group; `held.group` is that group's id already."""
        key = held.event.key
        state = self.state.set(key, held)
        base, delta, row = self._extend_group(held, state)
        head = replace(self, state=state, group=held.group, base=base, delta=delta, extremities=(held,))
        if key[0] == "m.room.member":
            head = head._with_member(UserID(key[1]), held)
        elif key == POWER_LEVELS:
            head = head.relevelled()
        return head, row

    def relevelled(self) -> "Head":
        """The same head with its power levels read again."""
        create = self.state[CREATE].event
        return replace(self, levels=PowerLevels.of(create.version, create, self.find(POWER_LEVELS)))

    def _extend_group(
        self, held: RoomEvent, state: Map[StateKey, RoomEvent]
    ) -> tuple[int, Map[StateKey, int], GroupRow]:
        """A delta grows until writing it again and again costs what writing the whole once in a while does."""
        if len(self.delta) < max(_LEAST_DELTA, isqrt(2 * len(state))):
            delta = self.delta.set(held.event.key, held.nid)
            return self.base, delta, GroupRow(held.group, self.base, tuple(delta.values()))
        return held.group, Map(), GroupRow(held.group, None, tuple([each.nid for each in state.values()]))

    def _with_member(self, user_id: UserID, held: RoomEvent) -> "Head":
        was, is_now = user_id in self.joined, held.event.membership == "join"
        if not (was or is_now):
            return self
        joined = self.joined.set(user_id, held) if is_now else self.joined.delete(user_id)
        if was is is_now:
            return replace(self, joined=joined)
        server = server_of(user_id)
        count = self.servers.get(server, 0) + (1 if is_now else -1)
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
    create = state[CREATE].event
    power_levels = state.get(POWER_LEVELS)
    joined: dict[UserID, RoomEvent] = {}
    servers: dict[ServerName, int] = {}
    for key, held in state.items():
        if key[0] == "m.room.member" and held.membership == "join":
            user_id = UserID(key[1])
            joined[user_id] = held
            server = server_of(user_id)
            servers[server] = servers.get(server, 0) + 1
    return Head(
        state=state,
        group=group.nid,
        base=group.nid if group.base is None else group.base,
        delta=delta,
        extremities=extremities,
        levels=PowerLevels.of(create.version, create, power_levels.event if power_levels else None),
        joined=Map(joined),
        servers=Map(servers),
    )
