"""What other servers ask about events and states of a room they are in.

Spec: server-server-api#retrieving-events
"""

from collections.abc import Callable
from functools import partial

from federation.ids import ServerName
from homeserver.api.route import Call, Reply, Route
from homeserver.api.server.costly import Costly
from homeserver.api.server.declaring import V1, signed_route
from homeserver.rooms.giving import Given, Giving, dump


def routes(giving: Giving, server: ServerName, now_ms: Callable[[], int]) -> tuple[Route, ...]:
    """The endpoints of events and states."""
    api = _EventsAPI(giving, server, now_ms)
    return (
        signed_route("GET", V1 + "/event/{eventId}", api.see_event),
        signed_route("GET", V1 + "/state/{roomId}", api.see_state),
        signed_route("GET", V1 + "/state_ids/{roomId}", api.see_state_ids),
        signed_route("GET", V1 + "/event_auth/{roomId}/{eventId}", api.see_auth),
        signed_route("GET", V1 + "/timestamp_to_event/{roomId}", api.find_dated),
    )


class _EventsAPI:
    def __init__(self, giving: Giving, server: ServerName, now_ms: Callable[[], int]) -> None:
        self._giving = giving
        self._server = server
        self._now_ms = now_ms
        self._costly = Costly()

    async def see_event(self, call: Call) -> Reply:
        event = await self._giving.event(call.origin, call.params["eventId"])
        return {"origin": self._server, "origin_server_ts": self._now_ms(), "pdus": [event]}

    async def see_state(self, call: Call) -> Reply:
        given = await self._find_state(call)
        return {"pdus": dump(given.state), "auth_chain": dump(given.chain)}

    async def see_state_ids(self, call: Call) -> Reply:
        given = await self._find_state(call)
        return {"pdu_ids": list(given.state), "auth_chain_ids": list(given.chain)}

    async def see_auth(self, call: Call) -> Reply:
        room_id, event_id = call.params["roomId"], call.params["eventId"]
        find = partial(self._giving.event_auth, call.origin, room_id, event_id)
        return {"auth_chain": await self._costly.answer(call.origin, find)}

    async def _find_state(self, call: Call) -> Given:
        room_id, event_id = call.params["roomId"], call.query.need("event_id")
        return await self._costly.answer(call.origin, partial(self._giving.state, call.origin, room_id, event_id))

    async def find_dated(self, call: Call) -> Reply:
        call.query.need("ts")
        backwards = call.query.choice("dir", ("f", "b")) == "b"
        at_ms = call.query.int("ts", 0)
        found = await self._giving.closest(call.origin, call.params["roomId"], at_ms, backwards=backwards)
        return {"event_id": found.event_id, "origin_server_ts": found.event.origin_server_ts}
