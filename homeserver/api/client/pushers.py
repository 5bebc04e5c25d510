"""Pushers, and what a person was notified of.

Spec: client-server-api#receiving-notifications, client-server-api#listing-notifications
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from homeserver.api.errors import BadParam, MatrixError
from homeserver.api.route import Call, Reply, Route
from homeserver.push.notifications import Ask, Notifications
from homeserver.push.pushers import Pushers
from homeserver.storage.pushers import Details, PusherKey

_REQUIRED = ("app_display_name", "device_display_name", "lang", "data")
_LONGEST_TOKEN = 18


class PusherBody(Struct, frozen=True, kw_only=True):
    """A pusher as its owner sets it, or (kind null) removes it.

    Spec: client-server-api#post_matrixclientv3pushersset
    """

    kind: str | None | UnsetType = UNSET
    app_id: str | None = None
    pushkey: str | None = None
    app_display_name: str | None = None
    device_display_name: str | None = None
    profile_tag: str | None = None
    lang: str | None = None
    data: dict[str, Any] | None = None
    append: bool = False


def routes(pushers: Pushers, notifications: Notifications) -> tuple[Route, ...]:
    """The endpoints of pushers and of notifications."""
    api = _PushersAPI(pushers, notifications)
    return (
        Route(
            method="GET",
            path="/_matrix/client/v3/pushers",
            handle=api.see,
            rate="other",
            spec="client-server-api#get_matrixclientv3pushers",
        ),
        Route(
            method="POST",
            path="/_matrix/client/v3/pushers/set",
            handle=api.set,
            rate="other",
            spec="client-server-api#post_matrixclientv3pushersset",
            body=PusherBody,
            body_limit=1 << 16,
        ),
        Route(
            method="GET",
            path="/_matrix/client/v3/notifications",
            handle=api.list,
            rate="search",
            spec="client-server-api#get_matrixclientv3notifications",
        ),
    )


class _PushersAPI:
    def __init__(self, pushers: Pushers, notifications: Notifications) -> None:
        self._pushers = pushers
        self._notifications = notifications

    async def see(self, call: Call) -> Reply:
        return {"pushers": await self._pushers.show(call.caller.user_id)}

    async def set(self, call: Call) -> Reply:
        body: PusherBody = call.body
        missing = [name for name in ("app_id", "pushkey") if getattr(body, name) is None]
        missing += ["kind"] if body.kind is UNSET else []
        missing += [name for name in _REQUIRED if body.kind is not None and getattr(body, name) is None]
        if missing:
            raise MatrixError(400, "M_MISSING_PARAM", f"Missing parameters: {', '.join(missing)}")
        key = PusherKey(call.caller.user_id, body.app_id or "", body.pushkey or "")
        if body.kind is None:
            await self._pushers.remove(key)
        elif body.kind == "http":
            await self._pushers.set(key, call.device, _details(body), append=body.append)
        else:
            raise BadParam("This server has pushers of kind http only")
        return {}

    async def list(self, call: Call) -> Reply:
        page = await self._notifications.list(
            call.caller.user_id,
            Ask(
                upto=_parse_token(call.query.str("from")),
                limit=call.query.int("limit", 20, least=1),
                highlights=call.query.str("only") == "highlight",
            ),
        )
        more = {} if page.next is None else {"next_token": f"n{page.next}"}
        return {"notifications": page.notifications, **more}


def _details(body: PusherBody) -> Details:
    return Details(
        app_display_name=body.app_display_name or "",
        device_display_name=body.device_display_name or "",
        lang=body.lang or "",
        data=body.data or {},
        profile_tag=body.profile_tag,
    )


def _parse_token(token: str | None) -> int | None:
    if token is None:
        return None
    digits = token.removeprefix("n")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_TOKEN):
        raise BadParam("from is no token of this endpoint")
    return int(digits)
