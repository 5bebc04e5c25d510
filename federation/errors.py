"""The declared ways in which the pure core says no."""

from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """A rule everybody agrees on forbids this.

    `rule` names the numbered rule of the room version's page (``"auth 4.3.1"``), so that callers and tests never
    compare prose; `why` is the reason for a log or a person.

    Spec: server-server-api#authorisation-rules
    """

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(rule, why)
        self.rule = rule
        self.why = why

    def __str__(self) -> str:
        return f"{self.rule}: {self.why}"


class Malformed(Refused):
    """The rule forbids it to everybody: an event of that type does not look like that."""


class BadIdentifier(ValueError):
    """The string is not an identifier of the wanted kind.

    Spec: appendices#identifier-grammar
    """


class BadJSON(ValueError):
    """Not strict JSON, nested too deeply, or not representable as canonical JSON.

    Spec: appendices#canonical-json
    """


class TooMuchJSON(BadJSON):
    """More values than are listened to, or nested more deeply."""


class BadKey(ValueError):
    """A key of our own (a line of the key file, a seed) that cannot be used.

    Spec: appendices#signing-details
    """


class RemoteFault(Exception):
    """Another server sent something it must not send."""


class BadEvent(RemoteFault):
    """An event that does not have the format of its room version, or is too large; it is dropped.

    Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
    """


class EventTooLarge(BadEvent):
    """The event, or its type or state key, exceeds the size that events may have.

    Spec: client-server-api#size-limits
    """


class BadSignature(RemoteFault):
    """A signature that should be there is missing, unreadable or wrong.

    Spec: appendices#checking-for-a-signature
    """


class BadServerKeys(RemoteFault):
    """A server's published keys are malformed, not its own, or not signed by themselves.

    Spec: server-server-api#publishing-keys
    """


class BadRequestAuth(RemoteFault):
    """A federation request whose `Authorization` header is malformed, meant for another server, or not signed.

    Spec: server-server-api#request-authentication
    """


class PeerUnreachable(RemoteFault):
    """Another server cannot be found or reached, does not answer in time, or is left alone for a while after that.

    Spec: server-server-api#resolving-server-names
    """


class PeerRefused(RemoteFault):
    """Another server answered a request of ours with an error; `body` is the object it sent, empty if it sent none."""

    def __init__(self, status: int, errcode: str, why: str, body: Mapping[str, Any]) -> None:
        super().__init__(status, errcode, why, body)
        self.status = status
        self.errcode = errcode
        self.why = why
        self.body = body

    def __str__(self) -> str:
        return f"{self.status} {self.errcode}: {self.why}"


class BadAnswer(RemoteFault):
    """Another server's answer is no JSON object, too large, or not of the shape it must have."""


class BadClaim(RemoteFault):
    """A role claim is malformed, not for us, not of the issuer's own people, or has run out."""


class BadRegionList(ValueError):
    """A list of regions is malformed, not signed by the federation's authority, older than ours, or expired."""
