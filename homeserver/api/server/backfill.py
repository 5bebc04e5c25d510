"""What other servers ask about the history of a room they are in.

Spec: server-server-api#backfilling-and-retrieving-missing-events
"""

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from federation.ids import ServerName
from homeserver.api.route import Call, Reply, Route
from homeserver.api.server.declaring import V1, signed_route
from homeserver.rooms.giving import Giving


class MissingBody(Struct, frozen=True):
    """Between which events something is missing."""

    earliest_events: list[str]
    latest_events: list[str]
    limit: Annotated[int, Meta(ge=0)] = 10
    min_depth: Annotated[int, Meta(ge=0)] = 0


def routes(giving: Giving, server: ServerName, now_ms: Callable[[], int]) -> tuple[Route, ...]:
    """The endpoints of history."""

    async def backfill(call: Call) -> Reply:
        for name in ("v", "limit"):
            call.query.need(name)
        starts, limit = call.query.list("v"), call.query.int("limit", 0)
        events = await giving.backfill(call.origin, call.params["roomId"], starts, limit)
        return {"origin": server, "origin_server_ts": now_ms(), "pdus": events}

    async def find_missing(call: Call) -> Reply:
        body: MissingBody = call.body
        ends = (body.earliest_events, body.latest_events)
        events = await giving.missing(call.origin, call.params["roomId"], ends, body.limit, body.min_depth)
        return {"events": events}

    return (
        signed_route("GET", V1 + "/backfill/{roomId}", backfill),
        signed_route("POST", V1 + "/get_missing_events/{roomId}", find_missing, MissingBody),
    )
