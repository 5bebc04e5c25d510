"""How this server gets into a room of others.

Spec: server-server-api#joining-rooms
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from federation.errors import BadAnswer
from federation.ids import ServerName
from homeserver.policy import Join
from homeserver.rooms.beyond import Entering
from homeserver.rooms.membership import RoomBlocked
from homeserver.rooms.receive.outside import MOST_IDS, MOST_STATE_BYTES, parse_all
from homeserver.rooms.remote.ground import Ground
from homeserver.rooms.remote.handshake import (
    Wanted,
    choose_servers,
    make_event,
    read_signed,
    send_event,
    try_each,
)
from homeserver.rooms.remote.outlying import build_seen, load_outlying, servers_by
from homeserver.rooms.room import Room
from homeserver.storage.purge import find_blocker

JOIN_S: Final = 120.0
"""How long a server may take to give the state of a room; a large one on a slow line takes that long."""


class Joining:
    """Joins rooms of other servers."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def join(self, wanted: Entering) -> bool:
        """Join a room by way of a server that is in it. False when this server has come into it meanwhile, and there
        is nothing to be asked of others.

        Raises: RoomBlocked; IncompatibleVersion; Refused, Invalid, NotFound or RemoteFault, as the servers say.
        """
        ground = self._ground
        async with ground.entries.of(wanted.room_id):
            room = await ground.rooms.load(wanted.room_id)
            if not (wanted.anew or ground.lacks(room)):
                return False
            known = await load_outlying(ground.database, wanted.person, wanted.room_id)
            seen = room if wanted.anew and room else build_seen(wanted.person, wanted.room_id, known)
            await ground.policy.check(Join(by=wanted.person, room=seen))
            if await ground.database.read(find_blocker, wanted.room_id) is not None:
                raise RoomBlocked
            servers = choose_servers(ground, wanted.room_id, wanted.via, servers_by(known), _servers_in(room))

            async def go(server: ServerName) -> Room:
                if room is not None:
                    await ground.receiver.partings.tell_ours(server, room)
                return await self._join_by(server, wanted)

            await try_each(ground, servers, go)
            return True

    async def _join_by(self, server: ServerName, wanted: Entering) -> Room:
        ground = self._ground
        move = Wanted(person=wanted.person, room_id=wanted.room_id, move="join", content=wanted.content)
        event = await make_event(ground, server, move)
        answer = await send_event(ground, server, event, timeout_s=JOIN_S, most_bytes=MOST_STATE_BYTES)
        if answer.get("event") is not None:  # signed by the server, too
            event = read_signed(event, answer["event"])
        state, chain = _events_in(answer, "state"), _events_in(answer, "auth_chain")
        if answer.get("members_omitted") is True:
            raise BadAnswer("the state was asked for with its members")
        run = ground.outside.run
        version, room_id = event.version, event.room_id
        return await ground.adoption.adopt(
            version,
            await run(parse_all, version, room_id, state),
            await run(parse_all, version, room_id, chain),
            event,
        )


def _servers_in(room: Room | None) -> Iterable[ServerName]:
    """The servers in a room, those with most people first."""
    servers = {} if room is None else room.head.servers
    return sorted(servers, key=lambda server: (-servers[server], server))


def _events_in(answer: Mapping[str, Any], name: str) -> list[Any]:
    events = answer.get(name)
    if not isinstance(events, list) or len(events) > MOST_IDS:
        raise BadAnswer(f"{name} is no list of events, or too long")
    return events
