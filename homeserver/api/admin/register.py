"""Make accounts with the secret that the operator shares with their tools.

The form is that of Synapse's documented administration API, so that existing tools work.
"""

from msgspec import Struct

from federation.ids import ServerName
from homeserver.accounts.login import DeviceWish
from homeserver.accounts.nonces import Nonces
from homeserver.accounts.registration import Newcomer, Registration, build_user_id
from homeserver.api.client.login import answer_grant
from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route


class SharedSecretBody(Struct, frozen=True):
    """An account to be made; `mac` proves knowledge of the secret."""

    nonce: str
    username: str
    password: str
    mac: str
    admin: bool = False
    displayname: str | None = None
    user_type: str | None = None


def routes(registration: Registration, nonces: Nonces | None, server_name: ServerName) -> tuple[Route, ...]:
    """The endpoints of registration by shared secret; none where there is no secret."""
    if nonces is None:
        return ()
    api = _SharedSecretAPI(registration, nonces, server_name)
    path = "/_synapse/admin/v1/register"
    return (
        Route(method="GET", path=path, handle=api.give_nonce, auth="none", rate="register"),
        Route(method="POST", path=path, handle=api.register, auth="none", rate="register", body=SharedSecretBody),
    )


class _SharedSecretAPI:
    def __init__(self, registration: Registration, nonces: Nonces, server_name: ServerName) -> None:
        self._registration = registration
        self._nonces = nonces
        self._server_name = server_name

    async def give_nonce(self, call: Call) -> Reply:
        return {"nonce": self._nonces.give()}

    async def register(self, call: Call) -> Reply:
        body: SharedSecretBody = call.body
        if any("\0" in part for part in (body.username, body.password, body.user_type or "")):
            raise MatrixError(400, "M_BAD_JSON", "NUL is what separates the parts")
        parts = (body.username, body.password, "admin" if body.admin else "notadmin")
        self._nonces.check(body.nonce, body.mac, (*parts, body.user_type) if body.user_type else parts)
        newcomer = Newcomer(
            user_id=build_user_id(body.username, self._server_name),
            password=body.password,
            display_name=body.displayname or body.username,
            admin=body.admin,
        )
        return answer_grant(await self._registration.register_and_begin(newcomer, DeviceWish()), self._server_name)
