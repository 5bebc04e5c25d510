"""Delayed events: schedule them, look at them, and change one's mind.

Clients schedule in two ways: at an endpoint of its own, or by a query parameter of the endpoints that send. Both lead
here.

Spec: MSC4140
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.delayed import DelayedEvents, DelayTooLong
from homeserver.storage.delayed import DelayedEvent, Later
from homeserver.storage.events import Origin

PREFIX = "org.matrix.msc4140"
_UNSTABLE = f"/_matrix/client/unstable/{PREFIX}"
_ONE = f"{_UNSTABLE}/delayed_events/{{delayId}}"


class ScheduleBody(Struct, frozen=True):
    """An event to be sent later; state if it has a `state_key`."""

    delay_ms: Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)]
    content: dict[str, Any]
    state_key: str | None = None


class ActionBody(Struct, frozen=True):
    """What to do with a delayed event, as older clients say it."""

    action: Literal["cancel", "restart", "send"]


def routes(delayed: DelayedEvents) -> tuple[Route, ...]:
    """The endpoints of delayed events."""
    return tuple(_routes(_DelayedAPI(delayed)))


def _routes(api: "_DelayedAPI") -> Iterator[Route]:
    path = f"{_UNSTABLE}/rooms/{{roomId}}/delayed_event/{{eventType}}/{{txnId}}"
    yield Route(method="PUT", path=path, handle=api.schedule, rate="message", spec="MSC4140", body=ScheduleBody)
    path = f"{_UNSTABLE}/delayed_events"
    yield Route(method="GET", path=path, handle=api.all, rate="other", spec="MSC4140")
    yield Route(method="GET", path=_ONE, handle=api.one, rate="other", spec="MSC4140")
    yield Route(method="POST", path=_ONE, handle=api.act_by_body, rate="message", spec="MSC4140", body=ActionBody)
    for action in ("cancel", "restart", "send"):
        rate = "message" if action == "send" else "other"
        yield Route(method="POST", path=f"{_ONE}/{action}", handle=getattr(api, action), rate=rate, spec="MSC4140")


def find_delay(call: Call) -> int | None:
    """The delay that a request to send asks for, None when the event is to be sent now."""
    return call.query.int(f"{PREFIX}.delay", least=-(2**53))


async def schedule(delayed: DelayedEvents, call: Call, later: Later, delay_ms: int) -> Reply:
    """Do for a request to send what its query parameter says: send later. Errors are those that clients know here."""
    origin = Origin(call.caller.user_id, call.caller.device_id, call.params.get("txnId", ""))
    try:
        return {"delay_id": await delayed.schedule(origin, call.params["roomId"], later, delay_ms)}
    except DelayTooLong as fault:
        extra = {f"{PREFIX}.errcode": "M_MAX_DELAY_EXCEEDED", f"{PREFIX}.max_delay": fault.most_ms}
        raise MatrixError(400, "M_UNKNOWN", fault.why, extra) from None


class _DelayedAPI:
    def __init__(self, delayed: DelayedEvents) -> None:
        self._delayed = delayed

    async def schedule(self, call: Call) -> Reply:
        body: ScheduleBody = call.body
        params = call.params
        origin = Origin(call.caller.user_id, call.caller.device_id, params["txnId"])
        later = Later(type=params["eventType"], content=body.content, state_key=body.state_key)
        return {"delay_id": await self._delayed.schedule(origin, params["roomId"], later, body.delay_ms)}

    async def all(self, call: Call) -> Reply:
        return {"delayed_events": [_describe(each) for each in await self._delayed.load(call.caller.user_id)]}

    async def one(self, call: Call) -> Reply:
        return _describe(await self._delayed.find(call.caller.user_id, call.params["delayId"]))

    async def act_by_body(self, call: Call) -> Reply:
        body: ActionBody = call.body
        return await {"cancel": self.cancel, "restart": self.restart, "send": self.send}[body.action](call)

    async def cancel(self, call: Call) -> Reply:
        await self._delayed.cancel(call.caller.user_id, call.params["delayId"])
        return {}

    async def restart(self, call: Call) -> Reply:
        await self._delayed.restart(call.caller.user_id, call.params["delayId"])
        return {}

    async def send(self, call: Call) -> Reply:
        await self._delayed.send(call.caller.user_id, call.params["delayId"])
        return {}


def _describe(delayed: DelayedEvent) -> dict[str, object]:
    """A delayed event as its sender sees it; what is not so is left out."""
    shown: dict[str, object | None] = {
        "delay_id": delayed.delay_id,
        "room_id": delayed.room_id,
        **msgspec.to_builtins(delayed.later),
        "delay_ms": delayed.delay_ms,
        "scheduled_at": delayed.since_ms,
        "finalised_ts": delayed.finalised_ms,
        "event_id": delayed.event_id,
        "error": None if delayed.error is None else msgspec.json.decode(delayed.error),
    }
    return {name: value for name, value in shown.items() if value is not None}
