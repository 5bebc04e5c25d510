"""Filters that clients leave here to refer to.

Spec: client-server-api#filtering
"""

from typing import Any

from federation.ids import UserID
from homeserver.accounts.data import Filters
from homeserver.api.route import Call, Reply, Route
from homeserver.sync.filters import MOST_BYTES, check_filter


def routes(filters: Filters) -> tuple[Route, ...]:
    """The endpoints of filters."""
    api = _FiltersAPI(filters)
    path = "/_matrix/client/v3/user/{userId}/filter"
    return (
        Route(
            method="POST",
            path=path,
            handle=api.append,
            rate="other",
            spec="client-server-api#post_matrixclientv3useruseridfilter",
            body=dict[str, Any],
            body_limit=MOST_BYTES,
        ),
        Route(
            method="GET",
            path=f"{path}/{{filterId}}",
            handle=api.see,
            spec="client-server-api#get_matrixclientv3useruseridfilterfilterid",
        ),
    )


class _FiltersAPI:
    def __init__(self, filters: Filters) -> None:
        self._filters = filters

    async def append(self, call: Call) -> Reply:
        check_filter(call.body)
        user_id = UserID(call.params["userId"])
        return {"filter_id": await self._filters.append(call.caller.user_id, user_id, call.body)}

    async def see(self, call: Call) -> Reply:
        return await self._filters.see(call.caller.user_id, UserID(call.params["userId"]), call.params["filterId"])
