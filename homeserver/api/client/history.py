"""Reading rooms: pages, single events, what lies around them, and who is there.

Spec: client-server-api#getting-events-for-a-room
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from federation.ids import UserID
from federation.transport.tasks import in_slices
from homeserver.api.errors import BadParam
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.filters import RoomEventFilter
from homeserver.rooms.history import Ask, History
from homeserver.rooms.members import Members, Which
from homeserver.rooms.places import parse_token
from homeserver.rooms.render import Asker
from homeserver.storage.events import Place, RoomEvent
from homeserver.streams import Clock

_ROOM: Final = "/_matrix/client/v3/rooms/{roomId}"
_MEMBERSHIPS: Final = ("join", "invite", "knock", "leave", "ban")

_filter_decoder: Final = msgspec.json.Decoder(RoomEventFilter)


def routes(history: History, members: Members, now_ms: Callable[[], int], clock: Clock) -> tuple[Route, ...]:
    """The endpoints that read rooms."""
    return tuple(_routes(_HistoryAPI(history, members, now_ms, clock)))


def _routes(api: "_HistoryAPI") -> Iterator[Route]:
    for path, handle in (
        ("messages", api.messages),
        ("context/{eventId}", api.context),
        ("event/{eventId}", api.event),
        ("members", api.members),
        ("joined_members", api.joined_members),
    ):
        anchor = "get_matrixclientv3roomsroomid" + path.replace("/{eventId}", "eventid")
        yield Route(
            method="GET", path=f"{_ROOM}/{path}", handle=handle, rate="other", spec=f"client-server-api#{anchor}"
        )


class _HistoryAPI:
    def __init__(self, history: History, members: Members, now_ms: Callable[[], int], clock: Clock) -> None:
        self._history = history
        self._members = members
        self._now_ms = now_ms
        self._clock = clock

    async def messages(self, call: Call) -> Reply:
        query = call.query
        ask = Ask(
            backwards=query.choice("dir", ("b", "f")) == "b",
            start=read_token(call, "from"),
            stop=read_token(call, "to"),
            limit=query.int("limit", 10),
            wanted=read_filter(call),
        )
        return await self._history.messages(self._asker(call), call.params["roomId"], ask)

    async def context(self, call: Call) -> Reply:
        params = call.params
        limit, wanted = call.query.int("limit", 10), read_filter(call)
        return await self._history.context(
            self._asker(call), params["roomId"], params["eventId"], limit=limit, wanted=wanted
        )

    async def event(self, call: Call) -> Reply:
        return await self._history.event(self._asker(call), call.params["roomId"], call.params["eventId"])

    async def members(self, call: Call) -> Reply:
        which = Which(
            at=read_token(call, "at"),
            membership=_membership(call, "membership"),
            not_membership=_membership(call, "not_membership"),
        )
        events = await self._members.events(call.caller.user_id, call.params["roomId"], which)
        return {"chunk": await in_slices(self._clock, lambda held: msgspec.Raw(held.client), events)}

    async def joined_members(self, call: Call) -> Reply:
        joined = await self._members.joined(call.caller.user_id, call.params["roomId"])
        shown = await in_slices(self._clock, _show_member, list(joined.items()))
        return b'{"joined":{' + b",".join(shown) + b"}}"

    def _asker(self, call: Call) -> Asker:
        return Asker(user_id=call.caller.user_id, device_id=call.caller.device_id, now_ms=self._now_ms())


def read_token(call: Call, name: str) -> Place | int | None:
    """The pagination token given under that name, None where there is none.

    Raises: Invalid.
    """
    text = call.query.str(name)
    return None if text is None else parse_token(text)


def _membership(call: Call, name: str) -> str | None:
    return None if call.query.str(name) is None else call.query.choice(name, _MEMBERSHIPS)


def read_filter(call: Call) -> RoomEventFilter:
    """The filter of a request; one that lets all pass where there is none.

    Raises: BadParam.
    """
    text = call.query.str("filter")
    if not text:
        return RoomEventFilter()
    try:
        return _filter_decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
        raise BadParam(f"filter is not a RoomEventFilter: {fault}") from None


def _show_member(member: tuple[UserID, RoomEvent]) -> bytes:
    user_id, held = member
    content = held.event.content
    named = {"display_name": content.get("displayname"), "avatar_url": content.get("avatar_url")}
    shown = {name: value for name, value in named.items() if isinstance(value, str)}
    return msgspec.json.encode(user_id) + b":" + msgspec.json.encode(shown)
