"""What there is to show of a room: from memory for those the person is in, else from the tables."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from federation.event import stripped_state
from federation.ids import DeviceID, RoomID, StateKey, UserID
from homeserver.rooms.bundles import load_bundled
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.sight import Seen
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, load_events
from homeserver.storage.rooms import RoomRecord, load_rooms
from homeserver.storage.sliding import BUMPS, find_bump, load_redacted
from homeserver.storage.state import load_state_changes
from homeserver.storage.sync import MEMBER, Stay, count_members, load_last_stays, load_state_at
from homeserver.streams import Feed
from homeserver.sync.parts import Parts
from homeserver.sync.sliding.connections import Sent
from homeserver.sync.sliding.required import Config, State, group_state
from homeserver.sync.stored import choose_stored, view_left
from homeserver.sync.stripped import read_stripped
from homeserver.sync.views import HEROES, NAME, Ask, View, concerns_summary

REDACTION: Final = "m.room.redaction"
AVATAR: Final[StateKey] = ("m.room.avatar", "")
MOST_GROUPED: Final = 1000
"""Of how many live rooms the state is kept grouped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be shown of a room that somebody is or was in since `stay`, up to `upto`: what is new above `since`,
    or (None) all. With `grows` the client may lack events that it wants by now, from before that too.
    """

    room_id: RoomID
    user_id: UserID
    config: Config
    membership: str
    stay: int
    upto: int
    sent: Sent | None = None
    since: int | None = None
    grows: bool = False
    dm: bool = False
    ignored: frozenset[str] = frozenset()

    @property
    def ask(self) -> Ask:
        """What is wanted of the timeline, in the terms of sync."""
        since = None if self.grows else self.since
        return Ask(
            room_id=self.room_id,
            user_id=self.user_id,
            filter=self.config.filter,
            since=since,
            upto=self.upto,
            whole=since is None,
            ignored=self.ignored,
        )


@dataclass(slots=True, kw_only=True)
class Showing:
    """What was found of a room: its timeline, its state, and which of it changed (None: all is new).

    `timeline` are the bytes of the view where those are known; `bump` is the position of the last activity;
    `stripped` is the stripped state where the person never was in the room.
    """

    view: View = field(default_factory=View)
    state: State = field(default_factory=lambda: State({}))
    changed: Collection[StateKey] | None = None
    timeline: bytes | None = None
    bump: int | None = None
    stripped: bytes | None = None


class LiveRooms:
    """Finds what there is to show of rooms in memory."""

    def __init__(self, rooms: Rooms, parts: Parts) -> None:
        self._rooms = rooms
        self._parts = parts
        self._groups: OrderedDict[RoomID, tuple[object, Mapping[str, Sequence[RoomEvent]]]] = OrderedDict()

    def find(self, wish: Wish, feed: Feed, device_id: DeviceID) -> Showing | None:
        """What is wanted of a room that the person is in, as of now; None: ask the tables."""
        room = self._rooms.find(wish.room_id)
        log = feed.rooms.get(wish.room_id)
        if wish.membership != "join" or room is None or log is None:
            return None
        if wish.since is not None and wish.since < log.floor:
            return None
        part = self._parts.find(wish.ask, feed, device_id)
        if part is None:
            return None
        window: Iterable[RoomEvent] = room.recent if wish.since is None else log.since(wish.since, wish.upto)
        bump = max((held.stream for held in window if held.type in BUMPS), default=None)
        if wish.since is None and bump is None:
            return None
        changed = {(held.type, held.state_key) for held in window if held.state_key is not None}
        redacted = {held.event.redacts for held in window if held.type == REDACTION}
        changed |= _redacted(redacted, room.shown.state)
        return Showing(
            view=part.view,
            state=State(room.shown.state, self._grouping(wish.room_id, room.shown.state)),
            changed=None if wish.since is None else changed,
            timeline=part.timeline,
            bump=bump,
        )

    def group(self, room_id: RoomID, state: Mapping[StateKey, RoomEvent]) -> Mapping[str, Sequence[RoomEvent]]:
        """The state of a live room, by type, without members: grouped once for each state of it."""
        known = self._groups.get(room_id)
        if known is None or known[0] is not state:
            known = self._groups[room_id] = (state, group_state(state))
            if len(self._groups) > MOST_GROUPED:
                self._groups.popitem(last=False)
        self._groups.move_to_end(room_id)
        return known[1]

    def _grouping(
        self, room_id: RoomID, state: Mapping[StateKey, RoomEvent]
    ) -> Callable[[], Mapping[str, Sequence[RoomEvent]]]:
        return lambda: self.group(room_id, state)


def read_showings(txn: Txn, wishes: Sequence[Wish]) -> dict[RoomID, Showing]:
    """What is wanted of some rooms, from the tables."""
    records = load_rooms(txn, [wish.room_id for wish in wishes])
    found = {}
    for wish in wishes:
        record = records.get(wish.room_id)
        if record is None:  # it was purged meanwhile
            showing = Showing(view=View(limited=True), state=State({}), changed=None if wish.since is None else set())
        elif wish.membership == "join":
            showing = _read_joined(txn, record, wish)
        elif wish.membership in ("invite", "knock"):
            showing = _read_outside(txn, record, wish)
        else:
            showing = _read_left(txn, record, wish)
        found[wish.room_id] = showing
    return found


def _read_joined(txn: Txn, record: RoomRecord, wish: Wish) -> Showing:
    events, limited = choose_stored(txn, record, wish.ask)
    changed = _read_changed(txn, record, wish.since, wish.upto)
    view = View(events=_bundled(txn, record, wish, events, limited=limited), limited=limited)
    if changed is None or any(concerns_summary(key) for key in changed):
        view.counted = count_members(txn, record.nid, HEROES + 1)
    bump = find_bump(txn, record.nid, wish.upto) if changed is None or events else None
    state = _read_state(txn, record, wish, wish.upto, _people(wish, view, changed or ()))
    if changed is not None and wish.since is not None:
        changed |= _redacted(load_redacted(txn, record.nid, wish.since, wish.upto), state)
    return Showing(view=view, state=State(state), changed=changed, bump=bump)


def _redacted(event_ids: Collection[str | None], state: Mapping[StateKey, RoomEvent]) -> set[StateKey]:
    """What the room is called by that is redacted: it is called otherwise now, though no event says so."""
    if not event_ids:
        return set()
    return {key for key in (NAME, AVATAR) if (held := state.get(key)) is not None and held.event_id in event_ids}


def _bundled(txn: Txn, record: RoomRecord, wish: Wish, events: Sequence[Seen], *, limited: bool) -> Sequence[Seen]:
    return load_bundled(txn, record, wish.user_id, events) if limited else events


def _read_changed(txn: Txn, record: RoomRecord, since: int | None, upto: int) -> set[StateKey] | None:
    return None if since is None else {change.key for change in load_state_changes(txn, record.nid, since, upto)}


def _read_state(
    txn: Txn, record: RoomRecord, wish: Wish, upto: int, people: Collection[UserID]
) -> dict[StateKey, RoomEvent]:
    state = load_state_at(txn, record, upto, members=None if wish.config.all_members else people)
    for held in state.values():
        if held.type != MEMBER or held.state_key in people:
            _ = held.client  # encoded here rather than on the reactor's thread
    return state


def _people(wish: Wish, view: View, changed: Iterable[StateKey]) -> set[UserID]:
    """Whose membership events may be shown."""
    people = {wish.user_id, *map(UserID, wish.config.members), *people_of(view.events)}
    people.update(UserID(key[1]) for key in changed if key[0] == MEMBER)
    if view.counted is not None:
        people.update(view.counted.first, view.counted.gone)
    return people


def people_of(events: Iterable[Seen]) -> set[UserID]:
    """The senders of events, and those whose memberships they are."""
    people = set()
    for seen in events:
        people.add(seen.held.event.sender)
        if seen.held.type == MEMBER:
            people.add(UserID(seen.held.state_key or ""))
    return people


def _read_outside(txn: Txn, record: RoomRecord, wish: Wish) -> Showing:
    """The stripped state of a room that the person is asked into, or knocks at."""
    stay = load_last_stays(txn, wish.user_id, (record.room_id, record.nid), wish.upto)[-1]
    member = load_events(txn, record, [stay.event_nid])[stay.event_nid]
    return Showing(stripped=read_stripped(txn, record, stay.stream, member))


def _read_left(txn: Txn, record: RoomRecord, wish: Wish) -> Showing:
    """A room up to when the person left it, and what became of them since."""
    stays = load_last_stays(txn, wish.user_id, (record.room_id, record.nid), wish.upto)
    own = load_events(txn, record, [stays[-1].event_nid])[stays[-1].event_nid]
    key = (MEMBER, str(wish.user_id))
    if not stays[0].was_joined:
        stripped = msgspec.json.encode([stripped_state(own.event)])
        view = View(events=[Seen(own, stays[-1].membership, previous=False)], limited=True)
        return Showing(view=view, state=State({key: own}), stripped=stripped)
    return _read_departure(txn, record, wish, stays, own)


def _read_departure(txn: Txn, record: RoomRecord, wish: Wish, stays: Sequence[Stay], own: RoomEvent) -> Showing:
    end = stays[0].stream
    since = wish.since if wish.since is not None and wish.since < end else None
    ask = Ask(
        room_id=wish.room_id,
        user_id=wish.user_id,
        filter=wish.config.filter,
        since=since,
        upto=end,
        whole=since is None,
        left=True,
        ignored=wish.ignored,
    )
    view = view_left(txn, record, ask, stays)
    view.counted = None
    view.events = _bundled(txn, record, wish, view.events, limited=view.limited)
    changed = _read_changed(txn, record, since, end)
    state = _read_state(txn, record, wish, end, _people(wish, view, changed or ()))
    key = (MEMBER, str(wish.user_id))
    state[key] = own
    return Showing(view=view, state=State(state), changed=None if changed is None else {*changed, key})


def hide(showing: Showing, wish: Wish) -> Showing:
    """What remains of a room that the person has left and may see no more: that they have."""
    key = (MEMBER, str(wish.user_id))
    own = showing.state.get(key)
    state = {} if own is None else {key: own}
    events = [seen for seen in showing.view.events if seen.held is own or (own and seen.held.nid == own.nid)]
    return Showing(view=View(events=events, limited=True), state=State(state), stripped=showing.stripped)
