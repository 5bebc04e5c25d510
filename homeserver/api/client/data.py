"""What clients keep for their person: account data, of rooms too, and tags.

Spec: client-server-api#client-config, client-server-api#room-tagging
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeAlias

from federation.ids import RoomID, UserID, parse_room_id
from homeserver.accounts.data import ClientConfig, ServerManaged
from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route

LARGEST = 1 << 18
"""How many bytes one piece of account data may have: all of them are in the answer to a first sync."""

Keeper: TypeAlias = Callable[[UserID], Awaitable[bytes]]
"""Gives account data of one type that lies elsewhere: a JSON object."""

_USER = "/_matrix/client/v3/user/{userId}"


def routes(config: ClientConfig, kept_elsewhere: Mapping[str, Keeper] | None = None) -> tuple[Route, ...]:
    """The endpoints of account data; types in `kept_elsewhere` are read there."""
    api = _DataAPI(config, kept_elsewhere or {})
    return (
        *_account_data_routes(api, "", "useruserid"),
        *_account_data_routes(api, "/rooms/{roomId}", "useruseridroomsroomid"),
        *_tag_routes(api),
    )


def _account_data_routes(api: "_DataAPI", scope: str, anchor: str) -> Iterator[Route]:
    path = f"{_USER}{scope}/account_data/{{type}}"
    yield Route(
        method="GET",
        path=path,
        handle=api.see,
        spec=f"client-server-api#get_matrixclientv3{anchor}account_datatype",
    )
    yield Route(
        method="PUT",
        path=path,
        handle=api.set,
        rate="other",
        spec=f"client-server-api#put_matrixclientv3{anchor}account_datatype",
        body=dict[str, Any],
        body_limit=LARGEST,
    )


def _tag_routes(api: "_DataAPI") -> Iterator[Route]:
    path, anchor = f"{_USER}/rooms/{{roomId}}/tags", "matrixclientv3useruseridroomsroomidtags"
    yield Route(method="GET", path=path, handle=api.tags, spec=f"client-server-api#get_{anchor}")
    yield Route(
        method="PUT",
        path=f"{path}/{{tag}}",
        handle=api.set_tag,
        rate="other",
        spec=f"client-server-api#put_{anchor}tag",
        body=dict[str, Any],
        body_optional=True,
        body_limit=1 << 14,
    )
    yield Route(
        method="DELETE",
        path=f"{path}/{{tag}}",
        handle=api.remove_tag,
        rate="other",
        spec=f"client-server-api#delete_{anchor}tag",
    )


class _DataAPI:
    def __init__(self, config: ClientConfig, kept_elsewhere: Mapping[str, Keeper]) -> None:
        self._config = config
        self._kept_elsewhere = kept_elsewhere

    async def see(self, call: Call) -> Reply:
        asker, user_id, room_id = _whose(call)
        keeper = self._kept_elsewhere.get(call.params["type"]) if room_id is None and asker == user_id else None
        if keeper is not None:
            return await keeper(user_id)
        return await self._config.see(asker, user_id, call.params["type"], room_id)

    async def set(self, call: Call) -> Reply:
        asker, user_id, room_id = _whose(call)
        try:
            await self._config.set(asker, user_id, call.params["type"], call.raw, room_id)
        except ServerManaged as fault:
            raise MatrixError(405, "M_BAD_JSON", str(fault)) from None
        return {}

    async def tags(self, call: Call) -> Reply:
        return {"tags": await self._config.tags(*_whose_room(call))}

    async def set_tag(self, call: Call) -> Reply:
        await self._config.set_tag(*_whose_room(call), call.params["tag"], call.body)
        return {}

    async def remove_tag(self, call: Call) -> Reply:
        await self._config.set_tag(*_whose_room(call), call.params["tag"], None)
        return {}


def _whose(call: Call) -> tuple[UserID, UserID, RoomID | None]:
    """Who asks, for whose data, of which room."""
    room_id = call.params.get("roomId")
    parsed = None if room_id is None else parse_room_id(room_id)
    return call.caller.user_id, UserID(call.params["userId"]), parsed


def _whose_room(call: Call) -> tuple[UserID, UserID, RoomID]:
    return call.caller.user_id, UserID(call.params["userId"]), parse_room_id(call.params["roomId"])
