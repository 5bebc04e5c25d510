"""What goes wrong between servers about memberships, and what of that the person at the client is told."""

from collections.abc import Sequence
from typing import Final

from federation.errors import PeerRefused, Refused, RemoteFault
from homeserver.policy import Hidden, Invalid, NotFound
from homeserver.rooms.membership import InvitesBlocked

_MISTAKES: Final = ("M_INVALID_PARAM", "M_MISSING_PARAM")
"""What a server answers to whom a request of ours makes no sense, which is no fault of the person's."""
_PERSONAL: Final = frozenset(
    {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_DEACTIVATED", "M_USER_LOCKED", "M_USER_SUSPENDED"}
)
"""What only the person's own server says, and clients act on."""


class IncompatibleVersion(Exception):
    """The room has a version that one of the servers does not speak.

    Spec: server-server-api#get_matrixfederationv1make_joinroomiduserid
    """

    def __init__(self, version: object) -> None:
        super().__init__(version)
        self.version = version if isinstance(version, str) else "1"


def explain(faults: Sequence[Exception]) -> Exception:
    """The fault that tells most, of those that came of asking one server after the other.

    A server that knows the room and refuses tells more than one that does not know it, and that more than silence.
    """
    told = [_translate(fault) for fault in faults]
    for kind in (IncompatibleVersion, Refused, Invalid, NotFound):
        found = next((fault for fault in told if isinstance(fault, kind)), None)
        if found is not None:
            return found
    return told[-1] if told else Hidden()


def _translate(fault: Exception) -> Exception:
    if not isinstance(fault, PeerRefused):
        return fault
    if fault.errcode == "M_INCOMPATIBLE_ROOM_VERSION":
        return IncompatibleVersion(fault.body.get("room_version"))
    if fault.status == 400 and fault.errcode not in _MISTAKES:
        return Invalid("M_UNKNOWN" if fault.errcode in _PERSONAL else fault.errcode, fault.why)
    if fault.status == 403:
        if fault.errcode == "M_INVITE_BLOCKED":
            return InvitesBlocked()
        return Refused("remote", fault.why or "The other server refuses")
    if fault.status == 404:
        return NotFound(fault.why or "The other server knows no such room")
    return fault


ASKING_FAULTS: Final = (RemoteFault, Refused)
"""What may come of asking another server."""
