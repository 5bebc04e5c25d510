"""Back message keys up.

Spec: client-server-api#server-side-key-backups
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from msgspec import Meta, Raw, Struct

from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route
from homeserver.devices.backup import Backups, WrongVersion, parse_key, parse_object
from homeserver.policy import Invalid
from homeserver.storage.backup import BackedUpKey, Backup, Place, Worth

KEYS_LIMIT: Final = 16 << 20
"""How many bytes one request may have that adds keys: some ten thousand of them."""

_ROOM_KEYS: Final = "/_matrix/client/v3/room_keys"
_ANCHOR: Final = "matrixclientv3room_keys"
_Number = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]


class VersionBody(Struct, frozen=True):
    """How the keys of a backup are encrypted.

    Spec: client-server-api#post_matrixclientv3room_keysversion
    """

    algorithm: str
    auth_data: Raw


class ChangeBody(Struct, frozen=True):
    """How the keys of a backup are encrypted from now on.

    Spec: client-server-api#put_matrixclientv3room_keysversionversion
    """

    algorithm: str
    auth_data: Raw
    version: str | None = None


class KeyBody(Struct, frozen=True):
    """A key: what it is worth, and the encrypted key.

    Spec: client-server-api#put_matrixclientv3room_keyskeysroomidsessionid
    """

    first_message_index: _Number
    forwarded_count: _Number
    is_verified: bool
    session_data: Raw


class RoomBody(Struct, frozen=True):
    """Keys of a room by session."""

    sessions: dict[str, KeyBody]


class RoomsBody(Struct, frozen=True):
    """Keys by room and session."""

    rooms: dict[str, RoomBody]


def routes(backups: Backups) -> tuple[Route, ...]:
    """The endpoints of key backups."""
    api = _BackupAPI(backups)
    one = "/version/{version}"
    bodies = {"/keys": RoomsBody, "/keys/{roomId}": RoomBody, "/keys/{roomId}/{sessionId}": KeyBody}
    return (
        _route("POST", "/version", api.create, body=VersionBody),
        _route("GET", "/version", api.see),
        _route("GET", one, api.see),
        _route("PUT", one, api.change, body=ChangeBody),
        _route("DELETE", one, api.delete),
        *(_route("PUT", path, api.add, body=body, body_limit=KEYS_LIMIT) for path, body in bodies.items()),
        *(_route("GET", path, api.load) for path in bodies),
        *(_route("DELETE", path, api.remove) for path in bodies),
    )


def _route(method: str, path: str, handle: Callable[[Call], Coroutine[Any, Any, Reply]], **more: Any) -> Route:
    anchor = _ANCHOR + "".join(char for char in path.lower() if char.isalpha())
    spec = f"client-server-api#{method.lower()}_{anchor}"
    return Route(method=method, path=_ROOM_KEYS + path, handle=handle, rate="keys", spec=spec, **more)


class _BackupAPI:
    def __init__(self, backups: Backups) -> None:
        self._backups = backups

    async def create(self, call: Call) -> Reply:
        body: VersionBody = call.body
        auth_data = parse_object(body.auth_data)
        return {"version": await self._backups.create(call.caller.user_id, body.algorithm, auth_data)}

    async def see(self, call: Call) -> Reply:
        backup = await self._backups.see(call.caller.user_id, call.params.get("version"))
        described = {"algorithm": backup.algorithm, "auth_data": Raw(backup.auth_data)}
        return {**described, **_state(backup), "version": str(backup.version)}

    async def change(self, call: Call) -> Reply:
        body: ChangeBody = call.body
        version = call.params["version"]
        if body.version is not None and body.version != version:
            raise Invalid("M_INVALID_PARAM", "The version is another than in the path")
        await self._backups.change(call.caller.user_id, version, body.algorithm, parse_object(body.auth_data))
        return {}

    async def delete(self, call: Call) -> Reply:
        await self._backups.delete(call.caller.user_id, call.params["version"])
        return {}

    async def add(self, call: Call) -> Reply:
        version = call.query.need("version")
        try:
            return _state(await self._backups.add(call.caller.user_id, version, _parse_keys(call)))
        except WrongVersion as fault:
            extra = {"current_version": fault.current}
            raise MatrixError(403, "M_WRONG_ROOM_KEYS_VERSION", "This is not the latest backup", extra) from None

    async def load(self, call: Call) -> Reply:
        return await self._backups.load(call.caller.user_id, call.query.need("version"), _place(call))

    async def remove(self, call: Call) -> Reply:
        version = call.query.need("version")
        return _state(await self._backups.remove(call.caller.user_id, version, _place(call)))


def _place(call: Call) -> Place:
    return Place(call.params.get("roomId"), call.params.get("sessionId"))


def _parse_keys(call: Call) -> list[BackedUpKey]:
    """The keys of a body, whichever of the three shapes it has."""
    room_id, session_id = _place(call)
    body: RoomsBody | RoomBody | KeyBody = call.body
    if isinstance(body, KeyBody):
        body = RoomBody({session_id or "": body})
    if isinstance(body, RoomBody):
        body = RoomsBody({room_id or "": body})
    return [
        parse_key(room, session, Worth(not key.is_verified, key.first_message_index, key.forwarded_count),
                  key.session_data)
        for room, theirs in body.rooms.items()
        for session, key in theirs.sessions.items()
    ]  # fmt: skip


def _state(backup: Backup) -> dict[str, Any]:
    """What clients compare to learn whether others changed the keys of a backup."""
    return {"count": backup.keys, "etag": str(backup.etag)}
