"""What goes wrong, as Matrix says it: the one table from exceptions to status and errcode.

Domain code raises its own exceptions; only here do they get a status. What is not in the table is our own bug: the
edge logs it once and answers M_UNKNOWN.

Spec: client-server-api#standard-error-response
"""

from collections.abc import Callable, Mapping

from federation.errors import BadIdentifier, BadJSON, EventTooLarge, Malformed, PeerUnreachable, Refused, RemoteFault
from homeserver.accounts.appservices.questions import NoAnswer
from homeserver.accounts.passwords import PasswordsBusy
from homeserver.media.media import TooLargeElsewhere
from homeserver.policy import Conflict, Invalid, NotFound
from homeserver.rooms.delayed import SentTooFast, TooManyDelayed
from homeserver.rooms.membership import GuestsForbidden, InvitesBlocked, NoticesStay
from homeserver.rooms.recommending import NotRecommended
from homeserver.rooms.remote.faults import IncompatibleVersion
from homeserver.rooms.send import Suspended
from homeserver.storage.faults import StorageUnavailable


class MatrixError(Exception):
    """An error in the form of the specification; raised at the edge only.

    `extra` are further keys of the body, `headers` further headers of the answer.

    Spec: client-server-api#standard-error-response
    """

    def __init__(
        self,
        status: int,
        errcode: str,
        error: str,
        extra: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, errcode, error)
        self.status = status
        self.errcode = errcode
        self.error = error
        self.extra = extra or {}
        self.headers = headers or {}

    def body(self) -> dict[str, object]:
        """The JSON object of the answer."""
        return {"errcode": self.errcode, "error": self.error, **self.extra}


class BadParam(MatrixError):
    """A parameter of the path or the query string has a value that cannot be meant."""

    def __init__(self, error: str) -> None:
        super().__init__(400, "M_INVALID_PARAM", error)


class MissingParam(MatrixError):
    """A parameter without which the request makes no sense is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(400, "M_MISSING_PARAM", f"Missing parameter: {name}")


class TooLarge(MatrixError):
    """The body is larger than this endpoint takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, "M_TOO_LARGE", f"The body may have at most {limit} bytes")


class RateLimited(MatrixError):
    """Too many requests of this kind from this person or address.

    Spec: client-server-api#rate-limiting
    """

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(
            429,
            "M_LIMIT_EXCEEDED",
            "Too many requests",
            {"retry_after_ms": retry_after_ms},
            {"Retry-After": str(-(-retry_after_ms // 1000))},
        )


class Unrecognized(MatrixError):
    """There is no such endpoint."""

    def __init__(self) -> None:
        super().__init__(404, "M_UNRECOGNIZED", "Unrecognized request")


class WrongMethod(MatrixError):
    """There is such an endpoint, but not with this method."""

    def __init__(self) -> None:
        super().__init__(405, "M_UNRECOGNIZED", "Unrecognized method")


class MissingToken(MatrixError):
    """The endpoint is for people who have signed in, and no access token was sent."""

    def __init__(self) -> None:
        super().__init__(401, "M_MISSING_TOKEN", "Missing access token")


class UnknownToken(MatrixError):
    """The access token is not, or no longer, a session.

    Spec: client-server-api#soft-logout
    """

    def __init__(self, *, soft_logout: bool = False) -> None:
        super().__init__(401, "M_UNKNOWN_TOKEN", "Unknown access token", {"soft_logout": soft_logout})


_BUSY_MS = 5000
_BAD_REQUEST_CONFLICTS = frozenset({"M_ROOM_IN_USE", "M_USER_IN_USE"})


def _not_recommended(fault: NotRecommended) -> MatrixError:
    """What the policy server answered, word for word.

    Spec: server-server-api#validating-policy-server-signatures
    """
    answer = fault.answer
    if answer is None or not 400 <= answer.status < 500:
        return MatrixError(403, "M_FORBIDDEN", fault.why)
    extra = {name: value for name, value in answer.body.items() if name not in ("errcode", "error")}
    return MatrixError(answer.status, answer.errcode, answer.why, extra)


def _conflict(fault: Conflict) -> MatrixError:
    status = 400 if fault.errcode in _BAD_REQUEST_CONFLICTS else 409
    return MatrixError(status, fault.errcode, fault.why)


_TABLE: dict[type[BaseException], Callable[..., MatrixError]] = {
    MatrixError: lambda fault: fault,
    Refused: lambda fault: MatrixError(403, "M_FORBIDDEN", fault.why),
    Malformed: lambda fault: MatrixError(400, "M_BAD_JSON", fault.why),
    GuestsForbidden: lambda fault: MatrixError(403, "M_GUEST_ACCESS_FORBIDDEN", fault.why),
    Suspended: lambda fault: MatrixError(403, "M_USER_SUSPENDED", fault.why),
    NoticesStay: lambda fault: MatrixError(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM", fault.why),
    InvitesBlocked: lambda fault: MatrixError(403, "M_INVITE_BLOCKED", fault.why),
    NotRecommended: _not_recommended,
    NotFound: lambda fault: MatrixError(404, fault.errcode, fault.why),
    Conflict: _conflict,
    Invalid: lambda fault: MatrixError(400, fault.errcode, fault.why),
    BadIdentifier: lambda fault: BadParam(str(fault)),
    BadJSON: lambda fault: MatrixError(400, "M_BAD_JSON", str(fault)),
    EventTooLarge: lambda fault: MatrixError(413, "M_TOO_LARGE", str(fault)),
    PasswordsBusy: lambda fault: RateLimited(_BUSY_MS),
    TooManyDelayed: lambda fault: RateLimited(fault.wait_ms),
    SentTooFast: lambda fault: RateLimited(_BUSY_MS),
    StorageUnavailable: lambda fault: MatrixError(
        503, "M_UNKNOWN", "Storage is unavailable", headers={"Retry-After": str(_BUSY_MS // 1000)}
    ),
    IncompatibleVersion: lambda fault: MatrixError(
        400, "M_INCOMPATIBLE_ROOM_VERSION", "That version of rooms is not spoken", {"room_version": fault.version}
    ),
    NoAnswer: lambda fault: MatrixError(408, "M_UNKNOWN", str(fault)),
    TooLargeElsewhere: lambda fault: MatrixError(502, "M_TOO_LARGE", str(fault)),
    PeerUnreachable: lambda fault: MatrixError(502, "M_UNKNOWN", "The other server cannot be reached"),
    RemoteFault: lambda fault: MatrixError(502, "M_UNKNOWN", f"The other server is at fault: {fault}"),
}


def find_matrix_error(fault: BaseException) -> MatrixError | None:
    """What to answer to this exception, None if it is a bug of ours."""
    for kind in type(fault).__mro__:
        answer = _TABLE.get(kind)
        if answer is not None:
            return answer(fault)
    return None
