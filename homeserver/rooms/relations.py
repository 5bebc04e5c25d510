"""Reading what relates to an event, and the threads of a room.

Spec: client-server-api#relationships-api, client-server-api#querying-threads-in-a-room
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from federation.errors import Refused
from federation.ids import UserID
from federation.redaction import redact_event
from homeserver.policy import NotFound
from homeserver.rooms.bundles import load_bundled
from homeserver.rooms.places import before, encode_token, find_end, find_token_place
from homeserver.rooms.render import Asker, render_seen
from homeserver.rooms.sight import Seen, load_seen
from homeserver.rooms.view import View, Views
from homeserver.storage.data import load_ignored
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import Place, RoomEvent, find_event, load_events
from homeserver.storage.relations import ThreadPlace, Wanted, find_roots, load_children, load_threads
from homeserver.storage.rooms import RoomRecord

MOST_CHILDREN: Final = 100
"""How many events a page has at most."""
MOST_LOOKED_AT: Final = 1000
"""After how many events a page ends although it is not full, because the asker may see few."""
DEPTH: Final = 3
"""Over how many relations those are followed who relate to an event by others."""
_AFTER_ALL: Final[Place] = (2**63 - 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Which page of the events that relate to one; `depth` is over how many relations."""

    event_id: str
    rel_type: str | None = None
    type: str | None = None
    depth: int = 1
    backwards: bool = True
    start: Place | int | None = None
    stop: Place | int | None = None
    limit: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadsAsk:
    """Which page of a room's threads: of all, or those in which the asker takes part."""

    participated: bool = False
    start: Place | int | None = None
    limit: int = 20


@dataclass(slots=True)
class _Page:
    """What the asker sees, where it begins, and where what comes after does; None when there is no more."""

    events: Sequence[Seen]
    start: Place
    next: Place | None = None


class Relations:
    """Reads relations for people, who see what they may."""

    def __init__(self, database: Database, views: Views) -> None:
        self._db = database
        self._views = views

    async def children(self, asker: Asker, room_id: str, family: Family) -> dict[str, object]:
        """A page of the events that relate to one, in client form.

        Raises: NotFound when there is no such event or room, or not for the asker.
        Spec: client-server-api#get_matrixclientv1roomsroomidrelationseventid
        """
        try:
            view = await self._views.open(asker.user_id, room_id)
        except Refused:
            raise NotFound("Event not found") from None
        page = await self._db.read(_read_children, view, family)
        if page is None:
            raise NotFound("Event not found")
        answer = _show(page, asker)
        if family.start is not None:
            answer["prev_batch"] = encode_token(page.start)
        return answer

    async def threads(self, asker: Asker, room_id: str, ask: ThreadsAsk) -> dict[str, object]:
        """A page of a room's threads, the one with the latest event first: their roots in client form.

        Raises: Hidden; Refused.
        Spec: client-server-api#get_matrixclientv1roomsroomidthreads
        """
        view = await self._views.open(asker.user_id, room_id)
        return _show(await self._db.read(_read_threads, view, ask), asker)


def _show(page: _Page, asker: Asker) -> dict[str, object]:
    answer: dict[str, object] = {"chunk": [msgspec.Raw(render_seen(seen, asker)) for seen in page.events]}
    if page.next is not None:
        answer["next_batch"] = encode_token(page.next)
    return answer


def _end_of(txn: Txn, view: View) -> Place:
    """The place after which there is nothing for the viewer."""
    end = find_end(txn, view.room.nid)
    return end if view.left is None else min(end, view.left.place)


def _read_children(txn: Txn, view: View, family: Family) -> _Page | None:
    record, user_id = view.room.record, view.user_id
    parent = find_event(txn, record, family.event_id)
    if parent is None or not load_seen(txn, record, user_id, [parent]):
        return None
    wanted = Wanted(
        nid=parent.nid, event_id=parent.event_id, rel_type=family.rel_type, type=family.type, depth=family.depth
    )
    page = _fill_page(txn, view, family, wanted)
    page.events = load_bundled(txn, record, user_id, page.events)
    return page


def _fill_page(txn: Txn, view: View, family: Family, wanted: Wanted) -> _Page:
    record, backwards = view.room.record, family.backwards
    start = place = _find_start(txn, view, family)
    stop = None if family.stop is None else find_token_place(txn, record.nid, family.stop)
    limit, found, left = min(family.limit, MOST_CHILDREN), list[Seen](), MOST_LOOKED_AT
    while len(found) <= limit and left > 0:
        size = limit + 1 - len(found)  # one more than shown tells whether there are more
        left -= size
        rows = load_children(txn, record.nid, wanted, place, size, backwards=backwards)
        within = [nid for nid, at in rows if stop is None or (at > stop) is backwards]
        held = load_events(txn, record, within)
        found += load_seen(txn, record, view.user_id, [held[nid] for nid in within])
        if len(within) < size and len(found) <= limit:
            return _Page(found, start)
        last = found[limit - 1].held if len(found) > limit else held[within[-1]]
        place = before(last) if backwards else last.place
    return _Page(found[:limit], start, place)


def _find_start(txn: Txn, view: View, family: Family) -> Place:
    if family.start is not None:
        if family.backwards:
            return min(find_end(txn, view.room.nid, family.start), _end_of(txn, view))
        return find_token_place(txn, view.room.nid, family.start)
    return _end_of(txn, view) if family.backwards else (0, -1)


def _read_threads(txn: Txn, view: View, ask: ThreadsAsk) -> _Page:
    record, user_id = view.room.record, view.user_id
    ignored, end = load_ignored(txn, user_id), _end_of(txn, view)
    start = place = _AFTER_ALL if ask.start is None else find_end(txn, record.nid, ask.start)
    by = user_id if ask.participated else None
    limit, found, left = min(ask.limit, MOST_CHILDREN), dict[Place, Seen](), MOST_LOOKED_AT
    while len(found) <= limit and left > 0:
        size = limit + 1 - len(found)
        left -= size
        threads = load_threads(txn, record.nid, (place, end), size, by=by, ignored=ignored)
        found |= _load_roots(txn, record, user_id, threads)
        if len(threads) < size and len(found) <= limit:
            return _Page([_hide_ignored(seen, ignored) for seen in found.values()], start)
        place = [*found][limit - 1] if len(found) > limit else threads[-1].place
    return _Page([_hide_ignored(seen, ignored) for seen in [*found.values()][:limit]], start, place)


def _load_roots(txn: Txn, record: RoomRecord, user_id: UserID, threads: Sequence[ThreadPlace]) -> dict[Place, Seen]:
    """The roots of threads, by the places of those and in their order, as far as the person may see them and something
    in the thread.
    """
    places = {thread.root_id: thread.place for thread in threads}
    roots = find_roots(txn, record.nid, [thread.root_id for thread in threads])
    held = load_events(txn, record, roots.values())
    events = [held[roots[thread.root_id]] for thread in threads if thread.root_id in roots]
    bundled = load_bundled(txn, record, user_id, load_seen(txn, record, user_id, events))
    shown = [seen for seen in bundled if seen.bundle is not None and seen.bundle.thread is not None]
    return {places[seen.held.event_id]: seen for seen in shown}


def _hide_ignored(seen: Seen, ignored: frozenset[str]) -> Seen:
    """The root as if it were redacted where its sender is ignored.

    Spec: client-server-api#get_matrixclientv1roomsroomidthreads
    """
    held = seen.held
    if held.event.sender not in ignored:
        return seen
    pruned = RoomEvent(
        redact_event(held.event), nid=held.nid, room_nid=held.room_nid, group=held.group, stream=held.stream
    )
    return seen._replace(held=pruned)
