"""Sending events that are not state.

Spec: client-server-api#sending-events-to-a-room
"""

from typing import Any

from msgspec import Struct

from homeserver.api.client.appservice import find_time
from homeserver.api.client.delayed import find_delay, schedule
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.delayed import DelayedEvents
from homeserver.rooms.send import Sending
from homeserver.storage.delayed import Later
from homeserver.storage.events import Origin

_ROOM = "/_matrix/client/v3/rooms/{roomId}"


class Redaction(Struct, frozen=True):
    """The body of a redaction."""

    reason: str | None = None


def routes(sending: Sending, delayed: DelayedEvents) -> tuple[Route, ...]:
    """The endpoints that send messages and redactions."""
    api = _SendAPI(sending, delayed)
    return (
        Route(
            method="PUT",
            path=f"{_ROOM}/send/{{eventType}}/{{txnId}}",
            handle=api.send,
            rate="message",
            spec="client-server-api#put_matrixclientv3roomsroomidsendeventtypetxnid",
            body=dict[str, Any],
        ),
        Route(
            method="PUT",
            path=f"{_ROOM}/redact/{{eventId}}/{{txnId}}",
            handle=api.redact,
            rate="message",
            spec="client-server-api#put_matrixclientv3roomsroomidredacteventidtxnid",
            body=Redaction,
            body_optional=True,
        ),
    )


class _SendAPI:
    def __init__(self, sending: Sending, delayed: DelayedEvents) -> None:
        self._sending = sending
        self._delayed = delayed

    async def send(self, call: Call) -> Reply:
        params, delay_ms = call.params, find_delay(call)
        if delay_ms is not None:
            return await schedule(self._delayed, call, Later(type=params["eventType"], content=call.body), delay_ms)
        at_ms = find_time(call)
        event_id = await self._sending.send(
            _origin(call), params["roomId"], params["eventType"], call.body, at_ms=at_ms
        )
        return {"event_id": event_id}

    async def redact(self, call: Call) -> Reply:
        params, suspended = call.params, call.caller.suspended
        event_id = await self._sending.redact(
            _origin(call), params["roomId"], params["eventId"], call.body.reason, suspended=suspended
        )
        return {"event_id": event_id}


def _origin(call: Call) -> Origin:
    return Origin(call.caller.user_id, call.caller.device_id, call.params["txnId"])
