"""Log in, carry a session on, log out.

Spec: client-server-api#login
"""

from typing import Any

from msgspec import Struct

from federation.ids import ServerName
from homeserver.accounts.appservices.identities import Identities
from homeserver.accounts.login import DeviceWish, Logins, find_local_user, find_named_user, parse_device_wish
from homeserver.accounts.logintokens import LoginTokens
from homeserver.accounts.sessions import AccountLocked, Sessions, UnknownToken
from homeserver.accounts.tokens import Grant
from homeserver.api import errors
from homeserver.api.client.appservice import SERVICE, find_service
from homeserver.api.errors import MatrixError
from homeserver.api.limits import address_key
from homeserver.api.route import Call, Reply, Route

_PASSWORD = "m.login.password"
_TOKEN = "m.login.token"


class LoginBody(Struct, frozen=True):
    """What a client shows to be let in.

    Spec: client-server-api#post_matrixclientv3login
    """

    type: str
    identifier: dict[str, Any] | None = None
    user: str | None = None
    medium: str | None = None
    address: str | None = None
    password: str | None = None
    token: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool | None = None


class RefreshBody(Struct, frozen=True):
    """The token that carries a session on."""

    refresh_token: str


class GrantAnswer(Struct, frozen=True, omit_defaults=True):
    """A session as its client learns of it."""

    user_id: str
    access_token: str
    device_id: str
    home_server: str
    refresh_token: str | None = None
    expires_in_ms: int | None = None


class RefreshAnswer(Struct, frozen=True, omit_defaults=True):
    """New tokens for the same session."""

    access_token: str
    refresh_token: str | None = None
    expires_in_ms: int | None = None


def answer_grant(grant: Grant, server_name: ServerName) -> GrantAnswer:
    """Tell a client of the session it was given."""
    return GrantAnswer(
        user_id=grant.user_id,
        access_token=grant.access_token,
        device_id=grant.device_id,
        home_server=server_name,
        refresh_token=grant.refresh_token,
        expires_in_ms=grant.expires_in_ms,
    )


def build_locked() -> MatrixError:
    """The answer to somebody whose account is locked.

    Spec: client-server-api#account-locking
    """
    return MatrixError(401, "M_USER_LOCKED", "This account has been locked", {"soft_logout": True})


def routes(
    logins: Logins,
    sessions: Sessions,
    server_name: ServerName,
    tokens: LoginTokens | None = None,
    identities: Identities | None = None,
) -> tuple[Route, ...]:
    """The endpoints of sessions; with `tokens` people may log in by one, with `identities` application services may."""
    api = _LoginAPI(logins, sessions, server_name, tokens, identities)
    v3 = "/_matrix/client/v3"
    return (
        Route(
            method="GET",
            path=f"{v3}/login",
            handle=api.flows,
            auth="none",
            spec="client-server-api#get_matrixclientv3login",
        ),
        Route(
            method="POST",
            path=f"{v3}/login",
            handle=api.log_in,
            auth="none",
            rate="login",
            spec="client-server-api#post_matrixclientv3login",
            body=LoginBody,
        ),
        Route(
            method="POST",
            path=f"{v3}/refresh",
            handle=api.refresh,
            auth="none",
            rate="login",
            spec="client-server-api#post_matrixclientv3refresh",
            body=RefreshBody,
        ),
        Route(
            method="POST",
            path=f"{v3}/logout",
            handle=api.log_out,
            spec="client-server-api#post_matrixclientv3logout",
        ),
        Route(
            method="POST",
            path=f"{v3}/logout/all",
            handle=api.log_out_all,
            spec="client-server-api#post_matrixclientv3logoutall",
        ),
    )


class _LoginAPI:
    def __init__(
        self,
        logins: Logins,
        sessions: Sessions,
        server_name: ServerName,
        tokens: LoginTokens | None,
        identities: Identities | None,
    ) -> None:
        self._identities = identities
        self._logins = logins
        self._sessions = sessions
        self._server_name = server_name
        self._tokens = tokens

    async def flows(self, call: Call) -> Reply:
        by_token = [] if self._tokens is None else [{"type": _TOKEN, "get_login_token": True}]
        by_service = [{"type": SERVICE}] if self._identities is not None and self._identities.services.all else []
        return {"flows": [{"type": _PASSWORD}, *by_token, *by_service]}

    async def log_in(self, call: Call) -> Reply:
        body: LoginBody = call.body
        wish = parse_device_wish(
            body.device_id, body.initial_device_display_name, refreshable=body.refresh_token is True
        )
        try:
            if body.type == SERVICE and self._identities is not None:
                grant = await self._let_service_in(call, wish, self._identities)
            else:
                grant = await self._let_in(body, wish, address_key(call.ip))
        except AccountLocked:
            raise build_locked() from None
        return answer_grant(grant, self._server_name)

    async def _let_service_in(self, call: Call, wish: DeviceWish, identities: Identities) -> Grant:
        """Spec: application-service-api#server-admin-style-permissions"""
        service, user_id = find_service(call, identities.services), self._find_user(call.body)
        if user_id is None:
            raise MatrixError(400, "M_EXCLUSIVE", "This user name is not in the application service's namespace")
        identities.services.check_user(user_id, service)
        account = await identities.check(service, user_id)
        if account.locked:
            raise AccountLocked
        return await self._logins.begin(user_id, wish)

    async def _let_in(self, body: LoginBody, wish: DeviceWish, origin: str) -> Grant:
        if body.type == _TOKEN and self._tokens is not None:
            if body.token is None:
                raise MatrixError(400, "M_MISSING_PARAM", "A token is needed")
            return await self._tokens.log_in(body.token, wish)
        if body.type != _PASSWORD:
            raise MatrixError(400, "M_UNKNOWN", "Unknown type of login")
        if body.password is None:
            raise MatrixError(400, "M_MISSING_PARAM", "A password is needed")
        return await self._logins.with_password(self._find_user(body), body.password, wish, origin)

    def _find_user(self, body: LoginBody) -> Any:
        if body.identifier is not None:
            return find_named_user(body.identifier, self._server_name)
        if body.user is not None:
            return find_local_user(body.user, self._server_name)
        if body.medium is not None and body.address is not None:
            return None
        raise MatrixError(400, "M_MISSING_PARAM", "An identifier is needed")

    async def refresh(self, call: Call) -> Reply:
        body: RefreshBody = call.body
        try:
            grant = await self._sessions.refresh(body.refresh_token)
        except UnknownToken as fault:
            raise errors.UnknownToken(soft_logout=fault.soft_logout) from None
        except AccountLocked:
            raise build_locked() from None
        return RefreshAnswer(grant.access_token, grant.refresh_token, grant.expires_in_ms)

    async def log_out(self, call: Call) -> Reply:
        await self._sessions.end(call.caller)
        return {}

    async def log_out_all(self, call: Call) -> Reply:
        await self._sessions.end_all(call.caller.user_id)
        return {}
