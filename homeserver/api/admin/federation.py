"""The other servers, for operators: how each does, in which rooms it is, and that it is tried again now."""

from typing import Any, Final

from homeserver.api.admin.pages import admin_route, is_backwards, next_of, page_of
from homeserver.api.route import Call, Reply, Route
from homeserver.outbox.servers.inspection import Destinations
from homeserver.storage.destinations import ORDERS, DestinationRow, Listed

_FIRST_MS: Final = 2_000
_LONGEST_MS: Final = 60 * 60 * 1000


def routes(destinations: Destinations) -> tuple[Route, ...]:
    """The endpoints of destinations."""
    api, root = _FederationAPI(destinations), "v1/federation/destinations"
    return (
        admin_route("GET", root, api.list),
        admin_route("GET", f"{root}/{{destination}}", api.see),
        admin_route("GET", f"{root}/{{destination}}/rooms", api.rooms),
        admin_route("POST", f"{root}/{{destination}}/reset_connection", api.reset),
    )


class _FederationAPI:
    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations

    async def list(self, call: Call) -> Reply:
        page = page_of(call)
        wanted = Listed(
            part=call.query.str("destination") or "",
            order=call.query.choice("order_by", tuple(ORDERS), "destination"),
            backwards=is_backwards(call),
            start=page.start,
            limit=page.limit,
        )
        found = await self._destinations.list(wanted)
        answer: dict[str, Any] = {"destinations": [_show(row) for row in found.rows], "total": found.total}
        following = next_of(page, len(found.rows), found.total)
        return answer if following is None else {**answer, "next_token": str(following)}

    async def see(self, call: Call) -> Reply:
        return _show(await self._destinations.see(call.params["destination"]))

    async def rooms(self, call: Call) -> Reply:
        page = page_of(call)
        found = await self._destinations.rooms(call.params["destination"], page, backwards=is_backwards(call))
        rooms = [{"room_id": room_id, "stream_ordering": stream} for room_id, stream in found.rows]
        answer: dict[str, Any] = {"rooms": rooms, "total": found.total}
        following = next_of(page, len(rooms), found.total)
        return answer if following is None else {**answer, "next_token": str(following)}

    async def reset(self, call: Call) -> Reply:
        await self._destinations.reset(call.caller.user_id, call.params["destination"])
        return {}


def _show(row: DestinationRow) -> dict[str, Any]:
    """A destination, as far as its times are known: the last failure by how long it is left alone after so many."""
    interval_ms = min(_FIRST_MS << min(row.failures - 1, 20), _LONGEST_MS) if row.failures else 0
    failed_ms = row.retry_ms - interval_ms if row.failures else 0
    return {
        "destination": row.server,
        "retry_last_ts": failed_ms,
        "retry_interval": interval_ms,
        "failure_ts": failed_ms or None,
        "last_successful_stream_ordering": row.position,
    }
