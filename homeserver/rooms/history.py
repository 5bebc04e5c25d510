"""Reading a room: pages of its history, single events and what lies around them.

Spec: client-server-api#getting-events-for-a-room
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import msgspec

from federation.errors import Refused
from federation.ids import UserID
from homeserver.policy import NotFound
from homeserver.rooms.bundles import load_bundled
from homeserver.rooms.filters import RoomEventFilter, build_test
from homeserver.rooms.groups import CREATE
from homeserver.rooms.places import BEGINNING, before, encode_token, find_end, find_token_place
from homeserver.rooms.render import Asker, render_seen
from homeserver.rooms.room import Room
from homeserver.rooms.sight import Seen, find_seen, load_seen
from homeserver.rooms.view import View, Views
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import Place, RoomEvent, find_event, find_room_of, load_page
from homeserver.storage.rooms import RoomRecord
from homeserver.storage.state import find_state, load_state

MOST_EVENTS: Final = 500
"""How many events a page has at most."""
MOST_LOOKED_AT: Final = 2000
"""After how many events a page ends although it is not full, because filter or visibility let few pass."""
_AT_ONCE: Final = 100
MOST_FETCHED: Final = 3
"""How often other servers are asked for what a page lacks."""

Older: TypeAlias = Callable[[Room, tuple[int, int]], Awaitable[bool | None]]
"""Fetches what is missing between two depths: whether there is more now, None if it cannot be had at present."""

_ALL: Final = RoomEventFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Which page: from a token (None: the end, or the beginning if forwards) to one, and which events of it."""

    backwards: bool
    start: Place | int | None = None
    stop: Place | int | None = None
    limit: int = 10
    wanted: RoomEventFilter = _ALL


@dataclass(slots=True)
class Page:
    """A page of history: what the asker may see and wants, and the tokens around it; `end` None: there is no more."""

    start: Place
    end: Place | None = None
    events: Sequence[Seen] = ()
    state: list[RoomEvent] = field(default_factory=list)


@dataclass(slots=True)
class Context:
    """An event, what lies around it, and the state at the last of these events; the latest of `before` is first."""

    event: Seen
    before: Page
    after: Page
    state: list[RoomEvent] = field(default_factory=list)

    @property
    def events(self) -> list[Seen]:
        """All of them, from the earliest to the event and on to the latest."""
        return [*reversed(self.before.events), self.event, *self.after.events]

    def encode(self, asker: Asker) -> dict[str, object]:
        """What lies around it, in client form."""
        return {
            "events_before": _render(self.before.events, asker),
            "events_after": _render(self.after.events, asker),
            "start": encode_token(self.before.end or before(self.events[0].held)),
            "end": encode_token(self.after.end or self.events[-1].held.place),
        }


class History:
    """Reads rooms for people, who see what they may. `older` fetches what is missing between two depths of a room."""

    def __init__(self, database: Database, views: Views) -> None:
        self._db = database
        self._views = views
        self.older: Older | None = None

    async def messages(self, asker: Asker, room_id: str, ask: Ask) -> dict[str, object]:
        """A page of history, in client form.

        Raises: Hidden; Refused.
        Spec: client-server-api#get_matrixclientv3roomsroomidmessages
        """
        view = await self._views.open(asker.user_id, room_id)
        page = await self._db.read(_read_page, view.room.record, view, ask)
        if ask.backwards and self.older is not None:
            page = await self._complete(view, ask, page, self.older)
        answer: dict[str, object] = {"start": encode_token(page.start), "chunk": _render(page.events, asker)}
        begun = ask.backwards and page.events and page.events[-1].held.type == CREATE[0]
        if page.end is not None and not begun:
            answer["end"] = encode_token(page.end)
        if ask.wanted.lazy_load_members:
            answer["state"] = [msgspec.Raw(held.client) for held in page.state]
        return answer

    async def _complete(self, view: View, ask: Ask, page: Page, older: Older) -> Page:
        """The page with what is missing in it, as far as other servers have it now."""
        for _ in range(MOST_FETCHED):
            low = 0 if page.end is None else page.end[0]
            fetched = await older(view.room, (low, page.start[0]))
            if not fetched:
                if fetched is None and page.end is None and page.events:
                    page.end = before(page.events[-1].held)
                break
            page = await self._db.read(_read_page, view.room.record, view, ask)
        return page

    async def event(self, asker: Asker, room_id: str, event_id: str) -> bytes:
        """One event, in client form.

        Raises: NotFound when there is none that the asker may see; Hidden; Refused.
        Spec: client-server-api#get_matrixclientv3roomsroomideventeventid
        """
        view = await self._views.open(asker.user_id, room_id)
        recent = None if event_id in view.room.parents else view.room.find_recent(event_id)
        if recent is not None:
            found = await self.see(view.room, view.user_id, [recent])
        else:
            found = await self._db.read(_read_event, view.room.record, view.user_id, event_id)
        if not found:
            raise NotFound("Event not found")
        return render_seen(found[0], asker)

    async def event_anywhere(self, asker: Asker, event_id: str) -> bytes:
        """One event of any room that the asker may read, in client form.

        Raises: NotFound when there is none that the asker may see.
        Spec: client-server-api#get_matrixclientv3eventseventid
        """
        room_id = await self._db.read(find_room_of, event_id)
        try:
            return await self.event(asker, room_id or "", event_id)
        except Refused:
            raise NotFound("Event not found") from None

    async def find(self, view: View, event_id: str) -> Seen | None:
        """The event of that ID, if it is in the room and the viewer may see it; anything may be asked."""
        recent = view.room.find_recent(event_id)
        if recent is not None:
            found = await self.see(view.room, view.user_id, [recent])
            return found[0] if found else None
        found = await self._db.read(_read_seen, view.room.record, view.user_id, event_id)
        return found[0] if found else None

    async def see(self, room: Room, user_id: UserID, events: Sequence[RoomEvent]) -> Sequence[Seen]:
        """Those of some events of a room's timeline that a person may see; from memory where that tells.

        Spec: client-server-api#room-history-visibility
        """
        found = find_seen(room, user_id, events)
        return found if found is not None else await self._db.read(load_seen, room.record, user_id, events)

    async def context(
        self, asker: Asker, room_id: str, event_id: str, *, limit: int, wanted: RoomEventFilter
    ) -> dict[str, object]:
        """What lies around an event, in client form.

        Raises: NotFound when there is no such event that the asker may see; Hidden; Refused.
        Spec: client-server-api#get_matrixclientv3roomsroomidcontexteventid
        """
        view = await self._views.open(asker.user_id, room_id)
        found = await self._db.read(_read_context, view, event_id, limit, wanted)
        if found is None:
            raise NotFound("Event not found")
        (event,) = _render([found.event], asker)
        state = [msgspec.Raw(held.client) for held in found.state]
        return {"event": event, **found.encode(asker), "state": state}


def _render(events: Iterable[Seen], asker: Asker) -> list[msgspec.Raw]:
    return [msgspec.Raw(render_seen(seen, asker)) for seen in events]


def _read_event(txn: Txn, record: RoomRecord, user_id: UserID, event_id: str) -> Sequence[Seen]:
    return load_bundled(txn, record, user_id, _read_seen(txn, record, user_id, event_id))


def _read_seen(txn: Txn, record: RoomRecord, user_id: UserID, event_id: str) -> list[Seen]:
    """The event of that ID, or nothing."""
    held = find_event(txn, record, event_id)
    return [] if held is None else load_seen(txn, record, user_id, [held])


def _read_page(txn: Txn, record: RoomRecord, view: View, ask: Ask) -> Page:
    start = _find_start(txn, record, view, ask)
    page = _fill_page(txn, record, view.user_id, ask, start)
    page.events = load_bundled(txn, record, view.user_id, page.events)
    if ask.wanted.lazy_load_members:
        page.state = _load_senders(txn, record, [seen.held for seen in page.events])
    return page


def _find_start(txn: Txn, record: RoomRecord, view: View, ask: Ask) -> Place:
    if not ask.backwards:
        return BEGINNING if ask.start is None else find_token_place(txn, record.nid, ask.start)
    start = find_end(txn, record.nid, ask.start)
    return start if view.left is None else min(start, view.left.place)


def _fill_page(txn: Txn, record: RoomRecord, user_id: UserID, ask: Ask, start: Place) -> Page:
    page = Page(start, start)
    stop = None if ask.stop is None else find_token_place(txn, record.nid, ask.stop)
    limit = min(ask.limit, ask.wanted.limit or ask.limit, MOST_EVENTS)
    test = build_test(ask.wanted)
    if not ask.wanted.takes_room(record.room_id):
        page.end = None
    left_to_look_at = MOST_LOOKED_AT
    while page.end is not None and (missing := limit - len(page.events)) and left_to_look_at > 0:
        size = missing if test is None else max(missing, _AT_ONCE)
        left_to_look_at -= size
        found = load_page(txn, record, page.end, size, backwards=ask.backwards)
        within = found if stop is None else [held for held in found if (held.place > stop) is ask.backwards]
        seen = load_seen(txn, record, user_id, within if test is None else [h for h in within if test(h.event)])
        page.events = [*page.events, *seen[:missing]]
        if len(seen) > missing:
            page.end = _behind(page.events[-1].held, ask.backwards)
        else:
            page.end = _behind(found[-1], ask.backwards) if len(within) == size else None
    return page


def _behind(held: RoomEvent, backwards: bool) -> Place:
    return before(held) if backwards else held.place


def _load_senders(txn: Txn, record: RoomRecord, events: Sequence[RoomEvent]) -> list[RoomEvent]:
    """The membership events of those who sent these events, as of the last of them.

    Spec: client-server-api#lazy-loading-room-members
    """
    if not events:
        return []
    senders = {held.event.sender for held in events}
    return find_state(txn, record, events[-1].group, "m.room.member", senders)


def _read_context(txn: Txn, view: View, event_id: str, limit: int, wanted: RoomEventFilter) -> Context | None:
    record, user_id = view.room.record, view.user_id
    found = _read_seen(txn, record, user_id, event_id)
    if not found:
        return None
    event = found[0]
    back = Ask(backwards=True, limit=limit // 2, wanted=wanted)
    ahead = Ask(backwards=False, limit=limit - limit // 2, wanted=wanted)
    around = load_around(txn, record, user_id, event, (back, ahead))
    state = _load_context_state(txn, record, [seen.held for seen in around.events], wanted)
    return replace(around, state=state)


def load_around(txn: Txn, record: RoomRecord, user_id: UserID, event: Seen, asks: tuple[Ask, Ask]) -> Context:
    """What somebody may see around an event that they see: what is asked for before it, and after it."""
    back, ahead = asks
    pages = (
        _fill_page(txn, record, user_id, back, before(event.held)),
        _fill_page(txn, record, user_id, ahead, event.held.place),
    )
    count = len(pages[0].events)
    events = load_bundled(txn, record, user_id, [*pages[0].events, event, *pages[1].events])
    pages[0].events, event, pages[1].events = events[:count], events[count], events[count + 1 :]
    return Context(event, *pages)


def _load_context_state(
    txn: Txn, record: RoomRecord, events: Sequence[RoomEvent], wanted: RoomEventFilter
) -> list[RoomEvent]:
    state = load_state(txn, record, events[-1].group).values()
    test = build_test(wanted)
    senders = {held.event.sender for held in events} if wanted.lazy_load_members else None
    return [
        held
        for held in state
        if (test is None or test(held.event))
        and (senders is None or held.event.type != "m.room.member" or held.event.state_key in senders)
    ]
