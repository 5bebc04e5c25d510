"""Views from the tables, for rooms that are not in memory or not far enough back. It all runs in a reading thread."""

from collections.abc import Collection, Sequence
from typing import Final

from homeserver.rooms.sight import Seen, load_seen
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, load_events, load_recent
from homeserver.storage.received import find_with_gaps
from homeserver.storage.rooms import RoomRecord
from homeserver.storage.state import load_state_changes
from homeserver.storage.sync import MEMBER, Stay, count_members, has_backfill, load_state_at
from homeserver.sync.views import (
    HEROES,
    Ask,
    View,
    changed_state,
    company_of,
    concerns_summary,
    first_by_key,
    heroes_of,
    is_named,
    is_wanted,
    senders_of,
    whole_state,
)

MOST_SCANNED: Final = 1000
"""How many events are looked at in search of some that the filter wants and the person may see."""


def view_stored(txn: Txn, room: RoomRecord, ask: Ask) -> View:
    """The view of a room for somebody who is in it."""
    events, limited = choose_stored(txn, room, ask)
    return _view_state(txn, room, ask, View(events=events, limited=limited or ask.again))


def _view_state(txn: Txn, room: RoomRecord, ask: Ask, view: View) -> View:
    return _view_whole(txn, room, ask, view) if ask.whole else _view_changes(txn, room, ask, view)


def view_left(txn: Txn, room: RoomRecord, ask: Ask, stays: Sequence[Stay]) -> View:
    """The view of a room for somebody who is there no more, up to their leaving; `stays` are their own latest moves.

    Where they moved on after that, or were never in the room, the timeline is only the last move: what lies between
    they may not see, and a timeline has no gaps.
    """
    departure = next((stay for stay in reversed(stays) if stay.was_joined and stay.membership != "join"), None)
    view = View()
    if departure is stays[-1]:
        view = view_stored(txn, room, ask)
    elif departure is not None:
        view = _view_state(txn, room, ask, View())
    return view if departure is stays[-1] else _add_move(txn, room, ask, view, stays[-1])


def _add_move(txn: Txn, room: RoomRecord, ask: Ask, view: View, stay: Stay) -> View:
    """Show somebody the last of their own moves, whatever else they may not see."""
    held = load_events(txn, room, [stay.event_nid])[stay.event_nid]
    view.limited, view.end = True, stay.stream
    if ask.filter.timeline.has_room(ask.room_id) and ask.filter.timeline.passes(held.event):
        view.events = [Seen(held, stay.membership, previous=False)]
    elif ask.filter.state.has_room(ask.room_id) and ask.filter.state.passes(held.event):
        view.state = [*view.state, held]
    if ask.state_after and view.events and ask.filter.state.passes(held.event):
        view.state = [*view.state, held]
    return view


def choose_stored(txn: Txn, room: RoomRecord, ask: Ask) -> tuple[list[Seen], bool]:
    """The last events that are wanted, as many as the filter allows, without a gap of what may not be seen: a client
    would miss how the state changed there. And whether there are more.
    """
    if not ask.filter.timeline.has_room(room.room_id):
        return [], False
    return _behind_hole(txn, room, *_choose(txn, room, ask, ask.since or 0))


def _behind_hole(txn: Txn, room: RoomRecord, chosen: list[Seen], limited: bool) -> tuple[list[Seen], bool]:
    """What comes after the last place where other servers' events are missing: the client is to ask for those."""
    holes = find_with_gaps(txn, room.nid, [seen.held.nid for seen in chosen])
    at = max((index for index, seen in enumerate(chosen) if seen.held.nid in holes), default=-1)
    return (chosen, limited) if at < 0 else (chosen[at:], True)


def _choose(txn: Txn, room: RoomRecord, ask: Ask, after: int) -> tuple[list[Seen], bool]:
    limit = ask.filter.timeline.limit
    chosen: list[Seen] = []
    upto, size, scanned = ask.upto, limit + 1, 0
    while scanned < MOST_SCANNED:
        page = load_recent(txn, room, size, after=after, upto=upto)
        wanted = [held for held in page if is_wanted(held, ask)]
        visible = _after_gap(wanted, load_seen(txn, room, ask.user_id, wanted))
        chosen = visible + chosen
        if len(chosen) > limit or len(visible) < len(wanted):
            return chosen[-limit:], True
        if len(page) < size:
            return chosen, ask.since is None and has_backfill(txn, room.nid)
        scanned += len(page)
        upto, size = page[0].stream - 1, max(size, 100)
    return chosen, True


def _after_gap(wanted: Sequence[RoomEvent], visible: Sequence[Seen]) -> list[Seen]:
    """Those at the end that are all visible."""
    by_nid = {seen.held.nid: seen for seen in visible}
    run: list[Seen] = []
    for held in reversed(wanted):
        if held.nid not in by_nid:
            break
        run.append(by_nid[held.nid])
    return run[::-1]


def _view_whole(txn: Txn, room: RoomRecord, ask: Ask, view: View) -> View:
    counted = None if ask.left else count_members(txn, room.nid, HEROES + 1)
    heroes = [] if counted is None else heroes_of(counted, ask.user_id)
    wanted = {ask.user_id, *heroes, *senders_of(view.events)} if ask.filter.lazy else None
    state = load_state_at(txn, room, ask.upto, members=wanted)
    named = is_named(state)
    shown, replaced = whole_state(state, view.events, ask, () if named else heroes)
    view.state = shown + _load_passing(txn, room, ask, replaced)
    view.counted, view.named = counted, named
    return view


def _view_changes(txn: Txn, room: RoomRecord, ask: Ask, view: View) -> View:
    rows = load_state_changes(txn, room.nid, ask.since or 0, ask.upto)
    view.state = _load_passing(txn, room, ask, changed_state(rows, view.events, ask))
    if not ask.left and any(concerns_summary(row.key) for row in rows):
        view.counted = count_members(txn, room.nid, HEROES + 1)
        view.named = is_named(load_state_at(txn, room, ask.upto, members=()))
    if ask.filter.lazy:
        view.members = _load_members(txn, room, ask, view)
    return view


def _load_members(txn: Txn, room: RoomRecord, ask: Ask, view: View) -> list[RoomEvent]:
    """The membership events of senders and heroes that are not among the changes of the state."""
    told = {held.event.state_key for held in view.state if held.event.type == MEMBER}
    people = {person for person in senders_of(view.events) | company_of(view) if person not in told}
    if not people:
        return []
    state = load_state_at(txn, room, ask.upto, members=people)
    members = {key: held for key, held in state.items() if key[0] == MEMBER}
    if ask.state_after:
        return [held for held in members.values() if ask.filter.state.passes(held.event)]
    first = first_by_key(view.events)
    replaced = [first[key].replaced for key in members if key in first]
    kept = [held for key, held in members.items() if key not in first and ask.filter.state.passes(held.event)]
    return kept + _load_passing(txn, room, ask, [each.nid for each in replaced if each is not None])


def _load_passing(txn: Txn, room: RoomRecord, ask: Ask, nids: Collection[int]) -> list[RoomEvent]:
    held = load_events(txn, room, nids)
    return [held[nid] for nid in nids if ask.filter.state.passes(held[nid].event)]
