"""What one sync shows of one room: which events, which state, and who is there.

A `View` is made from the live room (`live`) or from the tables (`stored`); the choices themselves are made here, on
values, so that both make the same.

Spec: client-server-api#syncing
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from federation.ids import RoomID, StateKey, UserID
from homeserver.rooms.sight import Seen
from homeserver.storage.events import RoomEvent
from homeserver.storage.state import StateChange
from homeserver.storage.sync import MEMBER, Counted
from homeserver.sync.filters import Filter

ENCRYPTION: Final[StateKey] = ("m.room.encryption", "")
NAME: Final[StateKey] = ("m.room.name", "")
ALIAS: Final[StateKey] = ("m.room.canonical_alias", "")
VISIBILITY: Final[StateKey] = ("m.room.history_visibility", "")
HEROES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is wanted of a room: the events above `since` (None: the last ones) and not above `upto`.

    The state is all of it where `whole`, else what changed since; with `state_after` at the end of the events instead
    of their start. `again` says that the person has come (back) to the room since, `left` that they are there no more.
    Messages of `ignored` people are left out.
    """

    room_id: RoomID
    user_id: UserID
    filter: Filter
    since: int | None
    upto: int
    whole: bool
    state_after: bool = False
    again: bool = False
    left: bool = False
    ignored: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class View:
    """What is shown of a room; `end` is the position of the timeline's end where it is limited and has no events.

    `state` is sent in any case, `members` (of senders, when members are lazily loaded) unless the client has them.
    `counted` is there when it may have changed, with `named` where the room has a name of its own. `met` and `lost` are
    those with whom the person now shares an encrypted room, and perhaps no more.
    """

    events: Sequence[Seen] = ()
    limited: bool = False
    end: int = 0
    state: Sequence[RoomEvent] = ()
    members: Sequence[RoomEvent] = ()
    counted: Counted | None = None
    named: bool = False
    met: Collection[UserID] = field(default_factory=tuple)
    lost: Collection[UserID] = field(default_factory=tuple)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.events or self.limited or self.state or self.counted)


def is_wanted(held: RoomEvent, ask: Ask) -> bool:
    """Whether an event belongs into the timeline, visibility aside. Ignored people still change the state."""
    event = held.event
    if event.sender in ask.ignored and event.state_key is None:
        return False
    return ask.filter.timeline.passes(event)


def choose(latest_first: Iterable[RoomEvent], ask: Ask) -> tuple[list[RoomEvent], bool]:
    """The last wanted events, as many as the filter allows, in stream order; and whether there are more."""
    limit = ask.filter.timeline.limit
    chosen: list[RoomEvent] = []
    if ask.filter.timeline.has_room(ask.room_id):
        for held in latest_first:
            if is_wanted(held, ask):
                if len(chosen) == limit:
                    return chosen[::-1], True
                chosen.append(held)
    return chosen[::-1], False


def first_by_key(events: Iterable[Seen]) -> dict[StateKey, RoomEvent]:
    """The first event of each key of the state in a timeline: what a client will apply over the state it is given."""
    first: dict[StateKey, RoomEvent] = {}
    for seen in events:
        event = seen.held.event
        if event.state_key is not None:
            first.setdefault(event.key, seen.held)
    return first


def senders_of(events: Iterable[Seen]) -> set[UserID]:
    """Who sent the events of a timeline."""
    return {seen.held.event.sender for seen in events}


def whole_state(
    state: Mapping[StateKey, RoomEvent], events: Sequence[Seen], ask: Ask, heroes: Collection[UserID]
) -> tuple[list[RoomEvent], list[int]]:
    """All state at the start of the timeline (or at its end), of lazily loaded members only those who matter; and the
    ids of those events that the first ones of the timeline replaced, which belong to it too.
    """
    if not ask.filter.state.has_room(ask.room_id):
        return [], []
    first = {} if ask.state_after else first_by_key(events)
    matter = {ask.user_id, *heroes, *senders_of(events)} if ask.filter.lazy else None
    passes = ask.filter.state.passes
    shown = [
        held
        for key, held in state.items()
        if key not in first and (matter is None or key[0] != MEMBER or key[1] in matter) and passes(held.event)
    ]
    replaced = [
        held.replaced.nid
        for key, held in first.items()
        if held.replaced is not None and (matter is None or key[0] != MEMBER or key[1] in matter)
    ]
    return shown, replaced


def changed_state(changes: Iterable[StateChange], events: Sequence[Seen], ask: Ask) -> list[int]:
    """What a client must be told of the state besides the timeline, as ids of events: of each key, the last change
    before the timeline changes it, or the last of all where it does not (or shall not be looked at).
    """
    if not ask.filter.state.has_room(ask.room_id):
        return []
    first = {} if ask.state_after else first_by_key(events)
    shown = frozenset() if ask.state_after else {seen.held.nid for seen in events}
    told: dict[StateKey, int] = {}
    for stream, key, nid in changes:
        before = first.get(key)
        if nid is not None and nid not in shown and (before is None or stream < before.stream):
            told[key] = nid
    return list(told.values())


def heroes_of(counted: Counted, user_id: UserID) -> list[UserID]:
    """The people by whom to call a room without a name.

    Spec: client-server-api#get_matrixclientv3sync
    """
    present = [other for other in counted.first if other != user_id]
    return (present or [other for other in counted.gone if other != user_id])[:HEROES]


def company_of(view: View) -> set[UserID]:
    """Those by whom anybody may have to call the room of a view."""
    if view.counted is None or view.named:
        return set()
    return {*view.counted.first, *view.counted.gone}


def is_named(state: Mapping[StateKey, RoomEvent]) -> bool:
    """Whether a room has a name or an alias to be called by."""
    return any(_says(state.get(key), what) for key, what in ((NAME, "name"), (ALIAS, "alias")))


def _says(held: RoomEvent | None, what: str) -> bool:
    return held is not None and bool(held.event.content.get(what))


def concerns_summary(key: StateKey) -> bool:
    """Whether a change of the state under that key may change who is counted or what the room is called."""
    return key[0] == MEMBER or key in (NAME, ALIAS)
