"""What people have here beside devices: pushers, account data, rooms, and how often they may ask."""

from typing import Any

import msgspec
from msgspec import Struct

from homeserver.accounts.moderation import Moderation
from homeserver.accounts.overrides import Overrides
from homeserver.accounts.possessions import Possessions
from homeserver.api.admin.pages import admin_route, person_of
from homeserver.api.client.moderation import show_sessions
from homeserver.api.route import Call, Reply, Route
from homeserver.storage.overrides import RateOverride
from homeserver.storage.pushers import Pusher


class RateBody(Struct, frozen=True):
    """How often somebody may ask; nothing a second: they are not limited."""

    messages_per_second: int = 0
    burst_count: int = 0


class Suspension(Struct, frozen=True):
    """Whether an account is to be suspended."""

    suspend: bool


def routes(possessions: Possessions, overrides: Overrides, moderation: Moderation) -> tuple[Route, ...]:
    """The endpoints of what people have."""
    api = _PossessionsAPI(possessions, overrides, moderation)
    one = "v1/users/{userId}"
    rate = f"{one}/override_ratelimit"
    return (
        admin_route("GET", "v1/whois/{userId}", api.whois),
        admin_route("PUT", "v1/suspend/{userId}", api.suspend, Suspension),
        admin_route("GET", f"{one}/pushers", api.pushers),
        admin_route("GET", f"{one}/accountdata", api.account_data),
        admin_route("GET", f"{one}/joined_rooms", api.joined_rooms),
        admin_route("GET", f"{one}/memberships", api.memberships),
        admin_route("GET", f"{one}/sent_invite_count", api.invitations),
        admin_route("GET", f"{one}/cumulative_joined_room_count", api.rooms_joined),
        admin_route("GET", rate, api.see_rate),
        admin_route("POST", rate, api.set_rate, RateBody, body_optional=True),
        admin_route("DELETE", rate, api.remove_rate),
    )


class _PossessionsAPI:
    def __init__(self, possessions: Possessions, overrides: Overrides, moderation: Moderation) -> None:
        self._possessions = possessions
        self._overrides = overrides
        self._moderation = moderation

    async def whois(self, call: Call) -> Reply:
        user_id = person_of(call)
        return show_sessions(user_id, await self._moderation.whois(call.caller.user_id, user_id, is_admin=True))

    async def suspend(self, call: Call) -> Reply:
        body: Suspension = call.body
        await self._moderation.suspend(call.caller.user_id, person_of(call), suspended=body.suspend)
        return {}

    async def pushers(self, call: Call) -> Reply:
        found = await self._possessions.pushers(call.caller.user_id, person_of(call))
        return {"pushers": [_pusher(pusher) for pusher in found], "total": len(found)}

    async def account_data(self, call: Call) -> Reply:
        everywhere: dict[str, msgspec.Raw] = {}
        rooms: dict[str, dict[str, msgspec.Raw]] = {}
        for data in await self._possessions.account_data(call.caller.user_id, person_of(call)):
            kept = everywhere if data.room_id is None else rooms.setdefault(data.room_id, {})
            kept[data.type] = msgspec.Raw(data.content)
        return {"account_data": {"global": everywhere, "rooms": rooms}}

    async def joined_rooms(self, call: Call) -> Reply:
        found = await self._possessions.memberships(call.caller.user_id, person_of(call), "join")
        return {"joined_rooms": [membership.room_id for membership in found], "total": len(found)}

    async def memberships(self, call: Call) -> Reply:
        found = await self._possessions.memberships(call.caller.user_id, person_of(call))
        return {"memberships": {membership.room_id: membership.membership for membership in found}}

    async def invitations(self, call: Call) -> Reply:
        since = _since(call)
        return {"invite_count": await self._possessions.count_invitations(call.caller.user_id, person_of(call), since)}

    async def rooms_joined(self, call: Call) -> Reply:
        count = await self._possessions.count_rooms_joined(call.caller.user_id, person_of(call), _since(call))
        return {"cumulative_joined_room_count": count}

    async def see_rate(self, call: Call) -> Reply:
        found = await self._overrides.see(call.caller.user_id, person_of(call))
        return {} if found is None else {"messages_per_second": found.per_second, "burst_count": found.burst}

    async def set_rate(self, call: Call) -> Reply:
        body: RateBody = call.body
        override = RateOverride(body.messages_per_second, body.burst_count)
        await self._overrides.set(call.caller.user_id, person_of(call), override)
        return body

    async def remove_rate(self, call: Call) -> Reply:
        await self._overrides.set(call.caller.user_id, person_of(call), None)
        return {}


def _since(call: Call) -> int:
    call.query.need("from_ts")
    return call.query.int("from_ts", 0)


def _pusher(pusher: Pusher) -> dict[str, Any]:
    details = pusher.details
    return {
        "app_display_name": details.app_display_name,
        "app_id": pusher.key.app_id,
        "data": details.data,
        "device_display_name": details.device_display_name,
        "kind": "http",
        "lang": details.lang,
        "profile_tag": details.profile_tag or "",
        "pushkey": pusher.key.pushkey,
    }
