"""Views from memory: of the log of a room that is listened to, and of the live room. They wait for nothing."""

from collections import OrderedDict
from collections.abc import Sequence
from heapq import nsmallest
from typing import Final

import msgspec

from federation.ids import RoomID, UserID
from homeserver.rooms.room import Room
from homeserver.rooms.sight import Seen, find_seen, has_expired
from homeserver.storage.events import RoomEvent
from homeserver.storage.state import StateChange
from homeserver.storage.sync import MEMBER, Counted
from homeserver.sync.views import (
    ENCRYPTION,
    HEROES,
    VISIBILITY,
    Ask,
    View,
    changed_state,
    choose,
    company_of,
    concerns_summary,
    first_by_key,
    heroes_of,
    is_named,
    senders_of,
    whole_state,
)

MOST_COUNTED: Final = 1000


class _Membership(msgspec.Struct):
    membership: object = None


_membership_decoder: Final = msgspec.json.Decoder(_Membership)


class Counts:
    """Who is in each live room, counted once for each state of it."""

    def __init__(self) -> None:
        self._known: OrderedDict[RoomID, tuple[object, Counted]] = OrderedDict()

    def of(self, room: Room) -> Counted:
        """Who is in that room now."""
        state = room.shown.state
        known = self._known.get(room.room_id)
        if known is not None and known[0] is state:
            return known[1]
        counted = _count(room)
        self._known[room.room_id] = (state, counted)
        self._known.move_to_end(room.room_id)
        if len(self._known) > MOST_COUNTED:
            self._known.popitem(last=False)
        return counted


def view_changes(window: Sequence[RoomEvent], room: Room, counts: Counts, ask: Ask) -> View | None:
    """What is new in a room for somebody who was in it all the while; `window` is every event since. None: ask the
    tables.
    """
    chosen, limited = choose(reversed(window), ask)
    events = find_seen(room, ask.user_id, chosen)
    if events is None:
        return None
    changes = [held for held in window if held.event.state_key is not None]
    state = _changed(changes, events, ask) if changes else []
    view = View(events=events, limited=limited, state=state)
    if changes:
        _add_summary(view, room, counts, changes)
        _add_company(view, room, changes, ask.user_id)
    if ask.filter.lazy:
        members = _find_members(room, view, ask)
        if members is None:
            return None
        view.members = members
    return view


def _changed(changes: Sequence[RoomEvent], events: Sequence[Seen], ask: Ask) -> list[RoomEvent]:
    by_nid = {held.nid: held for held in changes}
    nids = changed_state([StateChange(held.stream, held.event.key, held.nid) for held in changes], events, ask)
    return [by_nid[nid] for nid in nids if ask.filter.state.passes(by_nid[nid].event)]


def view_whole(room: Room, counts: Counts, ask: Ask) -> View | None:
    """A room as it is now, all of its state and its last events (or those since); None: ask the tables."""
    recent = [held for held in room.recent if held.stream > (ask.since or 0)]
    chosen, limited = choose(reversed(recent), ask)
    if not limited and room.recent_floor > (ask.since or 0):
        return None
    if chosen and chosen[0].stream < room.gap_at:
        return None
    begins_here = bool(room.recent) and room.recent[0].event.type == "m.room.create"
    if ask.since is None and not limited and not begins_here:
        return None
    events = _find_seen_whole(room, ask.user_id, chosen)
    if events is None:
        return None
    state = room.shown.state
    counted = counts.of(room)
    named = is_named(state)
    shown, replaced = whole_state(state, events, ask, () if named else heroes_of(counted, ask.user_id))
    known = {held.nid: held for held in room.recent}
    if any(nid not in known for nid in replaced):
        return None
    shown += [held for nid in replaced if ask.filter.state.passes((held := known[nid]).event)]
    return View(events=events, limited=limited or ask.again, state=shown, counted=counted, named=named)


def _find_seen_whole(room: Room, user_id: UserID, events: Sequence[RoomEvent]) -> list[Seen] | None:
    """Those of the events that a member may see, also where they joined later but nothing was ever hidden."""
    found = find_seen(room, user_id, events)
    member = room.joined_members.get(user_id)
    if found is not None or member is None or has_expired(room, events):
        return found
    rule = room.shown.state.get(VISIBILITY)
    if rule is not None and (rule.replaced is not None or rule.event.content.get("history_visibility") != "shared"):
        return None
    before = _membership_decoder.decode(member.replaced.content).membership if member.replaced is not None else None
    if before not in (None, "invite"):
        return None
    invited = member.replaced.stream if member.replaced is not None else member.stream
    return [Seen(held, _standing(held.stream, invited, member.stream), previous=True) for held in events]


def _standing(stream: int, invited: int, joined: int) -> str:
    if stream >= joined:
        return "join"
    return "invite" if stream >= invited else "leave"


def _find_members(room: Room, view: View, ask: Ask) -> Sequence[RoomEvent] | None:
    """The membership events of senders and heroes that are in neither timeline nor state; None when one is not in
    memory.
    """
    told = {held.event.state_key for held in view.state if held.event.type == MEMBER}
    first = {} if ask.state_after else first_by_key(view.events)
    members = []
    for person in (senders_of(view.events) | company_of(view)) - told:
        in_timeline = first.get((MEMBER, person))
        if in_timeline is None:
            held = room.shown.state.get((MEMBER, person))
            if held is not None and ask.filter.state.passes(held.event):
                members.append(held)
        elif any(seen.held.event.sender == person and seen.held.stream < in_timeline.stream for seen in view.events):
            return None
    return members


def _add_summary(view: View, room: Room, counts: Counts, changes: Sequence[RoomEvent]) -> None:
    if any(concerns_summary(held.event.key) for held in changes):
        view.counted = counts.of(room)
        view.named = is_named(room.shown.state)


def _add_company(view: View, room: Room, changes: Sequence[RoomEvent], user_id: UserID) -> None:
    """Who came and went, if the room is encrypted."""
    if ENCRYPTION not in room.shown.state:
        return
    if any(held.event.key == ENCRYPTION and held.replaced is None for held in changes):
        view.met = tuple(room.joined_members)
        return
    moved = {UserID(held.event.key[1]) for held in changes if held.event.type == MEMBER and has_moved(held)} - {user_id}
    view.met = [other for other in moved if other in room.joined_members]
    view.lost = [other for other in moved if other not in room.joined_members]


def has_moved(held: RoomEvent) -> bool:
    """Whether a membership event makes somebody a member, or ends that."""
    before = None if held.replaced is None else _membership_decoder.decode(held.replaced.content).membership
    return (before == "join") != (held.event.membership == "join")


def _count(room: Room) -> Counted:
    members = [(key[1], held) for key, held in room.shown.state.items() if key[0] == MEMBER]
    invited = [pair for pair in members if pair[1].event.membership == "invite"]
    joined = list(room.joined_members.items())
    gone = [pair for pair in members if pair[1].event.membership in ("leave", "ban")] if len(joined) < 2 else []
    return Counted(len(joined), len(invited), _first(joined + invited), _first(gone))


def _first(members: Sequence[tuple[str, RoomEvent]]) -> tuple[UserID, ...]:
    return tuple([UserID(user_id) for user_id, _ in nsmallest(HEROES + 1, members, key=lambda pair: pair[1].stream)])
