"""What only application services ask for: to be pinged, and to list rooms of their networks.

Spec: application-service-api#client-server-api-extensions
"""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

from federation.errors import RemoteFault
from homeserver.accounts.appservices.questions import Declined, Questions
from homeserver.accounts.appservices.registry import AppService, AppServices
from homeserver.api.errors import BadParam, MatrixError, MissingToken, UnknownToken
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.networks import Networks

SERVICE: Final = "m.login.application_service"
"""The type by which an application service logs in or registers."""
LATEST_MS: Final = (1 << 53) - 1
"""The largest number that an event can hold."""
MOST_SHOWN: Final = 4096
"""How much of a service's answer to a ping is passed on."""


class Ping(Struct, frozen=True):
    """The body of a request to be pinged."""

    transaction_id: str | None = None


class NetworkVisibility(Struct, frozen=True):
    """The body that lists a room or takes it out."""

    visibility: Literal["public", "private"]


def routes(
    questions: Questions, networks: Networks, hurry: Callable[[AppService], None], now_ms: Callable[[], int]
) -> tuple[Route, ...]:
    """The endpoints for application services; `hurry` tells again what waits for one that has shown to be there."""
    api = _ServiceAPI(questions, networks, hurry, now_ms)
    return (
        Route(
            method="POST",
            path="/_matrix/client/v1/appservice/{appserviceId}/ping",
            handle=api.ping,
            rate="other",
            spec="client-server-api#post_matrixclientv1appserviceappserviceidping",
            body=Ping,
        ),
        Route(
            method="PUT",
            path="/_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}",
            handle=api.set_listed,
            rate="other",
            spec="client-server-api#put_matrixclientv3directorylistappservicenetworkidroomid",
            body=NetworkVisibility,
        ),
    )


def find_service(call: Call, services: AppServices) -> AppService:
    """The application service whose own token a request has, at a door that others ask without one.

    Raises:
        MatrixError: it has none, or another.

    Spec: application-service-api#server-admin-style-permissions
    """
    service = None if call.session is None else services.find(call.session.service_id)
    if service is None:
        raise MissingToken if call.request.bearer() is None else UnknownToken
    return service


def find_time(call: Call) -> int | None:
    """When an application service says that an event was sent, in milliseconds; None where it does not, or nobody may.

    Raises:
        MatrixError: no event can have been sent then.

    Spec: application-service-api#timestamp-massaging
    """
    if call.caller.service_id is None:
        return None
    at_ms = call.query.int("ts")
    if at_ms is not None and at_ms > LATEST_MS:
        raise BadParam("ts is too large")
    return at_ms


class _ServiceAPI:
    def __init__(
        self,
        questions: Questions,
        networks: Networks,
        hurry: Callable[[AppService], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._questions = questions
        self._networks = networks
        self._hurry = hurry
        self._now_ms = now_ms

    async def ping(self, call: Call) -> Reply:
        service = self._find_caller(call)
        if service.id != call.params["appserviceId"]:
            raise MatrixError(403, "M_FORBIDDEN", "This is another application service's")
        began_ms = self._now_ms()
        try:
            await self._questions.ping(service, call.body.transaction_id)
        except RemoteFault as fault:
            is_silent = self._now_ms() - began_ms >= self._questions.patience_s * 1000
            raise _describe(fault, is_silent=is_silent) from None
        self._hurry(service)
        return {"duration_ms": self._now_ms() - began_ms}

    async def set_listed(self, call: Call) -> Reply:
        service, params = self._find_caller(call), call.params
        listed = call.body.visibility == "public"
        await self._networks.set_listed(
            service, call.caller.user_id, params["networkId"], params["roomId"], listed=listed
        )
        return {}

    def _find_caller(self, call: Call) -> AppService:
        service = self._questions.services.find(call.caller.service_id)
        if service is None:
            raise MatrixError(403, "M_FORBIDDEN", "This is for application services")
        return service


def _describe(fault: RemoteFault, *, is_silent: bool) -> MatrixError:
    """Spec: client-server-api#post_matrixclientv1appserviceappserviceidping."""
    if isinstance(fault, Declined):
        said = fault.body[:MOST_SHOWN].decode("utf-8", "replace")
        extra = {"status": fault.status, "body": said}
        return MatrixError(502, "M_BAD_STATUS", f"Ping returned status {fault.status}", extra)
    if is_silent:
        return MatrixError(504, "M_CONNECTION_TIMEOUT", "Connection to application service timed out")
    return MatrixError(502, "M_CONNECTION_FAILED", f"The application service cannot be reached: {fault}")
