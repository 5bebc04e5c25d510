"""Rooms: listed, looked into, blocked, and given powers over."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from federation.ids import ServerName, parse_user_id
from homeserver.api.admin.pages import admin_route, is_backwards, maybe_flag, next_of, page_of
from homeserver.api.client.history import read_filter, read_token
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.administration import RoomAdministration
from homeserver.rooms.history import Ask
from homeserver.rooms.inspection import Inspection, describe
from homeserver.rooms.render import Asker
from homeserver.rooms.spaces import begin_walk
from homeserver.storage.roomlist import ORDERS, RoomQuery


class Blocking(Struct, frozen=True):
    """Whether nobody is to come into a room."""

    block: bool


class PersonBody(Struct, frozen=True):
    """Whom it is about."""

    user_id: str


class MaybePersonBody(Struct, frozen=True):
    """Whom it is about; None: the operator."""

    user_id: str | None = None


def routes(
    inspection: Inspection, administration: RoomAdministration, server_name: ServerName, now_ms: Callable[[], int]
) -> tuple[Route, ...]:
    """The endpoints of rooms."""
    api = _RoomsAPI(inspection, server_name, now_ms)
    deeds = _RoomDeedsAPI(administration)
    one, either = "v1/rooms/{roomId}", "v1/rooms/{roomIdOrAlias}"
    return (
        admin_route("GET", "v1/rooms", api.list),
        admin_route("GET", one, api.see),
        admin_route("GET", f"{one}/members", api.members),
        admin_route("GET", f"{one}/state", api.state),
        admin_route("GET", f"{one}/messages", api.messages),
        admin_route("GET", f"{one}/context/{{eventId}}", api.context),
        admin_route("GET", "v1/fetch_event/{eventId}", api.event),
        admin_route("GET", f"{one}/timestamp_to_event", api.timestamp_to_event),
        admin_route("GET", f"{one}/hierarchy", api.hierarchy),
        admin_route("GET", "v1/statistics/database/rooms", api.largest),
        admin_route("GET", f"{one}/block", deeds.see_block),
        admin_route("PUT", f"{one}/block", deeds.block, Blocking),
        admin_route("POST", f"{either}/make_room_admin", deeds.make_room_admin, MaybePersonBody, body_optional=True),
        admin_route("GET", f"{either}/forward_extremities", deeds.extremities),
        admin_route("DELETE", f"{either}/forward_extremities", deeds.tidy),
        admin_route("POST", "v1/join/{roomIdOrAlias}", deeds.join, PersonBody),
    )


class _RoomsAPI:
    def __init__(self, inspection: Inspection, server_name: ServerName, now_ms: Callable[[], int]) -> None:
        self._inspection = inspection
        self._server_name = server_name
        self._now_ms = now_ms

    async def list(self, call: Call) -> Reply:
        page = page_of(call)
        query = RoomQuery(
            ours=self._server_name,
            term=call.query.str("search_term"),
            public=maybe_flag(call, "public_rooms"),
            empty=maybe_flag(call, "empty_rooms"),
            order=call.query.choice("order_by", tuple(ORDERS), "name"),
            backwards=is_backwards(call),
            start=page.start,
            limit=page.limit,
        )
        found, total = await self._inspection.load(call.caller.user_id, query)
        listed = [describe(room) for room in found]
        answer: dict[str, object] = {"rooms": listed, "offset": page.start, "total_rooms": total}
        following = next_of(page, len(found), total)
        if following is not None:
            answer |= {"next_batch": following, "next_token": following}
        if page.start:
            answer["prev_batch"] = max(0, page.start - page.limit)
        return answer

    async def see(self, call: Call) -> Reply:
        return await self._inspection.see(call.caller.user_id, call.params["roomId"])

    async def members(self, call: Call) -> Reply:
        members = await self._inspection.members(call.caller.user_id, call.params["roomId"])
        return {"members": members, "total": len(members)}

    async def state(self, call: Call) -> Reply:
        event_type = call.query.str("type")
        return {"state": await self._inspection.state(call.caller.user_id, call.params["roomId"], event_type)}

    async def messages(self, call: Call) -> Reply:
        ask = Ask(
            backwards=is_backwards(call),
            start=read_token(call, "from"),
            stop=read_token(call, "to"),
            limit=call.query.int("limit", 10),
            wanted=read_filter(call),
        )
        return await self._inspection.messages(self._asker(call), call.params["roomId"], ask)

    async def context(self, call: Call) -> Reply:
        ask = Ask(backwards=True, limit=call.query.int("limit", 10), wanted=read_filter(call))
        params = call.params
        return await self._inspection.context(self._asker(call), params["roomId"], params["eventId"], ask)

    async def event(self, call: Call) -> Reply:
        held = await self._inspection.event(call.caller.user_id, call.params["eventId"])
        return {"event": {**msgspec.json.decode(held.event.raw), "event_id": held.event_id}}

    async def timestamp_to_event(self, call: Call) -> Reply:
        call.query.need("ts")
        at_ms, backwards = call.query.int("ts", 0), is_backwards(call)
        held = await self._inspection.dated(call.caller.user_id, call.params["roomId"], at_ms, backwards=backwards)
        return {"event_id": held.event_id, "origin_server_ts": held.event.origin_server_ts}

    async def hierarchy(self, call: Call) -> Reply:
        query, by, root = call.query, call.caller.user_id, call.params["roomId"]
        walk = begin_walk(by, root, suggested_only=False, max_depth=query.int("max_depth"))
        return await self._inspection.hierarchy(walk, query.str("from"), query.int("limit"))

    async def largest(self, call: Call) -> Reply:
        found = await self._inspection.largest(call.caller.user_id)
        return {"rooms": [{"room_id": room_id, "estimated_size": size} for room_id, size in found]}

    def _asker(self, call: Call) -> Asker:
        return Asker(user_id=call.caller.user_id, now_ms=self._now_ms())


class _RoomDeedsAPI:
    def __init__(self, administration: RoomAdministration) -> None:
        self._administration = administration

    async def see_block(self, call: Call) -> Reply:
        blocker = await self._administration.find_blocker(call.caller.user_id, call.params["roomId"])
        return {"block": False} if blocker is None else {"block": True, "user_id": blocker}

    async def block(self, call: Call) -> Reply:
        block: bool = call.body.block
        await self._administration.block(call.caller.user_id, call.params["roomId"], block=block)
        return {"block": block}

    async def make_room_admin(self, call: Call) -> Reply:
        body: MaybePersonBody = call.body
        by = call.caller.user_id
        person = by if body.user_id is None else parse_user_id(body.user_id)
        await self._administration.make_admin(by, call.params["roomIdOrAlias"], person)
        return {}

    async def extremities(self, call: Call) -> Reply:
        found = await self._administration.extremities(call.caller.user_id, call.params["roomIdOrAlias"])
        results = [
            {
                "event_id": held.event_id,
                "state_group": held.group,
                "depth": held.event.depth,
                "received_ts": held.event.origin_server_ts,
            }
            for held in found
        ]
        return {"count": len(results), "results": results}

    async def tidy(self, call: Call) -> Reply:
        return {"deleted": await self._administration.tidy(call.caller.user_id, call.params["roomIdOrAlias"])}

    async def join(self, call: Call) -> Reply:
        person = parse_user_id(call.body.user_id)
        room_id = await self._administration.admit(call.caller.user_id, call.params["roomIdOrAlias"], person)
        return {"room_id": room_id}
