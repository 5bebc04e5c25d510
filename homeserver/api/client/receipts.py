"""Receipts and read markers.

Spec: client-server-api#receipts, client-server-api#fully-read-markers
"""

from typing import Any

from msgspec import Struct, field

from homeserver.api.errors import BadParam
from homeserver.api.route import Call, Reply, Route
from homeserver.ephemeral.receipts import KINDS, Kind, Mark, Receipts

_ROOM = "/_matrix/client/v3/rooms/{roomId}"


class Markers(Struct, frozen=True, kw_only=True):
    """Events up to which somebody has read.

    Spec: client-server-api#post_matrixclientv3roomsroomidread_markers
    """

    fully_read: str | None = field(default=None, name="m.fully_read")
    read: str | None = field(default=None, name="m.read")
    read_private: str | None = field(default=None, name="m.read.private")


def routes(receipts: Receipts) -> tuple[Route, ...]:
    """The endpoints of receipts and read markers."""
    api = _ReceiptsAPI(receipts)
    return (
        Route(
            method="POST",
            path=f"{_ROOM}/receipt/{{receiptType}}/{{eventId}}",
            handle=api.set,
            rate="ephemeral",
            spec="client-server-api#post_matrixclientv3roomsroomidreceiptreceipttypeeventid",
            body=dict[str, Any],
            body_optional=True,
        ),
        Route(
            method="POST",
            path=f"{_ROOM}/read_markers",
            handle=api.set_markers,
            rate="ephemeral",
            spec="client-server-api#post_matrixclientv3roomsroomidread_markers",
            body=Markers,
        ),
    )


class _ReceiptsAPI:
    def __init__(self, receipts: Receipts) -> None:
        self._receipts = receipts

    async def set(self, call: Call) -> Reply:
        thread_id = call.body.get("thread_id")
        if "thread_id" in call.body and not isinstance(thread_id, str):
            raise BadParam("thread_id must be a string")
        mark = Mark(kind=_parse_kind(call.params["receiptType"]), event_id=call.params["eventId"], thread_id=thread_id)
        await self._receipts.set(call.caller.user_id, call.params["roomId"], [mark])
        return {}

    async def set_markers(self, call: Call) -> Reply:
        body: Markers = call.body
        given: tuple[tuple[Kind, str | None], ...] = (
            ("m.fully_read", body.fully_read),
            ("m.read", body.read),
            ("m.read.private", body.read_private),
        )
        marks = [Mark(kind=kind, event_id=event_id) for kind, event_id in given if event_id is not None]
        await self._receipts.set(call.caller.user_id, call.params["roomId"], marks)
        return {}


def _parse_kind(text: str) -> Kind:
    for kind in KINDS:
        if kind == text:
            return kind
    raise BadParam("There is no such type of receipt")
