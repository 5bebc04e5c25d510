"""Removing the past of rooms, in the background, with a status to ask for.

The forms are those of Synapse's documented administration API, so that existing tools work.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from homeserver.api.admin.pages import admin_route
from homeserver.api.route import Call, Reply, Route
from homeserver.operators import Operators
from homeserver.policy import Administer, Invalid, NotFound
from homeserver.rooms.purging import Purges, Thinned


class HistoryBody(Struct, frozen=True):
    """Up to which event or time (ms), and whether what our own people sent goes, too."""

    delete_local_events: bool = False
    purge_up_to_event_id: str | None = None
    purge_up_to_ts: Annotated[int, Meta(ge=0, lt=2**53)] | None = None


def routes(purges: Purges, operators: Operators) -> tuple[Route, ...]:
    """The endpoints that remove history."""
    api = _PurgeAPI(purges, operators)
    path = "v1/purge_history/{roomId}"
    return (
        admin_route("POST", path, api.purge, HistoryBody, body_optional=True),
        admin_route("POST", f"{path}/{{eventId}}", api.purge, HistoryBody, body_optional=True),
        admin_route("GET", "v1/purge_history_status/{purgeId}", api.status),
    )


class _PurgeAPI:
    def __init__(self, purges: Purges, operators: Operators) -> None:
        self._purges = purges
        self._operators = operators

    async def purge(self, call: Call) -> Reply:
        body: HistoryBody = call.body
        room_id, by = call.params["roomId"], call.caller.user_id
        event_id = call.params.get("eventId", body.purge_up_to_event_id)
        if event_id is None and body.purge_up_to_ts is None:
            raise Invalid("M_BAD_JSON", "purge_up_to_event_id or purge_up_to_ts is needed")
        entry = await self._operators.check(
            Administer(by=by, deed="purge_history", room_id=room_id),
            event_id=event_id,
            up_to_ms=body.purge_up_to_ts,
            local=body.delete_local_events,
        )
        purge_id = await self._purges.purge_history(
            room_id, by, event_id=event_id, at_ms=body.purge_up_to_ts, local=body.delete_local_events
        )
        await self._operators.note(entry)
        return {"purge_id": purge_id}

    async def status(self, call: Call) -> Reply:
        await self._operators.check(Administer(by=call.caller.user_id, deed="purge_history"))
        purge = await self._purges.status(call.params["purgeId"])
        if purge is None or purge.kind != "history":
            raise NotFound("There is no such purge")
        result = msgspec.json.decode(purge.result, type=Thinned)
        return {"status": purge.status} if result.error is None else {"status": purge.status, "error": result.error}
