"""Which servers are told of an event: those in the room before it or after it, but none that the room shuts out."""

from collections.abc import Mapping, Sequence
from typing import Final

from federation.ids import EventID, ServerName
from homeserver.rooms.acl import is_let_in
from homeserver.rooms.room import Room
from homeserver.storage.changes import Audience, EventAdded

MOST_ROOMS: Final = 10_000
"""Of how many rooms it is remembered who is told."""


class Audiences:
    """Whom to tell of events; for each room that is found anew only when its servers or its access list changed."""

    def __init__(self, server: ServerName) -> None:
        self._server = server
        self._known: dict[int, tuple[Mapping[ServerName, int], EventID | None, Sequence[ServerName]]] = {}

    def find(self, change: EventAdded) -> Sequence[ServerName]:
        """The servers that are to be told of an event."""
        audience = change.audience
        if audience is None:
            return ()
        event = change.event
        found = self._find_others(event.room_nid, audience)
        target = audience.target
        if target is not None and target not in found and is_let_in(audience.acl, target) and target != self._server:
            found = [*found, target]
        author = event.event.sender.partition(":")[2]  # who made an event that is passed on knows it
        return found if author == self._server else [server for server in found if server != author]

    def _find_others(self, room_nid: int, audience: Audience) -> Sequence[ServerName]:
        acl_id = None if audience.acl is None else audience.acl.event_id
        known = self._known.get(room_nid)
        if known is not None and known[0] is audience.servers and known[1] == acl_id:
            return known[2]
        others = [each for each in audience.servers if each != self._server and is_let_in(audience.acl, each)]
        if len(self._known) >= MOST_ROOMS:
            self._known.clear()
        self._known[room_nid] = (audience.servers, acl_id, others)
        return others


def others_in(room: Room, server: ServerName) -> Sequence[ServerName]:
    """The servers but our own `server` that are told what goes on in a room now."""
    if len(room.shown.servers) < 2:
        return ()
    acl = room.state("m.room.server_acl")
    return [each for each in room.shown.servers if each != server and is_let_in(acl, each)]
