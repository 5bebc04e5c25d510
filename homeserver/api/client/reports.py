"""Reporting what is inappropriate.

Spec: client-server-api#reporting-content
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.reports import Reports

_V3 = "/_matrix/client/v3"

Reason = Annotated[str, Meta(max_length=4000)]


class Report(Struct, frozen=True):
    """The body of a report."""

    reason: Reason


class EventReport(Struct, frozen=True):
    """The body of a report of an event, which may say nothing."""

    reason: Reason | None = None


def routes(reports: Reports) -> tuple[Route, ...]:
    """The endpoints of reports."""

    async def event(call: Call) -> Reply:
        params = call.params
        await reports.event(call.caller.user_id, params["roomId"], params["eventId"], call.body.reason or "")
        return {}

    async def room(call: Call) -> Reply:
        await reports.room(call.caller.user_id, call.params["roomId"], call.body.reason)
        return {}

    async def user(call: Call) -> Reply:
        await reports.user(call.caller.user_id, call.params["userId"], call.body.reason)
        return {}

    return (
        _route("rooms/{roomId}/report/{eventId}", event, EventReport, body_optional=True),
        _route("rooms/{roomId}/report", room, Report),
        _route("users/{userId}/report", user, Report),
    )


def _route(place: str, handle: Any, body: Any, **more: Any) -> Route:
    anchor = f"post{_V3}/{place}".replace("/", "").replace("{", "").replace("}", "").lower()
    spec = f"client-server-api#{anchor}"
    return Route(method="POST", path=f"{_V3}/{place}", handle=handle, rate="create", spec=spec, body=body, **more)
