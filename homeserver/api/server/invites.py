"""How other servers ask our people into rooms.

Spec: server-server-api#inviting-to-a-room, server-server-api#third-party-invites
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from homeserver.api.route import Call, Reply, Route
from homeserver.api.server.declaring import V1, V2, signed_route
from homeserver.rooms.remote.invited import Invitation, Invited
from homeserver.rooms.remote.third import ThirdParty

BODY_LIMIT: Final = 1 << 20
"""As much as an event and some state of a room may be."""


class InviteBody(msgspec.Struct, frozen=True):
    """An invitation."""

    room_version: str
    event: dict[str, Any]
    invite_room_state: list[Any] = []


def routes(invited: Invited) -> tuple[Route, ...]:
    """The endpoints of invitations."""

    async def invite(call: Call) -> Reply:
        body: InviteBody = call.body
        invitation = Invitation(
            call.params["roomId"], call.params["eventId"], body.room_version, body.event, body.invite_room_state
        )
        signed = await invited.take(call.origin, invitation)
        return {"event": msgspec.Raw(signed.raw)}

    async def invite_as_before(call: Call) -> Reply:
        """The form of the oldest room versions, the only ones whose servers may still use it."""
        pdu: dict[str, Any] = call.body
        unsigned = pdu.get("unsigned")
        shown = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
        invitation = Invitation(call.params["roomId"], call.params["eventId"], _version_in(shown), pdu, shown)
        signed = await invited.take(call.origin, invitation)
        return msgspec.json.encode([200, {"event": msgspec.Raw(signed.raw)}])

    path = "/invite/{roomId}/{eventId}"
    return (
        signed_route("PUT", V2 + path, invite, InviteBody, body_limit=BODY_LIMIT),
        signed_route("PUT", V1 + path, invite_as_before, dict[str, Any], body_limit=BODY_LIMIT),
    )


class BoundBody(msgspec.Struct, frozen=True):
    """What an identity server tells of an address that has found its owner."""

    mxid: str
    invites: list[dict[str, Any]] = []


def third_party_routes(third_party: ThirdParty) -> tuple[Route, ...]:
    """The endpoints of invitations by address."""

    async def exchange(call: Call) -> Reply:
        await third_party.exchange(call.origin, call.params["roomId"], call.body)
        return {}

    async def bind(call: Call) -> Reply:
        body: BoundBody = call.body
        await third_party.bind(body.mxid, body.invites)
        return {}

    return (
        signed_route("PUT", V1 + "/exchange_third_party_invite/{roomId}", exchange, dict[str, Any]),
        Route(
            method="PUT",
            path=V1 + "/3pid/onbind",
            handle=bind,
            auth="none",
            rate="invite",
            spec="server-server-api#put_matrixfederationv13pidonbind",
            body=BoundBody,
        ),
    )


def _version_in(shown: object) -> str:
    """The version of a room, as its create event says if that is shown."""
    for each in shown if isinstance(shown, list) else ():
        content = each.get("content") if isinstance(each, Mapping) and each.get("type") == "m.room.create" else None
        version = content.get("room_version") if isinstance(content, Mapping) else None
        if isinstance(version, str):
            return version
    return "1"
