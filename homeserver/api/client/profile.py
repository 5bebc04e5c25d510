"""Profiles: see them, set one's own.

Spec: client-server-api#profiles
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from federation.ids import parse_user_id
from homeserver.accounts.profile import LARGEST, Profiles, parse_field
from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route

_PROFILE = "/_matrix/client/v3/profile/{userId}"
_FIELDS = ("displayname", "avatar_url", "{keyName}")
"""The two that there always were are routes of their own: guests and suspended accounts may set other ones."""


def routes(profiles: Profiles) -> tuple[Route, ...]:
    """The endpoints of profiles."""
    api = _ProfileAPI(profiles)
    whole = Route(
        method="GET",
        path=_PROFILE,
        handle=api.see,
        auth="optional",
        rate="other",
        spec="client-server-api#get_matrixclientv3profileuserid",
    )
    return (whole, *(route for name in _FIELDS for route in _field_routes(api, name)))


def _field_routes(api: "_ProfileAPI", name: str) -> Iterator[Route]:
    path, anchor = f"{_PROFILE}/{name}", "matrixclientv3profileuseridkeyname"
    yield Route(
        method="GET",
        path=path,
        handle=partial(api.see_field, name),
        auth="optional",
        rate="other",
        spec=f"client-server-api#get_{anchor}",
    )
    yield Route(
        method="PUT",
        path=path,
        handle=partial(api.set, name),
        rate="other",
        spec=f"client-server-api#put_{anchor}",
        body=dict[str, Any],
        body_limit=2 * LARGEST,
    )
    yield Route(
        method="DELETE",
        path=path,
        handle=partial(api.remove, name),
        rate="other",
        spec=f"client-server-api#delete_{anchor}",
    )


class _ProfileAPI:
    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    async def see(self, call: Call) -> Reply:
        asker = call.asker
        return await self._profiles.see(asker, parse_user_id(call.params["userId"]))

    async def see_field(self, field: str, call: Call) -> Reply:
        name = _parse_name(field, call)
        asker = call.asker
        return {name: await self._profiles.see_field(asker, parse_user_id(call.params["userId"]), name)}

    async def set(self, field: str, call: Call) -> Reply:
        name = _parse_name(field, call)
        body: dict[str, Any] = call.body
        if name not in body:
            raise MatrixError(400, "M_MISSING_PARAM", f"There is no {name}")
        if len(body) != 1:
            raise MatrixError(400, "M_BAD_JSON", f"There is more than {name}")
        await self._profiles.set(call.caller.user_id, parse_user_id(call.params["userId"]), name, body[name])
        return {}

    async def remove(self, field: str, call: Call) -> Reply:
        name = _parse_name(field, call)
        await self._profiles.remove(call.caller.user_id, parse_user_id(call.params["userId"]), name)
        return {}


def _parse_name(field: str, call: Call) -> str:
    """The field that the path names, in its own words or as a parameter."""
    return parse_field(call.params.get("keyName", field))
