"""One's own account: who one is, the password, the end of it.

Spec: client-server-api#account-management
"""

from typing import Any

from msgspec import Struct

from federation.errors import Refused
from federation.ids import UserID, localpart_of
from homeserver.accounts.accounts import Accounts
from homeserver.accounts.interactive import Auth, Interactive
from homeserver.accounts.passwords import check_strength
from homeserver.api.client.interactive import build_operation, prove
from homeserver.api.route import Call, Reply, Route


class PasswordBody(Struct, frozen=True):
    """A new password.

    Spec: client-server-api#post_matrixclientv3accountpassword
    """

    new_password: str
    logout_devices: bool = True
    auth: Auth | None = None


class DeactivateBody(Struct, frozen=True):
    """How to close an account.

    Spec: client-server-api#post_matrixclientv3accountdeactivate
    """

    erase: bool = False
    id_server: str | None = None
    auth: Auth | None = None


def routes(accounts: Accounts, interactive: Interactive) -> tuple[Route, ...]:
    """The endpoints of one's own account."""
    api = _AccountAPI(accounts, interactive)
    account = "/_matrix/client/v3/account"
    return (
        Route(
            method="GET",
            path=f"{account}/whoami",
            handle=api.whoami,
            spec="client-server-api#get_matrixclientv3accountwhoami",
        ),
        Route(
            method="POST",
            path=f"{account}/password",
            handle=api.set_password,
            auth="optional",
            rate="login",
            spec="client-server-api#post_matrixclientv3accountpassword",
            body=PasswordBody,
        ),
        Route(
            method="POST",
            path=f"{account}/deactivate",
            handle=api.deactivate,
            auth="optional",
            rate="login",
            spec="client-server-api#post_matrixclientv3accountdeactivate",
            body=DeactivateBody,
            body_optional=True,
        ),
    )


class _AccountAPI:
    def __init__(self, accounts: Accounts, interactive: Interactive) -> None:
        self._accounts = accounts
        self._interactive = interactive

    async def whoami(self, call: Call) -> Reply:
        session = call.caller
        answer: dict[str, Any] = {"user_id": session.user_id}
        if session.device_id:
            answer["device_id"] = session.device_id
        if session.kind == "guest":
            answer["is_guest"] = True
        return answer

    async def set_password(self, call: Call) -> Reply:
        body: PasswordBody = call.body
        if call.session is not None and call.session.service_id is not None:
            raise Refused("appservice", "Application services have no passwords")
        asker = call.asker
        check_strength(body.new_password, localpart_of(asker) if asker else "")
        user_id = await self._prove(call, "POST /account/password")
        keep = call.session.device_id if call.session else None
        await self._accounts.set_password(user_id, body.new_password, keep, end_others=body.logout_devices)
        return {}

    async def deactivate(self, call: Call) -> Reply:
        body: DeactivateBody = call.body
        if call.session is not None:
            await self._accounts.check_closable(call.session.user_id)
        if call.session is not None and call.session.service_id is not None:
            user_id = call.session.user_id
        else:
            user_id = await self._prove(call, "POST /account/deactivate")
        await self._accounts.deactivate(user_id, erase=body.erase)
        return {"id_server_unbind_result": "success"}

    async def _prove(self, call: Call, name: str) -> UserID:
        """Who has proved to be there; with a session it is the session's person."""
        proof = await prove(call, self._interactive, build_operation(call, name))
        assert proof.user_id is not None  # the only flow is the password
        return proof.user_id
