"""The event stream of old: the state of everything at once, then events as they come; and looking into rooms that
anybody may read.

It is the same engine as that of syncs, whose answers are told in another form. Messages to devices are not part of it.

Spec: client-server-api#get_matrixclientv3initialsync, client-server-api#get_matrixclientv3events
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred

from federation.ids import DeviceID, RoomID, UserID
from homeserver.policy import Invalid
from homeserver.rooms.doors import Doors
from homeserver.rooms.history import Ask, History
from homeserver.rooms.render import Asker, render
from homeserver.rooms.state import States
from homeserver.rooms.view import View, Views
from homeserver.storage.data import load_room_data
from homeserver.storage.database import Database
from homeserver.storage.events import RoomEvent, load_recent
from homeserver.streams import Streams
from homeserver.sync.answers import Request
from homeserver.sync.encode import encode_data
from homeserver.sync.filters import MOST_EVENTS, parse_filter
from homeserver.sync.sync import LONGEST_MS, Sync
from homeserver.sync.tokens import SyncToken, parse_token

MOST_SHOWN: Final = 100
"""How many events of each room are shown at first, at most."""
LOOK_S: Final = 1.0
"""How often somebody who is not in a room is shown what is new there."""

Gone = Deferred[None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Whose device listens."""

    user_id: UserID
    device_id: DeviceID


@dataclass(frozen=True, slots=True, kw_only=True)
class Peek:
    """Listening to one room: from a token (None: from now on), for so long."""

    room_id: str
    since: str | None
    timeout_ms: int


class EventStream:
    """Tells what is, and then what is new."""

    def __init__(self, sync: Sync, streams: Streams, database: Database, views: Views, history: History) -> None:
        self._sync = sync
        self._streams = streams
        self._db = database
        self._views = views
        self._history = history

    # everything

    async def begin(self, reader: Reader, limit: int, *, archived: bool) -> dict[str, Any]:
        """All rooms with their last events, and all else that is told at first, in client form.

        Spec: client-server-api#get_matrixclientv3initialsync
        """
        room = {"timeline": {"limit": min(max(limit, 1), MOST_SHOWN)}, "include_leave": archived}
        request = Request(
            user_id=reader.user_id,
            device_id=reader.device_id,
            filter=parse_filter(msgspec.json.encode({"room": room})),
            state_after=True,
            messages=False,
        )
        told = msgspec.json.decode(await self._sync.answer(request))
        rooms = told.get("rooms", {})
        end = _end(told)
        return {
            "end": end,
            "presence": _events(told, "presence"),
            "account_data": _events(told, "account_data"),
            "rooms": [
                *(_show_room(room_id, "join", room, end) for room_id, room in rooms.get("join", {}).items()),
                *(_show_invitation(room_id, room) for room_id, room in rooms.get("invite", {}).items()),
                *(_show_room(room_id, "leave", room, end) for room_id, room in rooms.get("leave", {}).items()),
            ],
        }

    async def listen(self, reader: Reader, since: str | None, timeout_ms: int, gone: Gone) -> dict[str, Any]:
        """What is new since a token (None: from now on), waiting for it so long, in client form.

        Raises: Invalid for what is no token.
        Spec: client-server-api#get_matrixclientv3events
        """
        start = self._parse(since)
        request = Request(
            user_id=reader.user_id,
            device_id=reader.device_id,
            filter=parse_filter(msgspec.json.encode({"room": {"timeline": {"limit": MOST_EVENTS}}})),
            since=start,
            timeout_ms=timeout_ms,
            messages=False,
        )
        told = msgspec.json.decode(await self._sync.answer(request, gone if timeout_ms else None))
        return {"start": since or start.encode(), "end": _end(told), "chunk": list(_news(told))}

    # one room

    async def peek(self, reader: Reader, wanted: Peek, gone: Gone) -> dict[str, Any]:
        """What is new in one room that the reader may read, being in or not, in client form.

        Raises: Hidden; Refused; Invalid for what is no token.
        Spec: client-server-api#get_matrixclientv3events
        """
        start = self._parse(wanted.since)
        left_ms = min(wanted.timeout_ms, LONGEST_MS)
        with self._streams.listening(reader.user_id) as feed:
            await self._streams.ready(feed)
            while True:
                view = await self._views.open(reader.user_id, wanted.room_id)
                upto = self._now()
                events = await self._find_new(view, start.position, upto.position)
                if events or left_ms <= 0:
                    return {"start": wanted.since or start.encode(), "end": upto.encode(), "chunk": events}
                wait_s = min(left_ms / 1000, LOOK_S)
                left_ms -= int(wait_s * 1000)
                if await self._streams.wait(feed, reader.device_id, wait_s, gone) == "ended":
                    left_ms = 0

    async def _find_new(self, view: View, since: int, upto: int) -> list[msgspec.Raw]:
        if view.left is not None:
            return []
        room = view.room
        if since >= room.recent_floor:
            found: Sequence[RoomEvent] = [held for held in room.recent if since < held.stream <= upto]
        else:
            read = partial(load_recent, after=since, upto=upto)
            found = await self._db.read(read, room.record, MOST_EVENTS)
        asker = Asker(user_id=view.user_id)
        seen = await self._history.see(room, view.user_id, found) if found else []
        return [msgspec.Raw(render(each.held, asker, previous=each.previous)) for each in seen]

    def _parse(self, since: str | None) -> SyncToken:
        if since is None:
            return self._now()
        token = parse_token(since)
        if token.position > self._streams.position:
            raise Invalid("M_INVALID_PARAM", "from is a token of the future")
        return token._replace(taken=token.position)

    def _now(self) -> SyncToken:
        return SyncToken(self._streams.position, self._streams.serial, self._streams.position)


class Snapshots:
    """Shows single rooms at once.

    Spec: client-server-api#get_matrixclientv3roomsroomidinitialsync
    """

    def __init__(self, streams: Streams, database: Database, views: Views, history: History, states: States) -> None:
        self._streams = streams
        self._db = database
        self._views = views
        self._history = history
        self._states = states

    async def see(self, asker: Asker, room_id: str, limit: int) -> dict[str, Any]:
        """A room's state and last events, for who is in, was in or may look in, in client form.

        Raises: Hidden; Refused.
        Spec: client-server-api#get_matrixclientv3roomsroomidinitialsync
        """
        end = SyncToken(self._streams.position, self._streams.serial, self._streams.position)
        view = await self._views.open(asker.user_id, room_id)
        room = view.room
        ask = Ask(backwards=True, start=end.position, limit=min(limit, MOST_SHOWN))
        page = await self._history.messages(asker, room_id, ask)
        state = await self._states.load(view)
        data = await self._db.read(load_room_data, asker.user_id, room.room_id)
        membership = room.membership(asker.user_id)
        chunk: Any = page["chunk"]
        messages = {"start": page.get("end", page["start"]), "end": end.encode(), "chunk": chunk[::-1]}
        return {
            "room_id": room.room_id,
            "messages": messages,
            "state": [msgspec.Raw(held.client) for held in state.values()],
            "visibility": "public" if room.published else "private",
            "account_data": [msgspec.Raw(encode_data(each.type, each.content)) for each in data],
        } | ({} if membership is None else {"membership": membership})


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """All that old clients are told by."""

    stream: EventStream
    snapshots: Snapshots
    history: History
    now_ms: Callable[[], int]


def build_events(sync: Sync, streams: Streams, database: Database, doors: Doors) -> Events:
    """What old clients are told by, on the same engine as syncs."""
    views, history = doors.views, doors.history
    return Events(
        stream=EventStream(sync, streams, database, views, history),
        snapshots=Snapshots(streams, database, views, history, doors.states),
        history=history,
        now_ms=doors.rooms.seal.now_ms,
    )


def _end(told: Mapping[str, Any]) -> str:
    """A token after what was told; for a sync that goes on from there, no message to the device has been received."""
    return parse_token(told["next_batch"])._replace(taken=0).encode()


def _events(told: Mapping[str, Any], name: str) -> list[Any]:
    events: list[Any] = told.get(name, {}).get("events", [])
    return events


def _show_room(room_id: RoomID, membership: str, room: Mapping[str, Any], end: str) -> dict[str, Any]:
    timeline = room.get("timeline", {})
    messages = {"chunk": timeline.get("events", []), "end": end}
    if "prev_batch" in timeline:
        messages["start"] = timeline["prev_batch"]
    return {
        "room_id": room_id,
        "membership": membership,
        "messages": messages,
        "state": _events(room, "state_after"),
        "account_data": _events(room, "account_data"),
    }


def _show_invitation(room_id: RoomID, room: Mapping[str, Any]) -> dict[str, Any]:
    (*_, member) = _events(room, "invite_state")
    return {"room_id": room_id, "membership": "invite", "invite": {**member, "room_id": room_id}}


def _news(told: Mapping[str, Any]) -> Iterator[Any]:
    rooms = told.get("rooms", {})
    for room_id, room in (*rooms.get("join", {}).items(), *rooms.get("leave", {}).items()):
        yield from _events(room, "timeline")
        for event in _events(room, "ephemeral"):
            yield {**event, "room_id": room_id}
    for room_id, room in rooms.get("invite", {}).items():
        yield _show_invitation(room_id, room)["invite"]
    yield from _events(told, "presence")
