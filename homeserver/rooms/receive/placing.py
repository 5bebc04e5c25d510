"""One event of another server on the live room: judged by the states it meets, and placed. Nothing here waits.

Where a state is needed that is not in memory, `StateNeeded` says which; whoever can wait gets it and tries again.

Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from immutables import Map

from federation.auth import check_auth, may_redact
from federation.errors import Refused
from federation.event import Event
from federation.ids import EventID, ServerName
from federation.redaction import redact_event
from homeserver.rooms.groups import Changes, Group, difference, whole_group
from homeserver.rooms.head import Head
from homeserver.rooms.receive.chains import Levels, check_own_auth
from homeserver.rooms.receive.facts import Facts
from homeserver.rooms.receive.merging import Needed
from homeserver.rooms.room import Room
from homeserver.rooms.seal import Seal
from homeserver.rooms.writing import Arrival, Pending
from homeserver.storage.events import RoomEvent, Standing
from homeserver.storage.state import GroupRow

MOST_EXTREMITIES: Final = 20


class SoftFailed(Refused):
    """The event is part of the room's history, and shown to nobody here.

    Spec: server-server-api#soft-failure
    """


class StateNeeded(Exception):
    """States must be in memory before this can go on."""

    def __init__(self, needed: Needed) -> None:
        super().__init__(needed)
        self.needed = needed


@dataclass(slots=True, kw_only=True, eq=False)
class Received:
    """An event on its way in.

    `given`: the state before it, where another server had to tell. `missing`: events before it that are not known.
    `is_late`: others are here that come after it. `past`: its stream position where it is nothing new; `past_at_worst`:
    the same, should today's state not allow it. `objection`: why it is to be soft-failed whatever the rules say.
    `resets`: what the room had is no more, as when we were out of it. `passes_on`: the other servers of the room are to
    be told by us. `is_kept`: it is kept even if it is rejected.
    """

    event: Event
    given: int = 0
    missing: tuple[EventID, ...] = ()
    is_late: bool = False
    past: int | None = None
    past_at_worst: int | None = None
    objection: Refused | None = None
    resets: bool = False
    passes_on: bool = False
    is_kept: bool = True
    refusal: Refused | None = None
    standing: Standing = Standing.ACCEPTED
    held: RoomEvent | None = None
    before: Group | None = None
    after: Group | None = None
    rows: list[GroupRow] = field(default_factory=list)

    def forget(self) -> None:
        """Begin once more: the room it was placed on was dropped."""
        self.held = self.before = self.after = self.refusal = None
        self.standing = Standing.ACCEPTED
        self.rows = []


def mark_strange(order: Sequence[Received], servers: Collection[ServerName], missing: Collection[EventID]) -> None:
    """Of some events, each after those that it follows, choose those that are not kept if they are rejected: of servers
    that are not in the room, and nothing comes after them or rests on them that others have made. So a stranger fills
    no disk with what nobody will ever see.
    """
    named = set(missing)
    for each in reversed(order):
        event = each.event
        each.is_kept = event.origin in servers or event.event_id in named
        if each.is_kept:
            named.update(event.prev_events, event.auth_events)


class Placing:
    """Places events on one live room, one after the other; each leaves the room's head."""

    def __init__(self, room: Room, seal: Seal, facts: Facts) -> None:
        self._room = room
        self._seal = seal
        self._facts = facts
        self._levels = Levels()

    def place(self, received: Received) -> list[Pending]:
        """Judge an event and place it; with it come redactions of it that waited. One that is not kept is nothing.

        Raises: StateNeeded, and nothing has happened.
        """
        if not received.is_kept and not self._facts.refused.isdisjoint(received.event.prev_events):
            return self._refuse(received, Refused("receive", "the event follows one that was refused"))
        waiting = self._facts.waiting.get(received.event.event_id, ())
        unread = frozenset(each.group for each in waiting if self._find_group(each.group) is None)
        if unread:
            raise StateNeeded(Needed(unread, added=False))
        if received.before is None:
            received.before = self._find_before(received)
        if received.held is None:
            self._judge(received, received.before)
            if received.refusal is not None and received.standing is Standing.REJECTED and not received.is_kept:
                return self._refuse(received, received.refusal)
            self._hold(received, received.before)
        if received.standing is not Standing.ACCEPTED:
            pendings = [self._set_aside(received)]
        elif received.past is not None:
            pendings = [self._put_into_past(received)]
        else:
            pendings = [self._append(received)]
        pendings += self._redact(received, pendings[0])
        for pending in pendings:
            self._facts.note(pending.held, received.standing)
        self._room.head = pendings[-1].after
        return pendings

    def _refuse(self, received: Received, refusal: Refused) -> list[Pending]:
        received.refusal, received.standing = refusal, Standing.REJECTED
        self._facts.refused.add(received.event.event_id)
        return []

    # the state before

    def _find_before(self, received: Received) -> Group:
        event, head = received.event, self._room.head
        if event.event_id == self._room.create.event_id:
            return self._find_nothing()
        if not received.given and set(event.prev_events) == {held.event_id for held in head.extremities}:
            return head.at
        groups = {self._facts.group_after(each) for each in event.prev_events if each not in received.missing}
        if received.given:
            groups.add(received.given)
        return self._find_sum(groups)

    def _find_nothing(self) -> Group:
        """The state before the create event."""
        group, row = whole_group(self._seal.next_id("groups"), Map())
        self._room.groups.keep(group, row)
        return group

    def _find_sum(self, nids: set[int]) -> Group:
        """What states add up to. Raises: StateNeeded."""
        groups = self._room.groups
        found = self._find_group(next(iter(nids))) if len(nids) == 1 else groups.find_sum(frozenset(nids))
        if found is None:
            raise StateNeeded(Needed(frozenset(nids), added=len(nids) > 1))
        return found

    def _find_group(self, nid: int) -> Group | None:
        at = self._room.head.at
        return at if at.nid == nid else self._room.groups.find(nid)

    # the checks

    def _judge(self, received: Received, before: Group) -> None:
        """Steps 4 to 7 of the spec's."""
        event, create = received.event, self._room.create
        at_head = before.nid == self._room.head.group
        try:
            if self._facts.is_rejected(event.event_id):
                raise Refused("receive", "it was rejected before")
            auth = [held.event for each in event.auth_events if (held := self._facts.held.get(each))]
            if len(auth) < len(event.auth_events):
                raise Refused("receive", "an auth event that there cannot be")
            check_own_auth(event, auth, create=create, rejected=self._facts.is_rejected, levels=self._levels)
            if event.type != "m.room.create":
                levels = self._room.head.levels if at_head else before.levels
                check_auth(event, before.find, create=create, levels=levels)
        except Refused as refusal:
            received.refusal, received.standing = refusal, Standing.REJECTED
            return
        try:
            if not (at_head or received.past is not None or received.resets):
                current = self._find_today(received)
                check_auth(event, current.find, create=create, levels=current.levels)
            if received.objection is not None:
                raise received.objection
        except Refused as refusal:
            if received.past_at_worst is not None and received.objection is None:
                received.past = received.past_at_worst
                return
            received.refusal = SoftFailed(refusal.rule, refusal.why)
            received.standing = Standing.SOFT_FAILED

    def _find_today(self, received: Received) -> Head | Group:
        """The current state. Behind a gap what we have may be long out of date: then what we were told counts as well.

        Raises: StateNeeded.
        """
        head = self._room.head
        if not received.given:
            return head
        return self._find_sum({received.given, *[each.group for each in head.extremities]})

    # the place

    def _hold(self, received: Received, before: Group) -> None:
        """Give the event its record and the state after it."""
        event, known = received.event, self._facts.known.get(received.event.event_id)
        nid = known.nid if known is not None else self._seal.next_id("events")
        held = received.held = RoomEvent(event, nid=nid, room_nid=self._room.nid, group=before.nid)
        received.after = before
        if event.state_key is None or received.standing is Standing.REJECTED:
            return
        replaced = before.state.get(event.key)
        if replaced is not None:
            held.replaced = replaced.as_replaced()
        held.group = self._seal.next_id("groups")
        received.after, row = before.after(held)
        self._room.groups.keep(received.after)
        received.rows = [row]

    def _pend(self, received: Received, after: Head, arrival: Arrival) -> Pending:
        assert received.held is not None and received.before is not None
        pending = Pending(received.held, after)
        row = self._room.groups.take_row(received.before.nid)
        pending.groups = [*([] if row is None else [row]), *received.rows]
        arrival.is_stored = received.event.event_id in self._facts.known
        arrival.standing = received.standing
        arrival.is_passed_on = received.passes_on and received.standing is Standing.ACCEPTED
        pending.arrival = arrival
        return pending

    def _set_aside(self, received: Received) -> Pending:
        return self._pend(received, self._room.head, Arrival(is_shown=False))

    def _put_into_past(self, received: Received) -> Pending:
        """Let the event be part of the room's history, and of nothing else."""
        arrival = Arrival(is_shown=False, past=received.past, missing=received.missing)
        return self._pend(received, self._room.head, arrival)

    def _append(self, received: Received) -> Pending:
        """Let the event be the newest of the room, or the newest of a branch."""
        head, held, before, after = self._room.head, received.held, received.before, received.after
        assert held is not None and before is not None and after is not None
        extremities = self._find_extremities(received, held, head)
        at = after if extremities == (held,) else self._find_current(extremities, after)
        is_plain = before.nid == head.group and extremities == (held,)
        changes = _changes_by(held) if is_plain else difference(head.state, at.state)
        following = head.become(at, extremities, changes)
        pending = self._pend(received, following, Arrival(is_aside=not is_plain, missing=received.missing))
        row = self._room.groups.take_row(at.nid)
        if row is not None:
            pending.groups = [*pending.groups, row]
        pending.changes = changes
        return pending

    def _find_extremities(self, received: Received, held: RoomEvent, head: Head) -> tuple[RoomEvent, ...]:
        if received.resets:
            return (held,)
        before = self._facts.past(held.event)
        left = [each for each in head.extremities if each.event_id not in before]
        is_last = held.event_id not in self._facts.missing and not received.is_late
        found = [*left, *([held] if is_last or not left else [])]
        return tuple(_thin(found))

    def _find_current(self, extremities: Sequence[RoomEvent], after: Group) -> Group:
        """The state that the branches add up to. Raises: StateNeeded."""
        nids = {each.group for each in extremities}
        head = self._room.head
        if nids == {each.group for each in head.extremities}:
            return head.at
        if nids == {after.nid}:
            return after
        return self._find_sum(nids)

    # redactions

    def _redact(self, received: Received, pending: Pending) -> list[Pending]:
        """Let a redaction take effect, or wait for its target; and let one that waited for this event take effect."""
        if received.standing is not Standing.ACCEPTED:
            return []
        target_id, held, before = received.event.redacts, pending.held, received.before
        assert pending.arrival is not None and before is not None
        if target_id is not None:
            target = self._facts.held.get(target_id)
            if target is not None and may_redact(held.event, target.event, before.levels):
                self._let_redact(pending, target)
            else:
                self._let_wait(pending)
        waiting = self._facts.waiting.pop(held.event_id, ())
        redaction = next((each for each in waiting if self._may_redact_at_last(each, held)), None)
        if redaction is None:
            return []
        held.redact(redact_event(held.event), redaction.client)
        pending.arrival.redacted_by = redaction.nid
        return [] if redaction.event.version.redaction_auth_by_server else [self._release(redaction, pending)]

    def _let_redact(self, pending: Pending, target: RoomEvent) -> None:
        if target.redacted_because is None:
            pending.target = target
            pending.pruned = redact_event(target.event)

    def _let_wait(self, pending: Pending) -> None:
        """Let a redaction wait for its target; nobody is shown it, but where the rules have judged it already."""
        self._facts.note_early(pending.held)
        if pending.arrival is not None and not pending.held.event.version.redaction_auth_by_server:
            pending.arrival.is_shown = False
            pending.arrival.past = None

    def _may_redact_at_last(self, redaction: RoomEvent, target: RoomEvent) -> bool:
        group = self._find_group(redaction.group)
        return group is not None and may_redact(redaction.event, target.event, group.levels)

    def _release(self, waiting: RoomEvent, pending: Pending) -> Pending:
        """Show a redaction that was held back."""
        ends = {each.event_id: each for each in pending.after.extremities}
        shown = Pending(ends.get(waiting.event_id, waiting), pending.after)
        shown.arrival = Arrival(is_stored=True, is_aside=True)
        return shown


def _thin(ends: list[RoomEvent]) -> list[RoomEvent]:
    """As many ends of branches as may be: of the server that has made most of them, the newest go.

    So nobody pushes out with branches of their own what others have done since.
    """
    while len(ends) > MOST_EXTREMITIES:
        made = Counter(each.event.origin for each in ends)
        most = max(made.values())
        ends.remove([each for each in ends if made[each.event.origin] == most][-1])
    return ends


def _changes_by(held: RoomEvent) -> Changes:
    return {} if held.state_key is None else {held.key: held}
