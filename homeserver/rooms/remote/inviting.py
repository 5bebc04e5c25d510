"""Asking people of other servers into rooms: their server signs the invitation first, only then is it one.

Spec: server-server-api#inviting-to-a-room
"""

from typing import Any, Final
from urllib.parse import quote

import msgspec

from federation.errors import BadAnswer, PeerRefused
from federation.event import Event
from federation.ids import EventID, ServerName, UserID, server_of
from homeserver.rooms.beyond import UnsupportedVersion, seal_invitation
from homeserver.rooms.receive.intake import Intake
from homeserver.rooms.receive.placing import Received
from homeserver.rooms.remote.faults import IncompatibleVersion, explain
from homeserver.rooms.remote.ground import Ground
from homeserver.rooms.remote.handshake import read_signed
from homeserver.rooms.room import Room
from homeserver.rooms.seal import Draft
from homeserver.rooms.shown import shown_to

INVITE_S: Final = 20.0
_OLD: Final = ("1", "2")


class Inviting:
    """Asks people of other servers in."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def invite(self, room: Room, draft: Draft) -> EventID:
        """Send an invitation that somebody of ours makes to somebody of another server; its event.

        Raises: Refused, also when the other server does not want it; Invalid, NotFound; RemoteFault.
        """
        ground = self._ground
        await ground.rooms.wait_for(room)
        event = seal_invitation(ground.seal, room, draft)
        server = server_of(UserID(draft.state_key or ""))
        signed = await ground.rooms.recommend(room, await self._ask(server, room, event))
        await self._append(room, signed)
        return signed.event_id

    async def _ask(self, server: ServerName, room: Room, event: Event) -> Event:
        """The invitation as the other server has signed it."""
        try:
            answer = await self._send(server, room, event)
        except PeerRefused as refusal:
            fault = explain([refusal])
            raise (UnsupportedVersion() if isinstance(fault, IncompatibleVersion) else fault) from None
        signed = read_signed(event, answer)
        checked = await self._ground.outside.check([signed])
        if not checked or server not in signed.signatures:
            raise BadAnswer("the server has not signed the invitation")
        return signed

    async def _send(self, server: ServerName, room: Room, event: Event) -> Any:
        path = f"invite/{quote(room.room_id, safe='')}/{quote(event.event_id, safe='')}"
        shown, pdu = [msgspec.json.decode(raw) for raw in shown_to(room, event.sender)], event.pdu()
        body = {"room_version": room.version.id, "event": pdu, "invite_room_state": shown}
        ask = self._ground.peers.ask
        try:
            answer = await ask(server, "PUT", f"/_matrix/federation/v2/{path}", body=body, timeout_s=INVITE_S)
        except PeerRefused as refusal:
            if room.version.id not in _OLD or refusal.status not in (400, 404):
                raise
            pdu["unsigned"] = {"invite_room_state": shown}
            answer = await ask(server, "PUT", f"/_matrix/federation/v1/{path}", body=pdu, timeout_s=INVITE_S)
        return answer.get("event")

    async def _append(self, room: Room, event: Event) -> None:
        """Let the invitation be in the room, which may have gone on meanwhile."""
        world = self._ground.world
        async with world.turns.of(room.room_id):
            intake = Intake(world, await self._ground.rooms.load(room.room_id) or room)
            await intake.place([Received(event=each, passes_on=True) for each in await intake.read([event])])
        refusal = intake.outcomes.get(event.event_id)
        if refusal is not None:
            raise refusal
