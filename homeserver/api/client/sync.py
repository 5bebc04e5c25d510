"""Sync: be told what is new, and wait for it.

Spec: client-server-api#syncing
"""

from collections import OrderedDict

from federation.ids import UserID
from homeserver.accounts.data import Filters
from homeserver.api.route import Call, Reply, Route
from homeserver.ephemeral.presence import STATES, State
from homeserver.policy import NotFound
from homeserver.sync.answers import Request
from homeserver.sync.filters import NO_FILTER, Filter, parse_filter
from homeserver.sync.sync import Sync
from homeserver.sync.tokens import parse_token

MOST_FILTERS = 20_000
"""How many stored filters are kept parsed."""


def routes(sync: Sync, filters: Filters) -> tuple[Route, ...]:
    """The endpoint of sync."""
    return (
        Route(
            method="GET",
            path="/_matrix/client/v3/sync",
            handle=_SyncAPI(sync, filters).sync,
            rate="sync",
            spec="client-server-api#get_matrixclientv3sync",
        ),
    )


class _SyncAPI:
    def __init__(self, sync: Sync, filters: Filters) -> None:
        self._sync = sync
        self._filters = filters
        self._parsed: OrderedDict[tuple[UserID, str], Filter] = OrderedDict()

    async def sync(self, call: Call) -> Reply:
        query, who = call.query, call.caller
        since = query.str("since")
        request = Request(
            user_id=who.user_id,
            device_id=who.device_id,
            filter=await self._find_filter(who.user_id, query.str("filter")),
            since=None if since is None else parse_token(since),
            timeout_ms=query.int("timeout", 0),
            full_state=query.flag("full_state"),
            state_after=query.flag("use_state_after"),
            presence=_parse_state(query.choice("set_presence", STATES, "online")),
        )
        return await self._sync.answer(request, call.gone if request.timeout_ms else None)

    async def _find_filter(self, user_id: UserID, text: str | None) -> Filter:
        if text is None:
            return NO_FILTER
        if text.startswith("{"):
            return parse_filter(text)
        key = (user_id, text)
        known = self._parsed.get(key)
        if known is None:
            definition = await self._filters.find(user_id, text)
            if definition is None:
                raise NotFound("There is no such filter")
            known = self._parsed[key] = parse_filter(definition)
            if len(self._parsed) > MOST_FILTERS:
                self._parsed.popitem(last=False)
        return known


def _parse_state(text: str) -> State:
    return next(state for state in STATES if state == text)
