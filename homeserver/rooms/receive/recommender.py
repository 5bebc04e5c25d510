"""Being the policy server of rooms: what other servers bring for our signature.

We recommend what we would let happen ourselves: events of those who sign for them, whole, of servers that the room lets
in, and for which the policy here has no objection.

Spec: server-server-api#policy-servers
"""

from collections.abc import Mapping
from typing import Any

from federation.errors import BadEvent, Refused
from federation.event import Event, parse_event
from federation.hashes import check_content_hash
from federation.ids import ServerName, server_of
from federation.signatures import POLICY_KEY_ID, sign_event
from homeserver.policy import NotFound
from homeserver.rooms.acl import check_acl
from homeserver.rooms.receive.intake import World
from homeserver.rooms.receive.objections import find_act
from homeserver.rooms.recommending import is_protected, needs_recommending
from homeserver.rooms.room import Room
from homeserver.rooms.servers import may_know


class Recommender:
    """Signs events for the rooms whose policy server this is."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def sign(self, origin: ServerName, pdu: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Our signature of an event that a server asks us to recommend.

        Raises:
            NotFound: no such room, none that we protect, or one that the asking server may not know of.
            BadEvent: it is no event.
            Refused: the event is not recommended; or (rule `acl`) the room does not let the server in.

        Spec: server-server-api#post_matrixpolicyv1sign
        """
        room, key = await self._find_room(pdu), self._world.rooms.seal.policy_key
        if room is None or key is None:
            raise _unprotected()
        try:
            event = parse_event(dict(pdu), room.version)
            await self._check(origin, room, event)
        except (BadEvent, Refused):
            if not await may_know(self._world.policy, origin, room):
                raise _unprotected() from None
            raise
        server = self._world.rooms.seal.server
        return {server: {POLICY_KEY_ID: sign_event(event, server, key).signatures[server][POLICY_KEY_ID]}}

    async def _find_room(self, pdu: Mapping[str, Any]) -> Room | None:
        room_id = pdu.get("room_id")
        room = await self._world.rooms.load(room_id) if isinstance(room_id, str) else None
        return room if room is not None and is_protected(self._world.rooms.seal, room.shown) else None

    async def _check(self, origin: ServerName, room: Room, event: Event) -> None:
        """Refuse what is not to be recommended."""
        if origin not in room.shown.servers and origin != server_of(event.sender):
            raise _unprotected()
        check_acl(room, origin)
        check_acl(room, server_of(event.sender))
        if not needs_recommending(event):
            raise Refused("policy server", "nobody is asked about the event that names the policy server")
        if event.room_id != room.room_id or not check_content_hash(event):
            raise BadEvent("the event is not whole")
        faults = await self._world.outside.find_faults([event])
        if faults:
            raise Refused("policy server", f"the event is not its sender's: {faults[event.event_id]}")
        await self._world.policy.check(await find_act(self._world, room, event))


def _unprotected() -> NotFound:
    return NotFound("No such room is protected here")
