"""How people of other servers come into rooms, knock at them and leave them.

Spec: server-server-api#joining-rooms, server-server-api#knocking-rooms,
server-server-api#leaving-rooms-rejecting-invites
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from msgspec.json import encode

from homeserver.api.route import JSON_LIMIT, Call, Endpoint, Reply, Route
from homeserver.api.server.costly import Costly
from homeserver.rooms.remote.resident import Entry, Move, Resident

_V1: Final = "/_matrix/federation/v1"
_V2: Final = "/_matrix/federation/v2"
_MOVES: Final[tuple[Move, ...]] = ("join", "knock", "leave")


def routes(resident: Resident) -> tuple[Route, ...]:
    """The endpoints of joins, knocks and leaves."""
    return tuple(_routes(_JoinsAPI(resident)))


def _routes(api: "_JoinsAPI") -> Iterator[Route]:
    for move in _MOVES:
        yield _route("GET", f"{_V1}/make_{move}/{{roomId}}/{{userId}}", api.proposing(move))
    yield _route("PUT", f"{_V1}/send_knock/{{roomId}}/{{eventId}}", api.let_knock)
    yield _route("PUT", f"{_V1}/send_join/{{roomId}}/{{eventId}}", api.let_join_as_before)
    yield _route("PUT", f"{_V2}/send_join/{{roomId}}/{{eventId}}", api.let_join)
    yield _route("PUT", f"{_V1}/send_leave/{{roomId}}/{{eventId}}", api.let_leave_as_before)
    yield _route("PUT", f"{_V2}/send_leave/{{roomId}}/{{eventId}}", api.let_leave)


def _route(method: str, path: str, handle: Endpoint) -> Route:
    anchor = method.lower() + "".join(part for part in path if part not in "/{}")
    body = dict[str, Any] if method == "PUT" else None
    return Route(
        method=method,
        path=path,
        handle=handle,
        auth="region",
        rate="region",
        spec=f"server-server-api#{anchor.lower()}",
        body=body,
        body_limit=JSON_LIMIT,
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
