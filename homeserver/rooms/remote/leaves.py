"""Our leaves, told before a room is joined again.

Who was cut off when ours left a room knows nothing of that, and would put our join beside our leave: then it is chance,
and not on all servers the same, which of them holds. So the server by whose help a room is joined is told first how
ours went; its join then follows that, for everybody.

Spec: server-server-api#joining-rooms
"""

from typing import Final
from urllib.parse import quote

from twisted.logger import Logger

from federation.errors import Refused, RemoteFault
from federation.event import Event
from federation.ids import ServerName, UserID, server_of
from homeserver.rooms.remote.ground import Ground
from homeserver.rooms.room import Room

TELL_S: Final = 20.0
MOST_TOLD: Final = 50
"""How many PDUs a transaction may have."""

_log: Final = Logger()


async def tell_leaves(ground: Ground, server: ServerName, room: Room | None) -> None:
    """Tell a server in a room how ours went out of it, where they have; the last of it, if that is much. It may be
    known there. If it is not taken, so be it: the server judges the join by what it knows.
    """
    leaves = [] if room is None or ground.server in room.head.servers else _find_leaves(room, ground.server)
    if not leaves:
        return
    path = f"/_matrix/federation/v1/send/{quote(leaves[-1].event_id, safe='')}"
    body = {
        "origin": ground.server,
        "origin_server_ts": ground.seal.now_ms(),
        "pdus": [event.pdu() for event in leaves],
    }
    try:
        await ground.peers.ask(server, "PUT", path, body=body, timeout_s=TELL_S)
    except (RemoteFault, Refused) as fault:
        _log.debug("{server} was not told how ours left: {fault}", server=server, fault=str(fault))


def _find_leaves(room: Room, server: ServerName) -> list[Event]:
    """How people of a server went, in the order in which they did."""
    gone = [
        held.event
        for (kind, person), held in room.head.state.items()
        if kind == "m.room.member" and held.membership in ("leave", "ban") and server_of(UserID(person)) == server
    ]
    return sorted(gone, key=lambda event: event.depth)[-MOST_TOLD:]
