"""Simplified sliding sync, as the proposal has it and as clients speak it by now.

Both forms become one request; what differs in the answers, the engine knows by the dialect.

Proposal: MSC4186.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias, TypeVar

from msgspec import Meta, Struct

from federation.ids import UserID
from homeserver.api.errors import BadParam
from homeserver.api.route import Call, Reply, Route
from homeserver.ephemeral.presence import STATES, State
from homeserver.storage.sync import MEMBER
from homeserver.sync.sliding.engine import Sliding
from homeserver.sync.sliding.requests import (
    STABLE,
    UNSTABLE,
    Extensions,
    Messages,
    Reach,
    RoomFilter,
    RoomList,
    SlidingRequest,
)
from homeserver.sync.sliding.required import Config, Required, build_config

MOST_LISTS: Final = 100
MOST_SUBSCRIPTIONS: Final = 100
LONGEST_NAME: Final = 255
TYPING: Final = "org.matrix.msc4508.typing"

_Limit: TypeAlias = Annotated[int, Meta(ge=0)]
_Some: TypeAlias = Annotated[tuple[str, ...], Meta(max_length=1000)]
_Types: TypeAlias = Annotated[tuple[str | None, ...], Meta(max_length=1000)]
_Index: TypeAlias = Annotated[int, Meta(ge=0)]
_Range: TypeAlias = tuple[_Index, _Index]


class Filters(Struct):
    """Which rooms a list holds, in either form."""

    is_dm: bool | None = None
    spaces: _Some | None = None
    is_encrypted: bool | None = None
    is_invited: bool | None = None
    is_invite: bool | None = None
    room_types: _Types | None = None
    not_room_types: _Types | None = None
    tags: _Some | None = None
    not_tags: _Some | None = None


class Element(Struct):
    """Some of the state, by type and key."""

    type: str | None = None
    state_key: str | None = None


_Elements: TypeAlias = Annotated[tuple[Element, ...], Meta(max_length=1000)]


class RequiredState(Struct):
    """Which state is wanted, in the stable form."""

    include: _Elements = ()
    exclude: _Elements = ()
    lazy_members: bool = False


class StableRoom(Struct):
    """What is wanted of a room, in the stable form."""

    timeline_limit: _Limit
    required_state: RequiredState


class StableList(StableRoom):
    """A list, in the stable form."""

    range: _Range | None = None
    filters: Filters | None = None


class UnstableRoom(Struct):
    """What is wanted of a room, in the unstable form."""

    timeline_limit: _Limit = 0
    required_state: Annotated[tuple[tuple[str, str], ...], Meta(max_length=1000)] = ()


class UnstableList(UnstableRoom):
    """A list, in the unstable form."""

    ranges: Annotated[tuple[_Range, ...], Meta(max_length=100)] | None = None
    filters: Filters | None = None


class Extension(Struct):
    """Whether an extension is wanted, and of which rooms."""

    enabled: bool = False
    lists: _Some | None = None
    rooms: _Some | None = None
    since: str | None = None
    limit: _Limit | None = None


class Wanted(Struct, rename={"proposed_typing": TYPING}):
    """The extensions that are known here; others are passed over."""

    to_device: Extension | None = None
    e2ee: Extension | None = None
    account_data: Extension | None = None
    receipts: Extension | None = None
    typing: Extension | None = None
    proposed_typing: Extension | None = None


class UnstableBody(Struct):
    """A request in the unstable form."""

    conn_id: str | None = None
    txn_id: str | None = None
    lists: dict[str, UnstableList] | None = None
    room_subscriptions: dict[str, UnstableRoom] | None = None
    extensions: Wanted | None = None


class StableBody(Struct):
    """A request in the stable form."""

    conn_id: str | None = None
    pos: str | None = None
    timeout: int | None = None
    set_presence: str | None = None
    lists: dict[str, StableList] | None = None
    room_subscriptions: dict[str, StableRoom] | None = None
    extensions: Wanted | None = None


_KEY: Final = re.compile(r"[0-9A-Za-z._~-]{1,255}")
_POSITION: Final = re.compile(r"[0-9]{1,18}")
_List = TypeVar("_List", StableList, UnstableList)
_Room = TypeVar("_Room", StableRoom, UnstableRoom)
_Value = TypeVar("_Value")


def routes(sliding: Sliding) -> tuple[Route, ...]:
    """The endpoints of sliding sync."""
    api = _SlidingAPI(sliding)
    return (
        Route(
            method="POST",
            path="/_matrix/client/v4/sync",
            handle=api.sync,
            rate="sync",
            body=StableBody,
            spec="MSC4186",
        ),
        Route(
            method="POST",
            path="/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
            handle=api.sync_unstable,
            rate="sync",
            body=UnstableBody,
            spec="MSC4186",
        ),
    )


class _SlidingAPI:
    def __init__(self, sliding: Sliding) -> None:
        self._sliding = sliding

    async def sync(self, call: Call) -> Reply:
        body: StableBody = call.body
        who = call.caller
        lists, rooms = _check_sizes(body.lists, body.room_subscriptions)
        request = SlidingRequest(
            user_id=who.user_id,
            device_id=who.device_id,
            dialect=STABLE,
            conn_id=_check_name(body.conn_id or ""),
            pos=body.pos,
            timeout_ms=max(body.timeout or 0, 0),
            lists={
                _check_key(name): RoomList(
                    _stable_config(each), _build_filter(each.filters), _check_ranges(each.range and (each.range,))
                )
                for name, each in lists.items()
            },
            subscriptions={room_id: _stable_config(each) for room_id, each in rooms.items()},
            extensions=_build_extensions(body.extensions),
            presence=_parse_state(body.set_presence),
        )
        return await self._sliding.answer(request, call.gone if request.timeout_ms else None)

    async def sync_unstable(self, call: Call) -> Reply:
        body: UnstableBody = call.body
        query, who = call.query, call.caller
        lists, rooms = _check_sizes(body.lists, body.room_subscriptions)
        request = SlidingRequest(
            user_id=who.user_id,
            device_id=who.device_id,
            dialect=UNSTABLE,
            conn_id=_check_name(body.conn_id or ""),
            pos=query.str("pos"),
            timeout_ms=max(query.int("timeout", 0), 0),
            lists={
                _check_name(name): RoomList(
                    _unstable_config(each, who.user_id), _build_filter(each.filters), _check_ranges(each.ranges)
                )
                for name, each in lists.items()
            },
            subscriptions={room_id: _unstable_config(each, who.user_id) for room_id, each in rooms.items()},
            extensions=_build_extensions(body.extensions),
            presence=_parse_state(query.str("set_presence")),
            txn_id=body.txn_id,
        )
        return await self._sliding.answer(request, call.gone if request.timeout_ms else None)


def _check_sizes(
    lists: Mapping[str, _List] | None, rooms: Mapping[str, _Room] | None
) -> tuple[Mapping[str, _List], Mapping[str, _Room]]:
    if len(lists or ()) > MOST_LISTS:
        raise BadParam(f"There may be at most {MOST_LISTS} lists")
    if len(rooms or ()) > MOST_SUBSCRIPTIONS:
        raise BadParam(f"There may be at most {MOST_SUBSCRIPTIONS} subscriptions")
    return lists or {}, rooms or {}


def _check_name(name: str) -> str:
    if len(name) > LONGEST_NAME:
        raise BadParam(f"A name may have at most {LONGEST_NAME} characters")
    return name


def _check_key(name: str) -> str:
    """The key of a list, in the stable form.

    Spec: appendices#opaque-identifiers
    """
    if _KEY.fullmatch(name) is None:
        raise BadParam("The key of a list must be an opaque identifier")
    return name


def _check_ranges(ranges: tuple[_Range, ...] | None) -> tuple[_Range, ...] | None:
    for first, last in ranges or ():
        if last < first:
            raise BadParam("A range must not end before it begins")
    return ranges


def _parse_state(text: str | None) -> State:
    for state in STATES:
        if text in (None, state):
            return "online" if text is None else state
    raise BadParam("set_presence must be one of " + ", ".join(STATES))


def _stable_config(room: StableRoom) -> Config:
    wanted = room.required_state
    include, exclude = (
        frozenset((each.type, each.state_key) for each in elements) for elements in (wanted.include, wanted.exclude)
    )
    return build_config(room.timeline_limit, frozenset({Required(include, exclude, wanted.lazy_members)}))


def _unstable_config(room: UnstableRoom, user_id: UserID) -> Config:
    lazy, include = False, set[tuple[str | None, str | None]]()
    for kind, key in room.required_state:
        if key == "$LAZY":
            lazy = lazy or kind == MEMBER
            continue
        state_key = {"*": None, "$ME": str(user_id)}.get(key, key)
        include.add((None if kind == "*" else kind, state_key))
    lazy = lazy and (MEMBER, None) not in include
    return build_config(room.timeline_limit, frozenset({Required(frozenset(include), frozenset(), lazy)}))


def _build_filter(filters: Filters | None) -> RoomFilter:
    if filters is None:
        return RoomFilter()
    return RoomFilter(
        is_dm=filters.is_dm,
        spaces=_set(filters.spaces),
        is_encrypted=filters.is_encrypted,
        is_invite=filters.is_invited if filters.is_invited is not None else filters.is_invite,
        room_types=_set(filters.room_types),
        not_room_types=frozenset(filters.not_room_types or ()),
        tags=_set(filters.tags),
        not_tags=frozenset(filters.not_tags or ()),
    )


def _build_extensions(wanted: Wanted | None) -> Extensions:
    if wanted is None:
        return Extensions()
    return Extensions(
        to_device=_build_messages(wanted.to_device),
        e2ee=wanted.e2ee is not None and wanted.e2ee.enabled,
        account_data=_build_reach(wanted.account_data, "account_data"),
        receipts=_build_reach(wanted.receipts, "receipts"),
        typing=_build_reach(wanted.proposed_typing, TYPING) or _build_reach(wanted.typing, "typing"),
    )


def _build_messages(wanted: Extension | None) -> Messages | None:
    if wanted is None or not wanted.enabled:
        return None
    if wanted.since is not None and _POSITION.fullmatch(wanted.since) is None:
        raise BadParam("since is not a token of this server")
    return Messages(
        since=None if wanted.since is None else int(wanted.since), limit=100 if wanted.limit is None else wanted.limit
    )


def _build_reach(wanted: Extension | None, name: str) -> Reach | None:
    if wanted is None or not wanted.enabled:
        return None
    lists, rooms = (None if each is None or "*" in each else frozenset(each) for each in (wanted.lists, wanted.rooms))
    return Reach(lists, rooms, name)


def _set(some: tuple[_Value, ...] | None) -> frozenset[_Value] | None:
    return None if some is None else frozenset(some)
