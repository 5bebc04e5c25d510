"""A sliding sync from request to answer: what is new in the rooms that are looked at is told at once; where nothing is,
the request waits for it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec
from twisted.internet.defer import Deferred

from federation.ids import DeviceID, RoomID, UserID
from homeserver.policy import Invalid, SeeRoom, allows
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.database import StorageUnavailable, Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.sliding import load_receipts_on
from homeserver.storage.todevice import remove
from homeserver.streams import Feed
from homeserver.sync.answers import LeftRoom, Sources, Unread
from homeserver.sync.encode import join_object
from homeserver.sync.known import MOST_KNOWN, Known
from homeserver.sync.news import News, add_news, hear, read_news
from homeserver.sync.parts import Parts
from homeserver.sync.reading import Found, Plan, Unwanted, read_plan, read_unwanted
from homeserver.sync.sliding.connections import Connections, Origin, Sent, Told
from homeserver.sync.sliding.encode import Around, encode_room, encode_rooms
from homeserver.sync.sliding.extensions import Extra
from homeserver.sync.sliding.knowledge import Natures
from homeserver.sync.sliding.requests import SlidingRequest
from homeserver.sync.sliding.rooms import LiveRooms, Showing, Wish, hide, read_showings
from homeserver.sync.sliding.rosters import Place, Roster, Rosters, read_roster
from homeserver.sync.sliding.scopes import Knowledge, Scope, find_scope
from homeserver.sync.tokens import SyncToken

LONGEST_MS: Final = 120_000
"""How long a sync waits at most."""

_encode: Final = msgspec.json.encode


class Facts(NamedTuple):
    """What an answer goes by."""

    roster: Roster
    unwanted: Unwanted
    knowledge: Knowledge

    def hides(self, place: Place) -> bool:
        """Whether somebody is not to be told of a room: of an invitation that they do not want."""
        unwanted = self.unwanted
        return place.membership == "invite" and (unwanted.invitations or place.sender in unwanted.people)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One look at what is new for a request, whose client has been told `told`, up to `upto`."""

    request: SlidingRequest
    feed: Feed
    told: Told
    upto: SyncToken
    news: News
    facts: Facts
    scope: Scope

    def wishes(self) -> list[Wish]:
        """What is to be shown of the rooms that are looked at, as far as anything may be new."""
        found = (self._find_wish(room_id) for room_id in self.scope.configs)
        return [wish for wish in found if wish is not None]

    def _find_wish(self, room_id: RoomID) -> Wish | None:
        place, sent = self.facts.roster.places[room_id], self.told.rooms.get(room_id)
        wish = Wish(
            room_id=room_id,
            user_id=self.request.user_id,
            config=self.scope.configs[room_id],
            membership=place.membership,
            stay=place.stream,
            upto=self.upto.position,
            sent=sent,
            dm=room_id in self.facts.roster.labels.direct,
            ignored=self.facts.unwanted.people,
        )
        if sent is None:
            return wish
        return self._find_more(wish, place, sent)

    def _find_more(self, wish: Wish, place: Place, sent: Sent) -> Wish | None:
        """What is to be shown of a room that the client has been told of."""
        since, config = self.told.since(wish.room_id), wish.config
        grows = config.limit > sent.config.limit and sent.first > 0
        wants_more = grows or not config.required <= sent.config.required
        if sent.membership != "join":
            return wish if sent.stay != place.stream or (place.is_out and wants_more) else None
        if place.membership in ("invite", "knock") or (place.joined or 0) > since:
            return wish
        if place.changed > since or wants_more or sent.dm != wish.dm or sent.stay != place.stream:
            return replace(wish, since=since, grows=grows)
        return None


class Sliding:
    """Answers sliding syncs."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._streams = sources.streams
        self._parts = Parts(sources.rooms, sources.now_ms)
        self._live = LiveRooms(sources.rooms, self._parts)
        self._connections = Connections()
        self._rosters = Rosters()
        self._natures = Natures(sources.database, sources.rooms, self._live)
        self._unwanted: Known[UserID, Unwanted] = Known("account_data")
        self._keys: Known[tuple[UserID, DeviceID], bytes] = Known("one_time_keys")
        self._handed: OrderedDict[tuple[UserID, DeviceID], int] = OrderedDict()

    async def answer(self, request: SlidingRequest, gone: Deferred[None] | None = None) -> bytes:
        """The answer, a JSON object; at the latest when the request's time is over or `gone` fires.

        Raises:
            Invalid: the connection has expired, or the token of messages is of the future.
        """
        origin: Origin = (request.user_id, request.device_id, f"{request.dialect.name} {request.conn_id}")
        messages = request.extensions.to_device
        if messages is not None and (messages.since or 0) > self._streams.position:
            raise Invalid("M_INVALID_PARAM", "since is a token of the future")
        first = request.pos is None
        before = self._connections.begin(origin) if request.pos is None else self._connections.find(origin, request.pos)
        if messages is not None and messages.since is not None:
            await self._acknowledge((request.user_id, request.device_id), messages.since)
        with self._streams.listening(request.user_id) as feed:
            await self._streams.ready(feed)
            timeout_ms = 0 if first else min(request.timeout_ms, LONGEST_MS)
            self._sources.presences.attend(request.user_id, request.presence, timeout_ms)
            told, body = await self._answer_news(request, feed, before, timeout_ms, gone)
        return self._finish(request, self._connections.note(origin, before, told, told.token or self._now()), body)

    def _finish(self, request: SlidingRequest, pos: str, body: Sequence[tuple[bytes, bytes]]) -> bytes:
        members = [(b'"pos"', _encode(pos))]
        if request.txn_id is not None:
            members.append((b'"txn_id"', _encode(request.txn_id)))
        return join_object([*members, *body])

    async def _answer_news(
        self, request: SlidingRequest, feed: Feed, told: Told, timeout_ms: int, gone: Deferred[None] | None
    ) -> tuple[Told, Sequence[tuple[bytes, bytes]]]:
        """Tell what is new, else wait for it."""
        clock = self._sources.clock
        deadline_s = clock.seconds() + timeout_ms / 1000
        while True:
            turn = await self._look(request, feed, told)
            is_first = told.token is None
            told, body, has_news = await self._compose(turn)
            left_s = deadline_s - clock.seconds()
            if has_news or is_first or left_s <= 0:
                return told, body
            if turn.upto == self._now() and await self._streams.wait(feed, request.device_id, left_s, gone) != "news":
                return told, body

    def _now(self) -> SyncToken:
        position = self._streams.position
        return SyncToken(position, self._streams.serial, position)

    # what is known

    async def _look(self, request: SlidingRequest, feed: Feed, told: Told) -> Turn:
        """All that has to be known before anything is told, as of now: nothing is waited for after that."""
        news, heard = await self._find_news(feed, told)
        facts = None
        while facts is None:
            facts = await self._find_facts(request, feed)
        upto = self._now()
        if told.token is not None and upto != heard:
            news = add_news(news, hear(feed, heard))
        scope = find_scope(request, facts.roster, told, facts.knowledge, facts.hides)
        return Turn(request=request, feed=feed, told=told, upto=upto, news=news, facts=facts, scope=scope)

    async def _find_facts(self, request: SlidingRequest, feed: Feed) -> Facts | None:
        """What an answer goes by, as of now; None when something was committed meanwhile."""
        position, user_id = self._streams.position, request.user_id
        lacks = self._rosters.lacks(feed)
        if any(lacks):
            read = await self._sources.database.read(read_roster, user_id, lacks)
            self._rosters.note(user_id, position, *read)
        unwanted = self._unwanted.find(user_id, feed)
        if unwanted is None:
            position = self._streams.position
            unwanted = await self._sources.database.read(read_unwanted, user_id)
            self._unwanted.note(user_id, position, unwanted)
        roster = self._rosters.find(feed, self._streams.position)
        if roster is None:
            return None
        knowledge = await self._natures.load(request, roster)
        now = self._streams.position
        roster = self._rosters.find(feed, now)
        unwanted = self._unwanted.find(user_id, feed)
        if roster is None or unwanted is None or not knowledge.holds(roster):
            return None
        return Facts(roster, unwanted, knowledge)

    async def _find_news(self, feed: Feed, told: Told) -> tuple[News, SyncToken]:
        """What is new since the last answer, and the moment up to which that was looked for."""
        heard, since = self._now(), told.token
        if since is None:
            return News(), heard
        if feed.floor <= since.position and feed.serial_floor <= since.serial <= heard.serial:
            return hear(feed, since), heard
        news = await self._sources.database.read(read_news, feed.user_id, since, heard.position)
        stirred, users = self._streams.stirred_since(since.serial), self._sources.typing.users
        news.typing = [room_id for room_id in feed.rooms if room_id in stirred or users(room_id)]
        return news, heard

    # what is told

    async def _compose(self, turn: Turn) -> tuple[Told, Sequence[tuple[bytes, bytes]], bool]:
        """What the client is told, what it then has been told, and whether anything of it is news."""
        request, user_id = turn.request, turn.request.user_id
        device = (user_id, request.device_id)
        extra = Extra(
            wanted=request.extensions,
            feed=turn.feed,
            told=turn.told,
            upto=turn.upto,
            news=turn.news,
            scope=turn.scope,
            plan=Plan(user_id=user_id, device_id=request.device_id, upto=turn.upto.position),
            keys=self._keys.find(device, turn.feed) or b"",
        )
        extra.prepare()
        wishes = turn.wishes()
        showings, found = await self._find_showings(turn, wishes, extra)
        rooms, sent = await self._encode_rooms(turn, wishes, showings)
        extensions = await extra.encode(found, self._sources.typing, self._sources.notices.rules)
        await self._take_note(device, found, turn)
        lists = {name: {"count": count} for name, count in turn.scope.counts.items()}
        body = [(b'"lists"', _encode(lists)), (b'"rooms"', encode_rooms(rooms)), (b'"extensions"', extensions)]
        return _succeed(turn, sent, extra), body, bool(rooms) or extra.has_news

    async def _find_showings(
        self, turn: Turn, wishes: Sequence[Wish], extra: Extra
    ) -> tuple[dict[RoomID, Showing], Found]:
        """What there is to show of rooms, and what was read besides."""
        feed, device_id = turn.feed, turn.request.device_id
        live = {wish.room_id: self._live.find(wish, feed, device_id) for wish in wishes}
        showings = {room_id: showing for room_id, showing in live.items() if showing is not None}
        missing = [wish for wish in wishes if wish.room_id not in showings]
        found = Found()
        if missing or not extra.plan.is_empty:
            read, found = await self._sources.database.read(_read, missing, extra.plan)
            for wish in missing:
                showings[wish.room_id] = await self._pass(wish, read[wish.room_id])
        new = extra.needs_receipts()
        if new:
            events = {room_id: _events(showings.get(room_id)) for room_id in new}
            receipts = await self._sources.database.read(
                load_receipts_on, turn.request.user_id, events, turn.upto.position
            )
            _add_receipts(found, receipts)
        return showings, found

    async def _pass(self, wish: Wish, showing: Showing) -> Showing:
        """What a policy lets somebody see who has left the room."""
        if wish.membership in ("join", "invite", "knock"):
            return showing
        if await allows(self._sources.policy, SeeRoom(by=wish.user_id, room=LeftRoom(wish.room_id))):
            return showing
        return hide(showing, wish)

    async def _encode_rooms(
        self, turn: Turn, wishes: Sequence[Wish], showings: dict[RoomID, Showing]
    ) -> tuple[dict[RoomID, bytes], dict[RoomID, Sent]]:
        unread = await self._find_unread(turn, wishes)
        rooms: dict[RoomID, bytes] = {}
        sent: dict[RoomID, Sent] = {}
        live = turn.upto.position if turn.told.token is None else turn.told.position
        for wish in wishes:
            room_id = wish.room_id
            count = unread.get(room_id)
            fresh = count is not None and (wish.since is None or count.changed > wish.since)
            around = Around(
                dialect=turn.request.dialect,
                device_id=turn.request.device_id,
                live=live,
                lists=turn.scope.lists.get(room_id, ()),
                unread=count.total if count is not None and fresh else None,
            )
            shown, sent[room_id] = encode_room(wish, showings[room_id], around, self._parts)
            if shown is not None:
                rooms[room_id] = shown
        return rooms, sent

    async def _find_unread(self, turn: Turn, wishes: Iterable[Wish]) -> dict[RoomID, Unread]:
        if not turn.request.dialect.counts:
            return {}
        user_id, notices = turn.request.user_id, self._sources.notices
        joined = [wish.room_id for wish in wishes if wish.membership == "join"]
        known = {room_id: notices.find(user_id, room_id) for room_id in joined}
        missing = [room_id for room_id, unread in known.items() if unread is None]
        loaded = await notices.load(user_id, missing) if missing else {}
        return {room_id: unread if unread is not None else loaded[room_id] for room_id, unread in known.items()}

    # messages to the device

    async def _take_note(self, device: tuple[UserID, DeviceID], found: Found, turn: Turn) -> None:
        """Remember what was read of the device, and up to where it was given messages."""
        if found.keys:
            self._keys.note(device, turn.upto.position, found.keys)
        if found.messages:
            self._handed[device] = found.messages[0][0]
            self._handed.move_to_end(device)
            if len(self._handed) > MOST_KNOWN:
                self._handed.popitem(last=False)
        messages = turn.request.extensions.to_device
        if found.received and messages is not None and messages.since:
            await self._remove(device, messages.since)

    async def _acknowledge(self, device: tuple[UserID, DeviceID], since: int) -> None:
        """The client has what came before: messages up to there need not be kept."""
        handed = self._handed.get(device)
        if handed is not None and handed <= since:
            del self._handed[device]
            await self._remove(device, since)

    async def _remove(self, device: tuple[UserID, DeviceID], upto: int) -> None:
        """Remove messages; those that could not be are found again, and removed, when others are read."""
        with suppress(StorageUnavailable):
            await self._sources.database.write(remove, *device, upto)


def _read(txn: Txn, wishes: Sequence[Wish], plan: Plan) -> tuple[dict[RoomID, Showing], Found]:
    return read_showings(txn, wishes), read_plan(txn, plan)


def _events(showing: Showing | None) -> list[RoomEvent]:
    return [] if showing is None else [seen.held for seen in showing.view.events]


def _add_receipts(found: Found, receipts: Iterable[ReceiptMoved]) -> None:
    for moved in receipts:
        found.receipts.setdefault(moved.room_id, []).append(moved)


def _succeed(turn: Turn, sent: dict[RoomID, Sent], extra: Extra) -> Told:
    """What the client has been told after an answer."""
    told, wanted, scope = turn.told, turn.request.extensions, turn.scope.configs
    same = not sent and scope == told.scope
    return Told(
        token=turn.upto,
        rooms=told.rooms if same else told.succeed(sent, scope),
        scope=told.scope if same else scope,
        typing=None if wanted.typing is None else extra.typing,
        receipts=None if wanted.receipts is None else extra.receipts,
        data=told.data if wanted.account_data is None else extra.data,
        typists=extra.typists,
        globals=told.globals or wanted.account_data is not None,
    )
