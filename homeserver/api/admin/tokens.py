"""Registration tokens: listed, made out, changed and withdrawn.

Spec: client-server-api#token-authenticated-registration
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from homeserver.accounts.invitations import USUAL_LENGTH, Invitations
from homeserver.api.admin.pages import admin_route, maybe_flag
from homeserver.api.errors import BadParam
from homeserver.api.route import Call, Reply, Route
from homeserver.storage.tokens import RegistrationToken


class NewToken(Struct, frozen=True):
    """A token to be made out; without a text one of that length is made up."""

    token: str | UnsetType = UNSET
    uses_allowed: int | None = None
    expiry_time: int | None = None
    length: int | None = None


class TokenChange(Struct, frozen=True):
    """What is to be different; what is not there stays, null is without end."""

    uses_allowed: int | None | UnsetType = UNSET
    expiry_time: int | None | UnsetType = UNSET


def routes(invitations: Invitations) -> tuple[Route, ...]:
    """The endpoints of registration tokens."""
    api, root = _TokensAPI(invitations), "v1/registration_tokens"
    return (
        admin_route("GET", root, api.list),
        admin_route("POST", f"{root}/new", api.make, NewToken, body_optional=True),
        admin_route("GET", f"{root}/{{token}}", api.see),
        admin_route("PUT", f"{root}/{{token}}", api.change, TokenChange),
        admin_route("DELETE", f"{root}/{{token}}", api.remove),
    )


class _TokensAPI:
    def __init__(self, invitations: Invitations) -> None:
        self._invitations = invitations

    async def list(self, call: Call) -> Reply:
        found = await self._invitations.load(call.caller.user_id, maybe_flag(call, "valid"))
        return {"registration_tokens": [_show(token) for token in found]}

    async def make(self, call: Call) -> Reply:
        body: NewToken = call.body
        if body.token == "":
            raise BadParam("A token has letters")
        text = "" if body.token is UNSET else body.token
        wanted = RegistrationToken(text, body.uses_allowed, 0, body.expiry_time)
        length = USUAL_LENGTH if body.length is None else body.length
        return _show(await self._invitations.make(call.caller.user_id, wanted, length))

    async def see(self, call: Call) -> Reply:
        return _show(await self._invitations.see(call.caller.user_id, call.params["token"]))

    async def change(self, call: Call) -> Reply:
        body: TokenChange = call.body
        given = {"uses_allowed": body.uses_allowed, "expires_ms": body.expiry_time}
        changed = {name: value for name, value in given.items() if value is not UNSET}
        return _show(await self._invitations.change(call.caller.user_id, call.params["token"], changed))

    async def remove(self, call: Call) -> Reply:
        await self._invitations.remove(call.caller.user_id, call.params["token"])
        return {}


def _show(token: RegistrationToken) -> dict[str, Any]:
    return {
        "token": token.token,
        "uses_allowed": token.uses_allowed,
        "pending": 0,
        "completed": token.used,
        "expiry_time": token.expires_ms,
    }
