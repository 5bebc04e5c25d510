"""The live room: a room that is in use, in memory.

An event of ours is built on `head`, synchronously, and waits there for its commit; `shown` follows when the commit has
come. A room is never mended: when a write fails it is dropped, all that was built on it fails, and whoever comes next
loads it anew.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from immutables import Map
from twisted.internet.defer import Deferred, succeed

from federation.auth import auth_types, check_auth, may_redact
from federation.errors import Refused
from federation.event import Event
from federation.ids import RoomID, StateKey, UserID
from federation.redaction import redact_event
from federation.versions import RoomVersion
from homeserver.rooms.groups import Groups
from homeserver.rooms.head import CREATE, POWER_LEVELS, Head, build_head, first_head
from homeserver.rooms.recommending import recommend_own
from homeserver.rooms.seal import Draft, Place, Seal
from homeserver.rooms.writing import Addition, Pending, RoomDropped
from homeserver.storage.events import RoomEvent, Standing
from homeserver.storage.relations import BUNDLED, find_relation
from homeserver.storage.rooms import RoomRecord
from homeserver.storage.state import Present

MOST_RECENT: Final = 100


class Room:
    """A live room. `head` is what new events build on, `shown` what is committed and may be shown; messages older than
    `horizon_ms` may not.

    `recent` are the last committed events in ascending stream order: every event of the room with a stream position
    above `recent_floor` is in it; `parents` are those of them that others relate to. `live`: this is the one live room
    of its ID; nothing can be added to another.
    `published`: that the room directory lists it. `groups` are states that are in memory. Up to `forked_upto` the state
    before an event may be another than what the events before it in the stream make. `gap_at` is where in the timeline
    something was last missing before an event.
    """

    def __init__(self, record: RoomRecord, head: Head) -> None:
        self.record = record
        self.nid = record.nid
        self.room_id = record.room_id
        self.version = record.version
        self.head = self.shown = head
        self.horizon_ms = 0
        self.recent: deque[RoomEvent] = deque()
        self.recent_floor = 0
        self.parents: set[str] = set()
        self.live = True
        self.published = False
        self.groups = Groups()
        self.forked_upto = 0
        self.gap_at = 0
        self._additions: deque[Addition] = deque()
        self._settling: list[Deferred[None]] = []

    # what is there

    @property
    def create(self) -> Event:
        """The create event."""
        return self.shown.state[CREATE].event

    def state(self, event_type: str, state_key: str = "", /) -> Event | None:
        """The current (committed) state event under that key."""
        return self.shown.find((event_type, state_key))

    def membership(self, user_id: UserID, /) -> str | None:
        """The current (committed) membership of that person, None if there never was one."""
        member = self.shown.find(("m.room.member", user_id))
        return member.membership if member is not None else None

    @property
    def joined_members(self) -> Map[UserID, RoomEvent]:
        """The people who are joined (committed), with their membership events."""
        return self.shown.joined

    def find_recent(self, event_id: str) -> RoomEvent | None:
        """The committed event of that ID if it is among the recent ones."""
        return next((held for held in reversed(self.recent) if held.event_id == event_id), None)

    @property
    def pending_events(self) -> list[tuple[RoomEvent, Standing]]:
        """Events that are not committed yet, and what became of them."""
        return [(pending.held, pending.standing) for addition in self._additions for pending in addition.pendings]

    # what may come

    def add(self, seal: Seal, drafts: Sequence[Draft]) -> Addition:
        """Build events on the head, one on the other; the caller hands the addition to the writer at once.

        Raises: RoomDropped; Refused, EventTooLarge or Invalid when one of them cannot be: then none of them is.
        """
        return self.add_built(seal, lambda: [self._build(seal, draft) for draft in drafts])

    def add_built(self, seal: Seal, build: Callable[[], Sequence[Pending]]) -> Addition:
        """Add what `build` makes, which moves the head on with each event.

        Raises: RoomDropped; what `build` raises, and then nothing is added.
        """
        if not self.live:
            raise RoomDropped
        before = self.head
        try:
            pendings = build()
        except BaseException:
            self.head = before
            raise
        addition = Addition(seal.server, pendings, self._additions[-1] if self._additions else None)
        addition.head = before
        self._additions.append(addition)
        return addition

    def take_back(self, addition: Addition) -> None:
        """Undo the last addition, before it is handed to the writer."""
        self._additions.remove(addition)
        self.head = addition.head

    def put_back(self, addition: Addition) -> None:
        """Add what was taken back, as it is.

        Raises: RoomDropped when the room has gone on meanwhile.
        """
        if not self.live or self.head is not addition.head:
            raise RoomDropped
        addition.before = self._additions[-1] if self._additions else None
        self._additions.append(addition)
        self.head = addition.pendings[-1].after

    def _build(self, seal: Seal, draft: Draft) -> Pending:
        head = self.head
        if draft.type == CREATE[0]:
            raise Refused("auth 1.1", "a room begins with its create event")
        held = seal_draft(seal, self.record, head, draft)
        check_auth(held.event, head.find, create=self.create, levels=head.levels)
        pending = place_event(seal, head, held)
        if draft.target is not None:
            self._prune(pending, draft.target)
        self.head = pending.after
        if pending.groups:
            self.groups.keep(self.head.at)
        return pending

    def _prune(self, redaction: Pending, target: RoomEvent) -> None:
        if not may_redact(redaction.held.event, target.event, self.head.levels):
            raise Refused("redaction", "the sender may not redact this event")
        if target.redacted_because is None:
            redaction.target = target
            redaction.pruned = redact_event(target.event)

    # what came of it

    def settle(self, addition: Addition, *, committed: bool) -> None:
        """An addition is committed, in the order in which they were made, or failed: then the room is dropped."""
        addition.committed = committed
        addition.before = None
        if committed:
            for pending in addition.pendings:
                self._show(pending)
        else:
            self.live = False
        self._additions.remove(addition)
        if not self._additions:
            waiting, self._settling = self._settling, []
            for waiter in waiting:
                waiter.callback(None)

    def settled(self) -> Deferred[None]:
        """Fires once nothing waits for its commit."""
        if not self._additions:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._settling.append(waiter)
        return waiter

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits for its commit."""
        return not self._additions

    def _show(self, pending: Pending) -> None:
        held, arrival = pending.held, pending.arrival
        is_aside = arrival is not None and arrival.is_aside
        if held.replaced is not None and pending.is_shown and not is_aside:
            # by now it has its stream position, and may have been redacted
            held.replaced = self.shown.state[held.key].as_replaced()
        self.shown = pending.after
        relation = find_relation(held.event.content)
        if relation is not None and relation.type in BUNDLED and self.find_recent(relation.event_id) is not None:
            self.parents.add(relation.event_id)
        if pending.is_shown:
            self._append_recent(held)
            if is_aside:
                self.forked_upto = held.stream
            if arrival is not None and arrival.missing:
                self.gap_at = held.stream
        if pending.target is not None and pending.pruned is not None:
            self._redact(pending.target, pending.pruned, held.client)

    def _append_recent(self, held: RoomEvent) -> None:
        self.recent.append(held)
        if len(self.recent) > MOST_RECENT:
            gone = self.recent.popleft()
            self.recent_floor = gone.stream
            self.parents.discard(gone.event_id)

    def _redact(self, target: RoomEvent, pruned: Event, because: bytes) -> None:
        """Let every trace of the target in memory become what is left of it."""
        current = self.shown.state.get(pruned.key) if pruned.is_state else None
        for held in (target, self.find_recent(target.event_id), current):
            if held is not None and held.event_id == target.event_id and held.redacted_because is None:
                held.redact(pruned, because)
        if pruned.is_state:
            self.groups.forget()
        if current is None:
            return
        for held in (current, *self.recent):
            if held.replaced is not None and held.replaced.event_id == target.event_id:
                held.replaced = target.as_replaced()
        if pruned.key == POWER_LEVELS:
            self._relevel()

    def _relevel(self) -> None:
        pendings = [pending for addition in self._additions for pending in addition.pendings]
        heads = (self.head, self.shown, *(pending.after for pending in pendings))
        renewed = {id(head): head.relevelled() for head in heads}
        self.head, self.shown = renewed[id(self.head)], renewed[id(self.shown)]
        for pending in pendings:
            pending.after = renewed[id(pending.after)]


def seal_draft(seal: Seal, record: RoomRecord, head: Head, draft: Draft) -> RoomEvent:
    """The event of a draft at the head of its room, not yet judged.

    Raises: EventTooLarge; Invalid.
    """
    keys = auth_types(
        record.version, type=draft.type, state_key=draft.state_key, sender=draft.sender, content=draft.content
    )
    state = head.state
    place = Place(
        room_id=record.room_id,
        before=head.before,
        auth=tuple([state[key] for key in keys if key in state]),
        depth=head.depth + 1,
    )
    event = recommend_own(seal, head, seal.make(record.version, draft, place))
    return RoomEvent(event, nid=seal.next_id("events"), room_nid=record.nid, group=head.group, origin=draft.origin)


def place_event(seal: Seal, head: Head, held: RoomEvent) -> Pending:
    """What an accepted event does to the head."""
    if held.event.state_key is None:
        return Pending(held, head.after_message(held), None)
    replaced = head.state.get(held.event.key)
    if replaced is not None:
        held.replaced = replaced.as_replaced()
    held.group = seal.next_id("groups")
    after, group = head.after_state(held)
    return Pending(held, after, group)


def begin_room(
    seal: Seal, version: RoomVersion, draft: Draft, *, kind: str | None = None, room_id: RoomID | None = None
) -> tuple[Room, Pending]:
    """A room that begins with the create event of a draft, and that event; `room_id` None gives it a new one.

    Raises: Refused; EventTooLarge; Invalid.
    Spec: rooms/v12#event-format
    """
    if room_id is None and not version.room_id_is_create_hash:
        room_id = seal.make_room_id()
    event = seal.make(version, draft, Place(room_id=room_id, before=(), auth=(), depth=1))
    check_auth(event, lambda key: None)
    record = RoomRecord(
        nid=seal.next_id("rooms"), room_id=event.room_id, version=version, creator=draft.sender, kind=kind
    )
    held = RoomEvent(event, nid=seal.next_id("events"), room_nid=record.nid, group=seal.next_id("groups"))
    head, group = first_head(held)
    return Room(record, head), Pending(held, head, group)


def revive_room(record: RoomRecord, present: Present) -> Room:
    """The live room of what storage has of it."""
    state: Map[StateKey, RoomEvent] = Map(dict(present.state))
    by_nid = {held.nid: key for key, held in present.state.items()}
    delta = {} if present.group.base is None else {by_nid[nid]: nid for nid in present.group.event_nids}
    room = Room(record, build_head(state, present.group, Map(delta), present.extremities))
    room.forked_upto = present.forked_upto
    room.recent.extend(present.recent)
    room.recent_floor = present.recent_floor
    return room
