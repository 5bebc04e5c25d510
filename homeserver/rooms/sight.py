"""What one person may see of a room's history: the facts that `visibility` judges, read for many events at once."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from federation.ids import EventID, StateKey, UserID
from homeserver.rooms.room import Room
from homeserver.rooms.visibility import may_see, may_see_change
from homeserver.storage.accounts import load_erased
from homeserver.storage.database import Txn
from homeserver.storage.events import Replaced, RoomEvent, load_contents
from homeserver.storage.members import Membership, find_membership
from homeserver.storage.retention import find_horizon
from homeserver.storage.rooms import RoomRecord
from homeserver.storage.state import KeyEvent, find_in_groups, load_key_events

VISIBILITY: Final[StateKey] = ("m.room.history_visibility", "")


class _Member(msgspec.Struct):
    membership: object = None


_member_decoder: Final = msgspec.json.Decoder(_Member)


def is_expired(held: RoomEvent, horizon_ms: int) -> bool:
    """Whether a message is too old to be shown any more; state never is."""
    return horizon_ms > 0 and held.state_key is None and held.event.origin_server_ts < horizon_ms


def has_expired(room: Room, events: Sequence[RoomEvent]) -> bool:
    """Whether some of a room's events are too old to be shown."""
    return room.horizon_ms > 0 and any(is_expired(held, room.horizon_ms) for held in events)


class Seen(NamedTuple):
    """An event that a person may see, what they were when it was sent, whether they may see what it replaced, and what
    is bundled with it.
    """

    held: RoomEvent
    membership: str
    previous: bool
    bundle: "Bundle | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A thread as its root tells of it to one person: the last event, how many, and whether the person takes part."""

    latest: Seen
    count: int
    participated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What relates to an event, as far as the server aggregates it and one person may see it.

    Spec: client-server-api#aggregations-of-child-events
    """

    replacement: Seen | None = None
    references: tuple[EventID, ...] = ()
    thread: Thread | None = None


class Sight:
    """The visibility and the person's membership in the state groups of some events of a room."""

    def __init__(self, txn: Txn, record: RoomRecord, user_id: UserID, groups: Set[int]) -> None:
        self.user_id = user_id
        self._members: Mapping[int, KeyEvent] = load_key_events(txn, record.nid, ("m.room.member", user_id))
        rules = load_key_events(txn, record.nid, VISIBILITY)
        self._at = find_in_groups(txn, groups, rules, self._members)
        self._contents = load_contents(txn, rules)
        joins = [e.stream for e in self._members.values() if e.membership == "join" and e.stream is not None]
        self.last_join = max(joins, default=None)
        self._is_in = bool(joins) and _is_joined(find_membership(txn, user_id, record.nid))

    def visibility(self, nid: int | None) -> object:
        """What the visibility event of that id says."""
        return self._contents[nid].get("history_visibility") if nid is not None and nid in self._contents else None

    def membership(self, nid: int | None) -> str | None:
        """What the membership event of that id makes of the person."""
        return self._members[nid].membership if nid is not None and nid in self._members else None

    def judge(self, held: RoomEvent) -> Seen | None:
        """The event, if the person may see it."""
        rule, member = self._find(held.group)
        membership = self.membership(member)
        memberships, visibilities = [membership], [self.visibility(rule)]
        before = held.replaced.nid if held.replaced is not None else None
        if held.nid == rule:
            visibilities.append(self.visibility(before))
        elif held.nid == member:
            memberships.append(self.membership(before))
        if not may_see_change(visibilities, memberships, joined_later=self._joined_after(held.stream)):
            return None
        return Seen(held, membership or "leave", held.replaced is not None and self._may_see_replaced(held.replaced))

    def _find(self, group: int) -> tuple[int | None, ...]:
        """Visibility and membership in a state; of an event that has no place here, nothing is known."""
        return self._at.get(group, (None, None))

    def membership_at(self, group: int) -> str:
        """What the person was in that state of the room."""
        return self.membership(self._find(group)[1]) or "leave"

    def may_see(self, group: int, stream: int) -> bool:
        """Whether the person may see what was sent in that state, at that position, and did not change it."""
        rule, member = self._find(group)
        return may_see(self.visibility(rule), self.membership(member), joined_later=self._joined_after(stream))

    def _may_see_replaced(self, replaced: Replaced) -> bool:
        return self.may_see(replaced.group, replaced.stream)

    def _joined_after(self, stream: int) -> bool:
        """Whether the person has joined after that. Who is in the room has, whatever the position: an event of another
        server may cross a join, and be known here after it although its sender did not know of the join.
        """
        return self._is_in or (self.last_join is not None and self.last_join > stream)


def _is_joined(membership: Membership | None) -> bool:
    return membership is not None and membership.membership == "join"


def load_seen(txn: Txn, record: RoomRecord, user_id: UserID, events: Sequence[RoomEvent]) -> list[Seen]:
    """Those of the events that the person may see, in their order. What erased people said is for those who were there.

    Spec: client-server-api#room-history-visibility, client-server-api#post_matrixclientv3accountdeactivate
    """
    horizon_ms = find_horizon(txn, record.nid)
    events = [held for held in events if not is_expired(held, horizon_ms)]
    if not events:
        return []
    groups = {held.group for held in events} | {held.replaced.group for held in events if held.replaced is not None}
    facts = Sight(txn, record, user_id, groups)
    found = [seen for held in events if (seen := facts.judge(held)) is not None]
    outside = {seen.held.event.sender for seen in found if seen.membership != "join" and seen.held.state_key is None}
    erased = load_erased(txn, outside)
    return [seen for seen in found if seen.membership == "join" or seen.held.event.sender not in erased]


def find_seen(room: Room, user_id: UserID, events: Sequence[RoomEvent]) -> list[Seen] | None:
    """The same from memory, for somebody who has been joined since before the first of the events; None if unknown."""
    member = room.shown.joined.get(user_id)
    if member is None or has_expired(room, events):
        return None
    replaced = member.replaced
    was_joined = replaced is not None and _member_decoder.decode(replaced.content).membership == "join"
    since = replaced.stream if replaced is not None and was_joined else member.stream
    if events and (since > events[0].stream or room.forked_upto >= events[0].stream):
        return None
    before = [held.replaced.stream for held in events if held.replaced is not None and held.replaced.stream < since]
    shows = _shows_past(room, min(before)) if before else False
    if shows is None:
        return None
    return [
        Seen(held, "join", held.replaced is not None and (shows or held.replaced.stream >= since)) for held in events
    ]


def _shows_past(room: Room, stream: int) -> bool | None:
    """Whether who has joined is shown what was before that, back to a position; None if the room may have changed."""
    rule = room.shown.state.get(VISIBILITY)
    if rule is not None and rule.stream > stream:
        return None
    visibility = None if rule is None else rule.event.content.get("history_visibility")
    return may_see(visibility, None, joined_later=True)
