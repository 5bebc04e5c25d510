"""Make an account for oneself, where the server lets people.

Spec: client-server-api#account-registration
"""

from msgspec import Struct

from federation.ids import ServerName, UserID, localpart_of
from homeserver.accounts.appservices.registry import AppServices
from homeserver.accounts.interactive import Auth, Interactive, Operation, Proof
from homeserver.accounts.login import DeviceWish, Logins, parse_device_wish
from homeserver.accounts.passwords import check_strength
from homeserver.accounts.registration import Newcomer, Registration, build_user_id
from homeserver.accounts.tokens import Grant
from homeserver.api.client.appservice import SERVICE, find_service
from homeserver.api.client.interactive import build_operation, prove
from homeserver.api.client.login import answer_grant
from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route


class RegisterBody(Struct, frozen=True):
    """What a newcomer asks for.

    Spec: client-server-api#post_matrixclientv3register
    """

    type: str | None = None
    auth: Auth | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool | None = None
    refresh_token: bool | None = None
    guest_access_token: str | None = None


def routes(
    registration: Registration,
    interactive: Interactive,
    logins: Logins,
    server_name: ServerName,
    services: AppServices | None = None,
) -> tuple[Route, ...]:
    """The endpoints of registration; `services` have names of their own."""
    api = _RegisterAPI(registration, interactive, logins, server_name, services or AppServices())
    return (
        Route(
            method="POST",
            path="/_matrix/client/v3/register",
            handle=api.register,
            auth="none",
            rate="register",
            spec="client-server-api#post_matrixclientv3register",
            body=RegisterBody,
            body_optional=True,
        ),
        Route(
            method="GET",
            path="/_matrix/client/v3/register/available",
            handle=api.available,
            auth="none",
            rate="register",
            spec="client-server-api#get_matrixclientv3registeravailable",
        ),
        Route(
            method="GET",
            path="/_matrix/client/v1/register/m.login.registration_token/validity",
            handle=api.validity,
            auth="none",
            rate="register",
            spec="client-server-api#get_matrixclientv1registermloginregistration_tokenvalidity",
        ),
    )


class _RegisterAPI:
    def __init__(
        self,
        registration: Registration,
        interactive: Interactive,
        logins: Logins,
        server_name: ServerName,
        services: AppServices,
    ) -> None:
        self._services = services
        self._registration = registration
        self._interactive = interactive
        self._logins = logins
        self._server_name = server_name

    async def register(self, call: Call) -> Reply:
        body: RegisterBody = call.body
        if call.query.choice("kind", ("user", "guest"), "user") == "guest":
            grant = await self._registration.register_guest(body.initial_device_display_name)
            return answer_grant(grant, self._server_name)
        wish = parse_device_wish(
            body.device_id, body.initial_device_display_name, refreshable=body.refresh_token is True
        )
        if body.type == SERVICE:
            return await self._register_for_service(call, wish)
        operation = build_operation(call, "POST /register", self._registration.flows)
        guest = await self._find_guest(body, operation)
        user_id = guest or self._registration.parse_name(body.username)
        self._services.check_user(user_id)
        if not guest and body.username is not None and not self._interactive.find_registered(operation, body.auth):
            await self._registration.check_free(user_id)
        if body.password is not None:
            check_strength(body.password, localpart_of(user_id))
        proof = await prove(call, self._interactive, operation)
        return await self._carry_out(body, user_id, proof, None if body.inhibit_login else wish)

    async def _register_for_service(self, call: Call, wish: DeviceWish) -> Reply:
        """Spec: application-service-api#server-admin-style-permissions"""
        body: RegisterBody = call.body
        service = find_service(call, self._services)
        if body.username is None:
            raise MatrixError(400, "M_MISSING_PARAM", "A user name is needed")
        user_id = build_user_id(body.username, self._server_name)
        self._services.check_user(user_id, service)
        newcomer = Newcomer(user_id=user_id, service_id=service.id)
        if body.inhibit_login:
            await self._registration.register(newcomer)
            return self._answer(user_id, None)
        return self._answer(user_id, await self._registration.register_and_begin(newcomer, wish))

    async def _find_guest(self, body: RegisterBody, operation: Operation) -> UserID | None:
        """The guest who wants to stay.

        Spec: client-server-api#guest-access
        """
        if body.guest_access_token is None:
            return None
        guest = self._interactive.find_registered(operation, body.auth)
        guest = guest or await self._registration.find_guest(body.guest_access_token)
        if guest is None:
            raise MatrixError(403, "M_FORBIDDEN", "This is no guest's access token")
        if body.username != localpart_of(guest):
            raise MatrixError(400, "M_INVALID_USERNAME", "A guest who stays keeps the name")
        return guest

    async def _carry_out(self, body: RegisterBody, user_id: UserID, proof: Proof, wish: DeviceWish | None) -> Reply:
        """Make the account, unless this very request has made it already and its answer was lost."""
        if proof.registered is not None:
            again = None if wish is None else await self._logins.begin(proof.registered, wish)
            return self._answer(proof.registered, again)
        if body.password is None:
            raise MatrixError(400, "M_MISSING_PARAM", "A password is needed")
        upgrades = body.guest_access_token is not None
        newcomer = Newcomer(user_id=user_id, password=body.password, token=proof.token, upgrades=upgrades)
        grant = None
        if wish is None:
            await self._registration.register(newcomer)
        else:
            grant = await self._registration.register_and_begin(newcomer, wish)
        proof.registered = user_id
        return self._answer(user_id, grant)

    def _answer(self, user_id: UserID, grant: Grant | None) -> Reply:
        return {"user_id": user_id} if grant is None else answer_grant(grant, self._server_name)

    async def available(self, call: Call) -> Reply:
        self._registration.check_open()
        user_id = self._registration.parse_name(call.query.need("username"))
        self._services.check_user(user_id)
        await self._registration.check_free(user_id)
        return {"available": True}

    async def validity(self, call: Call) -> Reply:
        self._registration.check_open()
        return {"valid": await self._registration.is_usable(call.query.need("token"))}
