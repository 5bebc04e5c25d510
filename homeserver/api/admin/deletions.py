"""Removing rooms: at once for whoever waits, or in the background with a status to ask for."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from federation.ids import UserID
from homeserver.api.admin.pages import admin_route
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.administration import RoomAdministration
from homeserver.rooms.purging import Deletion, Removed
from homeserver.storage.purge import Purge

_STATUSES = {"shutting_down": "active", "active": "active", "complete": "complete", "failed": "failed"}


class DeletionBody(Struct, frozen=True):
    """How a room is to be removed; see `homeserver.rooms.purging.Deletion`."""

    new_room_user_id: str | None = None
    room_name: Annotated[str, Meta(max_length=255)] | None = None
    message: Annotated[str, Meta(max_length=10_000)] | None = None
    block: bool = False
    purge: bool = True
    force_purge: bool = False

    def read(self, by: UserID) -> Deletion:
        """What is meant."""
        given = {"room_name": self.room_name, "message": self.message}
        return Deletion(
            by=by,
            block=self.block,
            purge=self.purge,
            force=self.force_purge,
            new_room_user=self.new_room_user_id,
            **{name: text for name, text in given.items() if text is not None},
        )


def routes(administration: RoomAdministration) -> tuple[Route, ...]:
    """The endpoints that remove rooms."""
    api = _DeletionsAPI(administration)
    return (
        admin_route("DELETE", "v1/rooms/{roomId}", api.delete_and_wait, DeletionBody, body_optional=True),
        admin_route("DELETE", "v2/rooms/{roomId}", api.delete, DeletionBody, body_optional=True),
        admin_route("GET", "v2/rooms/{roomId}/delete_status", api.of_room),
        admin_route("GET", "v2/rooms/delete_status/{deleteId}", api.status),
        admin_route("GET", "v1/scheduled_tasks", api.tasks),
    )


class _DeletionsAPI:
    def __init__(self, administration: RoomAdministration) -> None:
        self._administration = administration

    async def delete(self, call: Call) -> Reply:
        return {"delete_id": await self._begin(call)}

    async def delete_and_wait(self, call: Call) -> Reply:
        delete_id = await self._begin(call)
        await self._administration.purges.finished(delete_id)
        return _result(await self._administration.deletion(call.caller.user_id, delete_id))

    async def status(self, call: Call) -> Reply:
        return _show(await self._administration.deletion(call.caller.user_id, call.params["deleteId"]))

    async def of_room(self, call: Call) -> Reply:
        found = await self._administration.deletions(call.caller.user_id, call.params["roomId"])
        return {"results": [_show(purge) for purge in found]}

    async def tasks(self, call: Call) -> Reply:
        room_id, query = call.query.str("resource_id"), call.query
        found = await self._administration.tasks(call.caller.user_id, room_id)
        before = query.int("max_timestamp")
        tasks = [_task(purge) for purge in found]
        wanted = {"action": query.str("action_name"), "status": query.str("status")}
        return {
            "scheduled_tasks": [
                task
                for task in tasks
                if all(value in (None, task[name]) for name, value in wanted.items())
                and (before is None or task["timestamp_ms"] < before)
            ]
        }

    async def _begin(self, call: Call) -> str:
        body: DeletionBody = call.body
        by = call.caller.user_id
        return await self._administration.delete(by, call.params["roomId"], body.read(by))


def _result(purge: Purge) -> dict[str, Any]:
    found = msgspec.json.decode(purge.result, type=Removed)
    return {
        "kicked_users": found.kicked_users,
        "failed_to_kick_users": found.failed_to_kick_users,
        "local_aliases": found.local_aliases,
        "new_room_id": found.new_room_id,
    }


def _show(purge: Purge) -> dict[str, Any]:
    shown = {
        "delete_id": purge.purge_id,
        "room_id": purge.room_id,
        "status": _STATUSES.get(purge.status, purge.status),
        "shutdown_room": _result(purge),
    }
    error = msgspec.json.decode(purge.result, type=Removed).error
    return shown | ({"error": error} if purge.status == "failed" else {})


def _task(purge: Purge) -> dict[str, Any]:
    is_room = purge.kind == "room"
    return {
        "id": purge.purge_id,
        "action": "shutdown_and_purge_room" if is_room else "purge_history",
        "status": _STATUSES.get(purge.status, purge.status),
        "timestamp_ms": purge.ended_ms or purge.began_ms,
        "resource_id": purge.room_id,
        "result": msgspec.Raw(purge.result),
        "error": msgspec.json.decode(purge.result, type=dict[str, Any]).get("error"),
    }
