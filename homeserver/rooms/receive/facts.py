"""What is known of events that have come, and of those they name: read once for all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from federation.event import Event
from federation.ids import EventID
from homeserver.rooms.room import Room
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, Standing
from homeserver.storage.received import Known, find_by_id, find_deepest_gap, find_early, find_known, find_missing
from homeserver.storage.rooms import RoomRecord

MOST_ASIDE: Final = 20
"""How many events in a row that are kept aside are looked through for what comes before them."""


@dataclass(slots=True)
class Facts:
    """What the tables and the live room know: `known` of all events by ID, `held` those needed as a whole.

    `missing` are events of which it is known only that others come after them. `waiting` are redactions, by their
    target, that came first; not all of them need have the power. `begins`: not deeper than that, an event may be older
    than what the room begins with here. `refused` are events that were judged, and of which nothing is kept.
    """

    known: dict[EventID, Known] = field(default_factory=dict)
    held: dict[EventID, RoomEvent] = field(default_factory=dict)
    missing: set[EventID] = field(default_factory=set)
    waiting: dict[EventID, list[RoomEvent]] = field(default_factory=dict)
    begins: int = -1
    refused: set[EventID] = field(default_factory=set)

    def group_after(self, event_id: EventID) -> int:
        """The state after an event, 0 if it has no place."""
        known = self.known.get(event_id)
        return 0 if known is None else known.group

    def is_rejected(self, event_id: EventID) -> bool:
        """Whether the event was rejected."""
        known = self.known.get(event_id)
        return known is not None and known.standing is Standing.REJECTED

    def is_aside(self, event_id: EventID) -> bool:
        """Whether the event has a place and yet is no part of the room: it was rejected or soft-failed."""
        known = self.known.get(event_id)
        return known is not None and known.standing in (Standing.REJECTED, Standing.SOFT_FAILED) and known.group > 0

    def past(self, event: Event) -> set[EventID]:
        """The events that one follows, also those that it follows by way of some that are kept aside."""
        found: set[EventID] = set()
        ahead = list(event.prev_events)
        while ahead:
            event_id = ahead.pop()
            if event_id not in found:
                found.add(event_id)
                if self.is_aside(event_id) and event_id in self.held:
                    ahead += self.held[event_id].event.prev_events
        return found

    def note(self, held: RoomEvent, standing: Standing) -> None:
        """An event got its place."""
        self.known[held.event_id] = Known(
            held.nid, held.event_id, held.room_nid, standing, held.stream or None, held.group
        )
        self.held[held.event_id] = held

    def note_early(self, redaction: RoomEvent) -> None:
        """A redaction came before its target."""
        if redaction.event.redacts is not None:
            self.waiting.setdefault(redaction.event.redacts, []).append(redaction)


def find_at_hand(room: Room, events: Sequence[Event]) -> dict[EventID, RoomEvent]:
    """Those auth events that are in the current state, which nearly all are."""
    wanted = {each for event in events for each in event.auth_events}
    found = {held.event_id: held for held in room.head.extremities}
    for event in events:
        for key in (("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", event.sender)):
            held = room.head.state.get(key)
            if held is not None and held.event_id in wanted:
                found[held.event_id] = held
    return found


def read_facts(txn: Txn, record: RoomRecord, events: Sequence[Event], at_hand: Mapping[EventID, RoomEvent]) -> Facts:
    """What the tables know of these events, of those before them, of what they rest on and of what they redact."""
    ids = {event.event_id for event in events}
    named = {each for event in events for each in (*event.prev_events, *event.auth_events)}
    targets = {event.redacts for event in events if event.redacts is not None}
    facts = Facts(known=find_known(txn, ids | named | targets))
    facts.missing = find_missing(txn, record.nid, ids)
    facts.begins = find_deepest_gap(txn, record.nid)
    needed = [*_needed(facts, events), *targets]
    facts.held = find_by_id(txn, record, [each for each in needed if each not in at_hand and each in facts.known])
    facts.held |= at_hand
    _add_aside(txn, record, facts, {each for event in events for each in event.prev_events})
    for held in find_early(txn, record, ids):
        facts.note_early(held)
    return facts


def _needed(facts: Facts, events: Iterable[Event]) -> Iterable[EventID]:
    for event in events:
        if event.event_id not in facts.known or not facts.known[event.event_id].group:
            yield from event.auth_events
            yield event.event_id


def _add_aside(txn: Txn, record: RoomRecord, facts: Facts, before: set[EventID]) -> None:
    """Read those of the events that are no part of the room but kept beside it, and such before them."""
    for _ in range(MOST_ASIDE):
        aside = {each for each in before if facts.is_aside(each) and each not in facts.held}
        if not aside:
            return
        found = find_by_id(txn, record, aside)
        facts.held |= found
        before = {each for held in found.values() for each in held.event.prev_events}
        facts.known |= find_known(txn, [each for each in before if each not in facts.known])
