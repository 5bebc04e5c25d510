"""Requests of other servers: who has signed them, and whether we have to do with them at all.

Spec: server-server-api#request-authentication
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from federation import pieces
from federation.ed25519 import VerifyKey
from federation.errors import BadJSON, BadRequestAuth, Refused
from federation.ids import ServerName
from federation.requests import MAX_BODY_DEPTH, XMatrix, check_request, parse_request_auth
from homeserver.api.body import MOST_VALUES, SMALL
from homeserver.api.errors import MatrixError

if TYPE_CHECKING:
    from homeserver.api.connection import EdgeRequest

MOST_SIGNATURES: Final = 4
"""With how many keys a request may be signed."""


class Unauthorized(MatrixError):
    """The request is not signed by the server that it says it is from, or not meant for us.

    Spec: server-server-api#request-authentication
    """

    def __init__(self, error: str) -> None:
        super().__init__(401, "M_UNAUTHORIZED", error)


class Foreign(MatrixError):
    """We have nothing to do with that server; why is nobody's business."""

    def __init__(self) -> None:
        super().__init__(403, "M_FORBIDDEN", "This server does not federate with yours")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequests:
    """Tells whose request it is.

    `check` refuses a server that we have nothing to do with, `find_key` finds the key that it may sign requests with
    now, `note_heard` is told of each server that a good request came from. `run` does work in a thread, where there is
    one.
    """

    server: ServerName
    check: Callable[[ServerName], None]
    find_key: Callable[[ServerName, str], Awaitable[VerifyKey | None]]
    note_heard: Callable[[ServerName], None]
    run: Callable[..., Awaitable[Any]] | None = None

    async def admit(self, request: "EdgeRequest") -> ServerName:
        """The server that has signed the request.

        Raises: Unauthorized; Foreign.
        Spec: server-server-api#request-authentication
        """
        claims = self._read(request)
        origin = claims[0].origin
        if origin == self.server or any(claim.origin != origin for claim in claims):
            raise Unauthorized("Not a request of another server")
        try:
            self.check(origin)
            found = [(claim, await self.find_key(origin, claim.key_id)) for claim in claims]
        except Refused:
            raise Foreign from None
        known = [(claim, key) for claim, key in found if key is not None]
        if not known:
            raise Unauthorized("Not signed with a key that your server publishes")
        body = request.body()
        for claim, key in known:
            check = partial(self._find_fault, claim, key, request, body)
            fault = check() if self.run is None or len(body) <= SMALL else await self.run(check)
            if fault is not None:
                raise Unauthorized(f"Not signed: {fault}")
        self.note_heard(origin)
        return origin

    def _read(self, request: "EdgeRequest") -> list[XMatrix]:
        """What the headers claim."""
        values = request.requestHeaders.getRawHeaders(b"Authorization") or []
        if not 0 < len(values) <= MOST_SIGNATURES:
            raise Unauthorized("Not signed, or too often")
        try:
            claims = [parse_request_auth(value.decode("latin-1")) for value in values]
        except BadRequestAuth as fault:
            raise Unauthorized(f"Not signed: {fault}") from None
        if any(claim.destination not in (None, self.server) for claim in claims):
            raise Unauthorized("Meant for another server")
        return claims

    def _find_fault(self, claim: XMatrix, key: VerifyKey, request: "EdgeRequest", body: bytes) -> str | None:
        """What is wrong with one signature. (A fault from another thread and the body would hold on to each other.)"""
        try:
            self._check(claim, key, request, body)
        except BadRequestAuth as fault:
            return str(fault)
        return None

    def _check(self, claim: XMatrix, key: VerifyKey, request: "EdgeRequest", body: bytes) -> None:
        """Check one signature: over the body as it came, which most send in its canonical form, or else in that form.

        Raises: BadRequestAuth.
        """
        method, uri = request.method.decode("latin-1"), request.uri.decode("latin-1")

        def check(content: msgspec.Raw | None) -> None:
            check_request(claim, key, method=method, uri=uri, server=self.server, content=content)

        if not body:
            check(None)
            return
        try:
            check(msgspec.Raw(body))
        except BadRequestAuth:
            try:
                content = pieces.decode(body, max_depth=MAX_BODY_DEPTH, most_values=MOST_VALUES)
                canonical = pieces.encode(content, max_depth=MAX_BODY_DEPTH)
            except BadJSON as fault:
                raise BadRequestAuth(str(fault)) from None
            check(msgspec.Raw(canonical))
