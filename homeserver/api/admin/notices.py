"""Notices of the server to one of its people.

Spec: client-server-api#server-notices
"""

from typing import Any

from msgspec import Struct

from federation.ids import parse_user_id
from homeserver.api.admin.pages import admin_route
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.notices import Notice, Notices


class NoticeBody(Struct, frozen=True):
    """What somebody is to be told; with a `state_key` it is state of their room for notices."""

    user_id: str
    content: dict[str, Any]
    type: str = "m.room.message"
    state_key: str | None = None


def routes(notices: Notices) -> tuple[Route, ...]:
    """The endpoints of notices."""

    async def send(call: Call) -> Reply:
        body: NoticeBody = call.body
        notice = Notice(
            by=call.caller.user_id,
            content=body.content,
            type=body.type,
            state_key=body.state_key,
            txn_id=call.params.get("txnId"),
        )
        return {"event_id": await notices.send(parse_user_id(body.user_id), notice)}

    return (
        admin_route("POST", "v1/send_server_notice", send, NoticeBody),
        admin_route("PUT", "v1/send_server_notice/{txnId}", send, NoticeBody),
    )
