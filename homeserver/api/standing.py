"""What the standing of a session opens and closes, whatever the endpoint: guests, suspended and locked accounts.

A guest may do what is listed and nothing else; a suspended account all but what is listed; a locked one only log out.
"""

from typing import TYPE_CHECKING, Final

from homeserver.api.errors import MatrixError, UnknownToken
from homeserver.api.route import Route

if TYPE_CHECKING:
    from homeserver.accounts.sessions import Session

_V3 = "/_matrix/client/v3"
_ROOM = _V3 + "/rooms/{roomId}"
_MEDIA = "/_matrix/client/v1/media"

_DELAYED = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
_SCHEDULE = ("PUT", "/_matrix/client/unstable/org.matrix.msc4140/rooms/{roomId}/delayed_event/{eventType}/{txnId}")
DELAYS: Final = frozenset(
    {
        _SCHEDULE,
        ("GET", _DELAYED),
        ("GET", _DELAYED + "/{delayId}"),
        ("POST", _DELAYED + "/{delayId}"),
        ("POST", _DELAYED + "/{delayId}/cancel"),
        ("POST", _DELAYED + "/{delayId}/restart"),
        ("POST", _DELAYED + "/{delayId}/send"),
    }
)
"""The endpoints of delayed events, all of which are for guests too (MSC4140)."""

GUESTS_MAY: Final = frozenset(
    {
        ("GET", _ROOM + "/state"),
        ("GET", _ROOM + "/context/{eventId}"),
        ("GET", _ROOM + "/event/{eventId}"),
        ("GET", _ROOM + "/state/{eventType}"),
        ("GET", _ROOM + "/state/{eventType}/{stateKey}"),
        ("GET", _ROOM + "/messages"),
        ("GET", _ROOM + "/members"),
        ("GET", _V3 + "/sync"),
        ("GET", _V3 + "/events"),
        ("GET", _ROOM + "/initialSync"),
        ("GET", _MEDIA + "/download/{serverName}/{mediaId}"),
        ("GET", _MEDIA + "/download/{serverName}/{mediaId}/{fileName}"),
        ("GET", _MEDIA + "/thumbnail/{serverName}/{mediaId}"),
        ("POST", _V3 + "/join/{roomIdOrAlias}"),
        ("POST", _ROOM + "/join"),
        ("POST", _ROOM + "/leave"),
        ("PUT", _ROOM + "/send/{eventType}/{txnId}"),
        ("PUT", _ROOM + "/state/{eventType}"),
        ("PUT", _ROOM + "/state/{eventType}/{stateKey}"),
        ("PUT", _V3 + "/sendToDevice/{eventType}/{txnId}"),
        ("PUT", _V3 + "/profile/{userId}/displayname"),
        ("DELETE", _V3 + "/profile/{userId}/displayname"),
        ("GET", _V3 + "/devices"),
        ("GET", _V3 + "/devices/{deviceId}"),
        ("PUT", _V3 + "/devices/{deviceId}"),
        ("GET", _V3 + "/account/whoami"),
        ("POST", _V3 + "/keys/upload"),
        ("POST", _V3 + "/keys/query"),
        ("POST", _V3 + "/keys/claim"),
        *DELAYS,
        # Beyond the specification's list: what needs no session at all.
        ("GET", _V3 + "/profile/{userId}"),
        ("GET", _V3 + "/profile/{userId}/displayname"),
        ("GET", _V3 + "/profile/{userId}/avatar_url"),
        ("GET", _V3 + "/profile/{userId}/{keyName}"),
        ("GET", _V3 + "/directory/room/{roomAlias}"),
        ("GET", _V3 + "/directory/list/room/{roomId}"),
        ("GET", _V3 + "/publicRooms"),
        # And what a client needs in order to get there, and to leave.
        ("GET", _V3 + "/capabilities"),
        ("POST", _V3 + "/user/{userId}/filter"),
        ("GET", _V3 + "/user/{userId}/filter/{filterId}"),
        ("POST", _V3 + "/logout"),
        ("POST", _V3 + "/logout/all"),
    }
)
"""Spec: client-server-api#guest-access"""

SUSPENDED_MAY_NOT: Final = frozenset(
    {
        ("POST", _V3 + "/createRoom"),
        ("POST", _V3 + "/join/{roomIdOrAlias}"),
        ("POST", _ROOM + "/join"),
        ("POST", _V3 + "/knock/{roomIdOrAlias}"),
        ("POST", _ROOM + "/invite"),
        ("POST", _ROOM + "/upgrade"),
        ("PUT", _ROOM + "/send/{eventType}/{txnId}"),
        ("PUT", _ROOM + "/state/{eventType}"),
        ("PUT", _ROOM + "/state/{eventType}/{stateKey}"),
        _SCHEDULE,
        ("PUT", _ROOM + "/typing/{userId}"),
        ("PUT", _V3 + "/profile/{userId}/{keyName}"),
        ("DELETE", _V3 + "/profile/{userId}/{keyName}"),
        ("PUT", _V3 + "/profile/{userId}/displayname"),
        ("PUT", _V3 + "/profile/{userId}/avatar_url"),
        ("DELETE", _V3 + "/profile/{userId}/displayname"),
        ("DELETE", _V3 + "/profile/{userId}/avatar_url"),
    }
)
"""Spec: client-server-api#account-suspension"""

LOCKED_MAY: Final = frozenset({("POST", _V3 + "/logout"), ("POST", _V3 + "/logout/all")})
"""Spec: client-server-api#account-locking"""


def check_standing(session: "Session", route: Route) -> None:
    """Refuse a session that is not for this route.

    Raises:
        MatrixError: the token has expired, the account is locked or suspended or a guest's, or an operator is wanted.
    """
    if session.soft_logout or session.locked or session.suspended or session.kind == "guest":
        _check_impaired(session, (route.method, route.path))
    if route.auth == "admin" and not session.admin:
        raise MatrixError(403, "M_FORBIDDEN", "This is for operators")


def _check_impaired(session: "Session", door: tuple[str, str]) -> None:
    """The rare cases of `check_standing`."""
    if session.soft_logout:
        raise UnknownToken(soft_logout=True)
    if session.locked and door not in LOCKED_MAY:
        raise MatrixError(401, "M_USER_LOCKED", "This account has been locked", {"soft_logout": True})
    if session.kind == "guest" and door not in GUESTS_MAY:
        raise MatrixError(403, "M_GUEST_ACCESS_FORBIDDEN", "Guests may not do this")
    if session.suspended and door in SUSPENDED_MAY_NOT:
        raise MatrixError(403, "M_USER_SUSPENDED", "You cannot do this while your account is suspended")
