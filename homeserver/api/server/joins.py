"""How people of other servers come into rooms, knock at them and leave them.

Spec: server-server-api#joining-rooms, server-server-api#knocking-rooms,
server-server-api#leaving-rooms-rejecting-invites
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from msgspec.json import encode

from homeserver.api.route import Call, Endpoint, Reply, Route
from homeserver.api.server.costly import Costly
from homeserver.api.server.declaring import V1, V2, signed_route
from homeserver.rooms.remote.resident import Entry, Move, Resident

_MOVES: Final[tuple[Move, ...]] = ("join", "knock", "leave")


def routes(resident: Resident) -> tuple[Route, ...]:
    """The endpoints of joins, knocks and leaves."""
    api, place, body = _JoinsAPI(resident), "{roomId}/{eventId}", dict[str, Any]
    return (
        *(signed_route("GET", f"{V1}/make_{move}/{{roomId}}/{{userId}}", api.proposing(move)) for move in _MOVES),
        signed_route("PUT", f"{V1}/send_knock/{place}", api.let_knock, body),
        signed_route("PUT", f"{V1}/send_join/{place}", api.let_join_as_before, body),
        signed_route("PUT", f"{V2}/send_join/{place}", api.let_join, body),
        signed_route("PUT", f"{V1}/send_leave/{place}", api.let_leave_as_before, body),
        signed_route("PUT", f"{V2}/send_leave/{place}", api.let_leave, body),
    )


def _place(call: Call) -> tuple[str, str]:
    return call.params["roomId"], call.params["eventId"]


class _JoinsAPI:
    def __init__(self, resident: Resident) -> None:
        self._resident = resident
        self._costly = Costly()

    def proposing(self, move: Move) -> Endpoint:
        """What proposes an event of that kind."""

        async def propose(call: Call) -> Reply:
            room_id, user_id = call.params["roomId"], call.params["userId"]
            versions = call.query.list("ver") or ["1"]
            proposed = await self._resident.propose(call.origin, room_id, user_id, move, versions)
            return {"room_version": proposed.version, "event": proposed.event}

        return propose

    async def let_knock(self, call: Call) -> Reply:
        return {"knock_room_state": await self._resident.let_knock(call.origin, _place(call), call.body)}

    async def let_join(self, call: Call) -> Reply:
        omit = call.query.flag("omit_members")
        return self._dump(call, await self._let_join(call, omit_members=omit))

    async def let_join_as_before(self, call: Call) -> Reply:
        return encode([200, self._dump(call, await self._let_join(call))])

    async def _let_join(self, call: Call, *, omit_members: bool = False) -> Entry:
        let_join = partial(self._resident.let_join, call.origin, _place(call), call.body, omit_members=omit_members)
        return await self._costly.answer(call.origin, let_join)

    async def let_leave(self, call: Call) -> Reply:
        await self._resident.let_leave(call.origin, _place(call), call.body)
        return {}

    async def let_leave_as_before(self, call: Call) -> Reply:
        await self._resident.let_leave(call.origin, _place(call), call.body)
        return encode([200, {}])

    def _dump(self, call: Call, entry: Entry) -> Mapping[str, Any]:
        return {**entry.dump(), "origin": self._resident.server}
