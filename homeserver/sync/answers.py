"""One answer to a sync: the rooms and all else that is told, put together from memory and from what had to be read.

Spec: client-server-api#get_matrixclientv3sync
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from federation.event import Event
from federation.ids import DeviceID, RoomID, UserID
from federation.transport.tasks import in_slices
from homeserver.ephemeral.presence import Presences, State
from homeserver.ephemeral.typing import Typing
from homeserver.policy import Policy, SeeRoom, allows
from homeserver.rooms.rooms import Rooms
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.database import Database
from homeserver.storage.events import RoomEvent
from homeserver.storage.sync import MEMBER, has_stayed
from homeserver.streams import Clock, Feed, Streams
from homeserver.sync.company import encode_lists, plan_company
from homeserver.sync.encode import (
    encode_data,
    encode_receipts,
    encode_rooms,
    encode_state,
    encode_summary,
    encode_typing,
    events_object,
    join_object,
    split_receipts,
)
from homeserver.sync.filters import Filter
from homeserver.sync.members import Client, SentMembers
from homeserver.sync.news import News
from homeserver.sync.parts import NO_CHANGES, Part, Parts
from homeserver.sync.reading import MOST_MESSAGES, Found, Plan, Unwanted, read_plan
from homeserver.sync.tokens import SyncToken
from homeserver.sync.views import Ask, View

_encode: Final = msgspec.json.encode


class Unread(Protocol):
    """How many notifications wait for a person in a room: notify and highlight, by thread; `main` is one."""

    @property
    def threads(self) -> Mapping[str, tuple[int, int]]:
        """By thread, those that have any."""

    @property
    def total(self) -> tuple[int, int]:
        """All together."""

    @property
    def changed(self) -> int:
        """The position since which that is so, or a later one."""


class Notices(Protocol):
    """What sync must know of push rules."""

    def find(self, user_id: UserID, room_id: RoomID, /) -> Unread | None:
        """What is unread in a room that the person is in, if memory tells."""

    def load(self, user_id: UserID, room_ids: Collection[RoomID], /) -> Awaitable[Mapping[RoomID, Unread]]:
        """What is unread in some rooms."""

    def rules(self, user_id: UserID, /) -> Awaitable[bytes]:
        """The content of ``m.push_rules``: all rules as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where answers come from. `policy` says whether somebody may still read in a room that they have left."""

    database: Database
    policy: Policy
    streams: Streams
    rooms: Rooms
    typing: Typing
    presences: Presences
    notices: Notices
    clock: Clock
    now_ms: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A sync as it is asked for; without `messages` those to the device are left where they are."""

    user_id: UserID
    device_id: DeviceID
    filter: Filter
    since: SyncToken | None = None
    timeout_ms: int = 0
    full_state: bool = False
    state_after: bool = False
    presence: State = "online"
    messages: bool = True


@dataclass(slots=True, kw_only=True)
class Draft:
    """An answer in the making: what is new for a request above `since` (None: everything) and up to `upto`."""

    request: Request
    feed: Feed
    since: SyncToken | None
    upto: SyncToken
    news: News
    unwanted: Unwanted

    @property
    def is_whole(self) -> bool:
        """Whether all rooms are shown, changed or not."""
        return self.since is None or self.request.full_state

    def ask(self, room_id: RoomID) -> Ask:
        """What is wanted of a room that the person is in."""
        request, since = self.request, self.since
        stays = self.news.moves.get(room_id)
        stayed = stays is None or has_stayed(stays)
        again = since is not None and not stayed
        return Ask(
            room_id=room_id,
            user_id=request.user_id,
            filter=request.filter,
            since=None if since is None or again else since.position,
            upto=self.upto.position,
            whole=since is None or again or request.full_state,
            state_after=request.state_after,
            again=again,
            ignored=self.unwanted.people,
        )


class _JoinedRoom:
    """A room of the answer; without `ask` none of its events."""

    __slots__ = ("ask", "data", "part", "receipts", "typing")

    def __init__(self) -> None:
        self.ask: Ask | None = None
        self.part = NO_CHANGES
        self.receipts: Sequence[ReceiptMoved] = ()
        self.typing = False
        self.data: list[bytes] = []


class LeftRoom:
    """What a policy is told of a room that somebody has left."""

    __slots__ = ("room_id",)

    def __init__(self, room_id: RoomID) -> None:
        self.room_id = room_id

    def state(self, event_type: str, state_key: str = "", /) -> Event | None:
        """Nothing is told of the state."""
        return None

    def membership(self, user_id: UserID, /) -> str | None:
        """They have left."""
        return "leave"


class Answers:
    """Puts answers together."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._parts = Parts(sources.rooms, sources.now_ms)
        self._members = SentMembers()

    def begin(self, request: Request) -> None:
        """A client begins anew: it has nothing."""
        self._members.forget(Client(request.user_id, request.device_id, request.filter))

    async def compose(self, draft: Draft, keys: bytes) -> tuple[bytes | None, Found]:
        """The answer, None when nothing of the news is wanted; and what was read for it. `keys` are the known members
        about the device's keys, empty when they are to be read.
        """
        plan = Plan(user_id=draft.request.user_id, device_id=draft.request.device_id, upto=draft.upto.position)
        plan.keys = not keys
        rooms = self._plan_rooms(draft, plan)
        self._plan_rest(draft, plan)
        views = self._plan_company(draft, plan, rooms)
        found = Found() if plan.is_empty else await self._sources.database.read(read_plan, plan)
        await self._hide_closed(draft, found)
        self._take_up(draft, rooms, found)
        members = [
            *await self._show_rooms(draft, rooms, found),
            *await self._show_own(draft, found),
            *await self._show_presence(draft),
            *([] if draft.since is None else encode_lists(plan, draft.news, views, found)),
        ]
        if not members and not draft.is_whole and not draft.news.keys:
            return None, found
        upto = draft.upto
        if len(found.messages) == MOST_MESSAGES:
            upto = upto._replace(taken=found.messages[-1][0])
        return finish(upto, members, keys or found.keys), found

    # rooms

    def _plan_rooms(self, draft: Draft, plan: Plan) -> dict[RoomID, _JoinedRoom]:
        """The rooms the person is in, as far as memory shows them; the others are planned to be read."""
        feed, news, wanted = draft.feed, draft.news, draft.request.filter
        concerned = feed.rooms if draft.is_whole else {*news.changed, *news.moves}
        rooms = {room_id: _JoinedRoom() for room_id in concerned if room_id in feed.rooms and wanted.has_room(room_id)}
        for room_id, room in rooms.items():
            ask = room.ask = draft.ask(room_id)
            if ask.again:
                plan.data_rooms.add(room_id)
            part = self._parts.find(ask, feed, draft.request.device_id)
            if part is None:
                plan.asks.append(ask)
            else:
                room.part = part
            room.receipts = _find_receipts(draft, ask, plan)
        for room_id in self._typing_rooms(draft, rooms):
            rooms.setdefault(room_id, _JoinedRoom()).typing = True
        self._plan_departures(draft, plan)
        return rooms

    def _plan_company(self, draft: Draft, plan: Plan, rooms: Mapping[RoomID, _JoinedRoom]) -> list[View]:
        """The views that tell whom the person met and lost in rooms; for other rooms that is planned to be read."""
        if draft.since is None:
            return []
        unread = {ask.room_id for ask in plan.asks}
        known = {} if draft.is_whole else {each: room for each, room in rooms.items() if each not in unread}
        told = {
            room_id: room.part.view for room_id, room in known.items() if room.ask is not None and not room.ask.whole
        }
        plan_company(plan, draft.news, draft.feed.rooms, told, draft.since.position)
        for view in told.values():
            plan.doubtful.update(view.lost)
        return list(told.values())

    def _typing_rooms(self, draft: Draft, rooms: Mapping[RoomID, _JoinedRoom]) -> list[RoomID]:
        wanted = draft.request.filter
        if not wanted.ephemeral.has("m.typing"):
            return []
        new = [room_id for room_id, room in rooms.items() if room.ask is not None and room.ask.since is None]
        moves, users = draft.news.moves, self._sources.typing.users
        rejoined = [room_id for room_id in new if room_id in moves and moves[room_id][0].was_joined]
        stirred = {*draft.news.typing, *rejoined, *(room_id for room_id in new if users(room_id))}
        return [each for each in stirred if each in draft.feed.rooms and wanted.has_room(each)]

    def _plan_departures(self, draft: Draft, plan: Plan) -> None:
        """The rooms the person is not in: invitations, knocks, and those they have left."""
        wanted = draft.request.filter
        if draft.is_whole:
            plan.departures = True
            if wanted.include_leave:
                plan.left_ask = draft.ask(RoomID(""))
            if draft.since is None:
                return
        for room_id, stays in draft.news.moves.items():
            if room_id in draft.feed.rooms or not wanted.has_room(room_id):
                continue
            if stays[-1].membership in ("invite", "knock"):
                plan.outside.append(stays[-1])
            else:
                plan.left.append((_ask_left(draft, room_id), stays))

    async def _hide_closed(self, draft: Draft, found: Found) -> None:
        """Of rooms left that are closed to the person by now, tell only that they have left them, and only as news."""
        user_id = draft.request.user_id
        for room_id, view in list(found.left.items()):
            if await allows(self._sources.policy, SeeRoom(by=user_id, room=LeftRoom(room_id))):
                continue
            del found.left[room_id]
            if room_id in draft.news.moves:
                own = [seen for seen in view.events if _is_own_membership(seen.held, user_id)]
                found.left[room_id] = View(events=own[-1:], limited=True, end=view.end)

    def _take_up(self, draft: Draft, rooms: dict[RoomID, _JoinedRoom], found: Found) -> None:
        for room_id, view in found.views.items():
            ask = rooms[room_id].ask
            if ask is not None:
                rooms[room_id].part = self._parts.encode(view, ask, draft.request.device_id)
        for room_id, receipts in found.receipts.items():
            rooms[room_id].receipts = receipts
        wanted = draft.request.filter
        for data in found.data:
            if data.room_id in draft.feed.rooms and _wants_data(wanted, data.room_id, data.type):
                rooms.setdefault(data.room_id, _JoinedRoom()).data.append(encode_data(data.type, data.content))

    async def _show_rooms(
        self, draft: Draft, rooms: Mapping[RoomID, _JoinedRoom], found: Found
    ) -> list[tuple[bytes, bytes]]:
        shown = {room_id: await self._show_room(draft, room_id, room) for room_id, room in rooms.items()}
        unread = await self._find_unread(draft, shown)
        since = draft.since.position if draft.since is not None else 0
        for room_id in [each for each, parts in shown.items() if not parts]:
            if unread[room_id].changed <= since and not draft.is_whole:
                del shown[room_id]
        for parts in shown.values() if draft.request.state_after else ():
            if not any(name == b'"state_after"' for name, _ in parts):
                parts.append((b'"state_after"', events_object(())))
        join = {
            room_id: join_object([*parts, *_show_unread(unread[room_id], threads=draft.request.filter.threads)])
            for room_id, parts in shown.items()
        }
        sections: dict[bytes, dict[RoomID, bytes]] = {b'"join"': join, b'"invite"': {}, b'"knock"': {}}
        for room_id, (section, sender, stripped) in found.outside.items():
            blocked = section == "invite" and draft.unwanted.invitations
            if draft.request.filter.has_room(room_id) and not blocked and sender not in draft.unwanted.people:
                name = section.encode()
                sections[b'"%b"' % name][room_id] = b'{"%b_state":{"events":%b}}' % (name, stripped)
        sections[b'"leave"'] = {room_id: await self._show_left(draft, room_id, found) for room_id in found.left}
        return [(b'"rooms"', encode_rooms(sections))] if any(sections.values()) else []

    async def _find_unread(self, draft: Draft, room_ids: Iterable[RoomID]) -> Mapping[RoomID, Unread]:
        user_id, notices = draft.request.user_id, self._sources.notices
        known = {room_id: notices.find(user_id, room_id) for room_id in room_ids}
        missing = [room_id for room_id, unread in known.items() if unread is None]
        loaded = await notices.load(user_id, missing) if missing else {}
        return {room_id: unread if unread is not None else loaded[room_id] for room_id, unread in known.items()}

    async def _show_room(self, draft: Draft, room_id: RoomID, room: _JoinedRoom) -> list[tuple[bytes, bytes]]:
        """The members of a room's object but for the unread counts; empty when nothing of it is to be shown."""
        parts = await self._show_view(draft, room.ask, room.part) if room.ask is not None else []
        ephemeral = self._show_ephemeral(draft, room_id, room)
        if ephemeral:
            parts.append((b'"ephemeral"', events_object(ephemeral)))
        if room.data:
            parts.append((b'"account_data"', events_object(room.data)))
        return parts

    async def _show_view(self, draft: Draft, ask: Ask, part: Part) -> list[tuple[bytes, bytes]]:
        view = part.view
        parts = []
        if part.timeline:
            parts.append((b'"timeline"', part.timeline))
        state = self._choose_state(draft, ask, view)
        if state:
            name = b'"state_after"' if ask.state_after else b'"state"'
            parts.append((name, events_object(await self._encode_state(state, ask.filter))))
        if view.counted is not None:
            parts.append((b'"summary"', encode_summary(view, ask.user_id)))
        return parts

    async def _encode_state(self, state: Sequence[RoomEvent], wanted: Filter) -> list[bytes]:
        return await in_slices(self._sources.clock, lambda held: encode_state(held, wanted), state)

    def _choose_state(self, draft: Draft, ask: Ask, view: View) -> Sequence[RoomEvent]:
        """The state to send: all of it, but of lazily loaded members those whom the client has already."""
        if not ask.filter.lazy or not (view.events or view.state):
            return view.state
        client = Client(ask.user_id, draft.request.device_id, ask.filter)
        members: Sequence[RoomEvent] = view.members
        if members and not ask.filter.redundant:
            members = self._members.missing(client, members, draft.since.position if draft.since else 0)
        state = [*view.state, *members] if members else view.state
        timeline = [seen.held for seen in view.events]
        sent = [held for held in (*state, *timeline) if held.event.type == MEMBER]
        if sent:
            self._members.note(client, sent, draft.upto.position)
        return state

    def _show_ephemeral(self, draft: Draft, room_id: RoomID, room: _JoinedRoom) -> list[bytes]:
        wanted = draft.request.filter.ephemeral
        if not wanted.has_room(room_id):
            return []
        shown = [encode_typing(self._sources.typing.users(room_id))] if room.typing else []
        if room.receipts and wanted.has("m.receipt"):
            shown += [encode_receipts(group) for group in split_receipts(room.receipts)]
        return shown

    async def _show_left(self, draft: Draft, room_id: RoomID, found: Found) -> bytes:
        view = found.left[room_id]
        ask = _ask_left(draft, room_id)
        part = self._parts.encode(view, ask, draft.request.device_id)
        name = b'"state_after"' if ask.state_after else b'"state"'
        state = events_object(await self._encode_state((*view.state, *view.members), ask.filter))
        parts = [(b'"timeline"', part.timeline or events_object(())), (name, state)]
        events = [
            encode_data(data.type, data.content)
            for data in found.data
            if data.room_id == room_id and _wants_data(ask.filter, room_id, data.type)
        ]
        if events:
            parts.append((b'"account_data"', events_object(events)))
        return join_object(parts)

    # all else

    def _plan_rest(self, draft: Draft, plan: Plan) -> None:
        since = draft.since
        if since is None:
            plan.data_since = 0
            plan.messages_since = 0 if draft.request.messages else None
            return
        if draft.news.account_data:
            plan.data_since = since.position
        if draft.news.messages and draft.request.messages:
            plan.messages_since = since.taken

    async def _show_own(self, draft: Draft, found: Found) -> list[tuple[bytes, bytes]]:
        """Account data and messages to the device."""
        wanted = draft.request.filter.account_data
        events = [
            encode_data(data.type, data.content)
            for data in found.data
            if data.room_id is None and wanted.has(data.type, draft.request.user_id)
        ]
        if (draft.since is None or draft.news.rules) and wanted.has("m.push_rules", draft.request.user_id):
            rules = await self._sources.notices.rules(draft.request.user_id)
            events.append(encode_data("m.push_rules", rules))
        members = [(b'"account_data"', events_object(events))] if events else []
        if found.messages:
            members.append((b'"to_device"', events_object([message for _, message in found.messages])))
        return members

    async def _show_presence(self, draft: Draft) -> list[tuple[bytes, bytes]]:
        presences, user_id = self._sources.presences, draft.request.user_id
        people = draft.news.presence
        if draft.since is None and presences.enabled:
            streams = self._sources.streams
            others = [feed.user_id for feed in streams.companions(user_id)]
            others += presences.heard_in(streams.rooms_of(user_id))
            people = [other for other in others if presences.find(other).state != "offline"]
        wanted = draft.request.filter.presence
        shown = [
            presences.event(person)
            for person in people
            if wanted.has("m.presence", person) and await presences.may_see(user_id, person)
        ]
        return [(b'"presence"', events_object(shown))] if shown else []


def finish(upto: SyncToken, members: Iterable[tuple[bytes, bytes]], keys: bytes) -> bytes:
    """The whole answer."""
    parts = [part for name, value in members for part in (name, b":", value, b",")]
    return b"".join((b'{"next_batch":', _encode(upto.encode()), b",", *parts, keys, b"}"))


def _ask_left(draft: Draft, room_id: RoomID) -> Ask:
    """What is wanted of a room that the person has left since: what was new until then."""
    stays = draft.news.moves.get(room_id) or []
    departure = next((stay for stay in reversed(stays) if stay.was_joined and stay.membership != "join"), None)
    stayed = bool(stays) and stays[0].was_joined and not draft.request.full_state
    request = draft.request
    return Ask(
        room_id=room_id,
        user_id=request.user_id,
        filter=request.filter,
        since=draft.since.position if stayed and draft.since is not None else None,
        upto=draft.upto.position if departure is None else departure.stream,
        whole=not stayed,
        left=True,
        state_after=request.state_after,
        ignored=draft.unwanted.people,
    )


def _find_receipts(draft: Draft, ask: Ask, plan: Plan) -> Sequence[ReceiptMoved]:
    """The receipts that moved in a room, from its log; else they are planned to be read."""
    log = draft.feed.rooms[ask.room_id]
    since = ask.since or 0
    if since < log.receipts_floor:
        plan.receipts.setdefault(since, []).append(ask.room_id)
        return ()
    moved = log.receipts_since(since)
    return [each for each in moved if each.kind == "m.read" or each.user_id == ask.user_id] if moved else ()


def _is_own_membership(held: RoomEvent, user_id: UserID) -> bool:
    return held.event.type == MEMBER and held.event.state_key == user_id


def _wants_data(wanted: Filter, room_id: RoomID, kind: str) -> bool:
    return (
        wanted.has_room(room_id) and wanted.room_account_data.has_room(room_id) and wanted.room_account_data.has(kind)
    )


def _show_unread(unread: Unread, *, threads: bool) -> list[tuple[bytes, bytes]]:
    """The unread counts of a room, of its main timeline only where threads have their own.

    Spec: client-server-api#receiving-notifications
    """
    notify, highlight = unread.threads.get("main", (0, 0)) if threads else unread.total
    shown = [(b'"unread_notifications"', b'{"notification_count":%d,"highlight_count":%d}' % (notify, highlight))]
    others = {root: counts for root, counts in unread.threads.items() if root != "main"} if threads else {}
    if others:
        members = {
            root: {"notification_count": notify, "highlight_count": highlight}
            for root, (notify, highlight) in others.items()
        }
        shown.append((b'"unread_thread_notifications"', _encode(members)))
    return shown
