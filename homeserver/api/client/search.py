"""Searching in rooms.

Spec: client-server-api#server-side-search
"""

from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.filters import RoomEventFilter
from homeserver.rooms.render import Asker
from homeserver.rooms.search.asks import MOST_AROUND, Around, GroupKey, SearchAsk
from homeserver.rooms.search.search import Search

_TYPES: Final = {"content.body": "m.room.message", "content.name": "m.room.name", "content.topic": "m.room.topic"}
_Key: TypeAlias = Literal["content.body", "content.name", "content.topic"]
_Limit: TypeAlias = Annotated[int, Meta(ge=0)]


class EventContext(Struct, frozen=True):
    """What to show around each result."""

    before_limit: _Limit = 5
    after_limit: _Limit = 5
    include_profile: bool = False


class Group(Struct, frozen=True):
    """By what to group results."""

    key: GroupKey


class Groupings(Struct, frozen=True):
    """By what all to group results, each grouping by itself."""

    group_by: Annotated[tuple[Group, ...], Meta(max_length=10)] = ()


class RoomEvents(Struct, frozen=True):
    """What to search for in rooms."""

    search_term: str
    keys: tuple[_Key, ...] | None = None
    filter: RoomEventFilter = RoomEventFilter()
    order_by: Literal["rank", "recent"] = "rank"
    event_context: EventContext | None = None
    include_state: bool = False
    groupings: Groupings = Groupings()


class Categories(Struct, frozen=True):
    """What to search in."""

    room_events: RoomEvents | None = None


class SearchBody(Struct, frozen=True):
    """The body of a search."""

    search_categories: Categories


def routes(search: Search, now_ms: Callable[[], int]) -> tuple[Route, ...]:
    """The endpoint that searches in rooms."""

    async def find(call: Call) -> Reply:
        body: SearchBody = call.body
        wanted = body.search_categories.room_events
        if wanted is None:
            return {"search_categories": {}}
        asker = Asker(user_id=call.caller.user_id, device_id=call.caller.device_id, now_ms=now_ms())
        found = await search.find(asker, _ask(wanted), call.query.str("next_batch"))
        return {"search_categories": {"room_events": found}}

    return (
        Route(
            method="POST",
            path="/_matrix/client/v3/search",
            handle=find,
            rate="search",
            spec="client-server-api#post_matrixclientv3search",
            body=SearchBody,
        ),
    )


def _ask(wanted: RoomEvents) -> SearchAsk:
    keys = _TYPES if wanted.keys is None else wanted.keys
    return SearchAsk(
        text=wanted.search_term,
        types=frozenset(_TYPES[key] for key in keys),
        wanted=wanted.filter,
        newest_first=wanted.order_by == "recent",
        around=None if wanted.event_context is None else _around(wanted.event_context),
        state=wanted.include_state,
        groups=tuple(dict.fromkeys(group.key for group in wanted.groupings.group_by)),
    )


def _around(context: EventContext) -> Around:
    return Around(
        before=min(context.before_limit, MOST_AROUND),
        after=min(context.after_limit, MOST_AROUND),
        profiles=context.include_profile,
    )
