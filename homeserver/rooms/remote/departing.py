"""Knocking at rooms of others, and leaving rooms in which this server has no part: refusing an invitation, taking
back a knock.

Spec: server-server-api#knocking-rooms, server-server-api#leaving-rooms-rejecting-invites
"""

from collections.abc import Mapping
from typing import Any, Final

from federation.event import Event
from federation.ids import RoomID, ServerName, UserID
from homeserver.policy import Hidden, Invalid, Knock, Leave, NotFound
from homeserver.rooms.beyond import Entering
from homeserver.rooms.remote.faults import ASKING_FAULTS, IncompatibleVersion
from homeserver.rooms.remote.ground import Ground
from homeserver.rooms.remote.handshake import Wanted, choose_servers, make_event, send_event, try_each
from homeserver.rooms.remote.outlying import Outlying, build_seen, load_outlying, servers_by, set_move
from homeserver.rooms.remote.stripped import strip_all
from homeserver.rooms.seal import Draft, Place
from homeserver.storage.invites import Shown

SEND_S: Final = 30.0
MOST_BYTES: Final = 4 << 20
WAITING: Final = ("invite", "knock")


class Departing:
    """Knocks at rooms of other servers, and leaves those in which this server has no part."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def knock(self, wanted: Entering) -> bool:
        """Ask to be let into a room, by way of a server that is in it. False when this server has come into it.

        Raises: as `Joining.join`.
        """
        ground = self._ground
        async with ground.entries.of(wanted.room_id):
            if not ground.lacks(await ground.rooms.load(wanted.room_id)):
                return False
            known = await load_outlying(ground.database, wanted.person, wanted.room_id)
            await ground.policy.check(Knock(by=wanted.person, room=build_seen(wanted.person, wanted.room_id, known)))
            servers = choose_servers(ground, wanted.room_id, wanted.via, servers_by(known))

            async def go(server: ServerName) -> None:
                await self._knock_by(server, wanted)

            await try_each(ground, servers, go)
            return True

    async def _knock_by(self, server: ServerName, wanted: Entering) -> None:
        move = Wanted(person=wanted.person, room_id=wanted.room_id, move="knock", content=wanted.content)
        event = await make_event(self._ground, server, move)
        answer = await send_event(self._ground, server, event, timeout_s=SEND_S, most_bytes=MOST_BYTES)
        state = strip_all(event.version, event.room_id, answer.get("knock_room_state"))
        await self._keep(event, Shown(state, (server,)))

    async def leave(self, person: UserID, room_id: str, content: Mapping[str, object]) -> None:
        """Refuse an invitation, or take back a knock. Where no server helps with that it is so for us alone. Who
        has left already has done so.

        Raises: Hidden when there is neither; Refused.
        """
        ground = self._ground
        async with ground.entries.of(RoomID(room_id)):
            known = await load_outlying(ground.database, person, room_id)
            if known is not None and known.membership.membership == "leave" and known.event.event.sender == person:
                return
            if known is None or known.membership.membership not in WAITING:
                raise Hidden
            await ground.policy.check(Leave(by=person, room=build_seen(person, known.record.room_id, known)))
            wanted = Wanted(person=person, room_id=known.record.room_id, move="leave", content=content)
            servers = choose_servers(ground, room_id, servers_by(known))

            async def go(server: ServerName) -> Event:
                event = await make_event(ground, server, wanted)
                await send_event(ground, server, event, timeout_s=SEND_S, most_bytes=MOST_BYTES)
                return event

            try:
                event = await try_each(ground, servers, go)
            except (*ASKING_FAULTS, IncompatibleVersion, Invalid, NotFound):
                event = self._leave_alone(wanted, known)
            await self._keep(event)

    def _leave_alone(self, wanted: Wanted, known: Outlying) -> Event:
        """A leave that nobody else knows of."""
        before = (known.event,)
        content: dict[str, Any] = {**wanted.content, "membership": "leave"}
        draft = Draft(type="m.room.member", sender=wanted.person, content=content, state_key=wanted.person)
        depth = known.event.event.depth + 1
        place = Place(room_id=wanted.room_id, before=before, auth=before, depth=depth)
        return self._ground.seal.make(known.record.version, draft, place)

    async def _keep(self, event: Event, shown: Shown | None = None) -> None:
        async with self._ground.world.turns.of(event.room_id):
            if self._ground.lacks(await self._ground.rooms.load(event.room_id)):
                await set_move(self._ground, event, shown)
