"""From a request to an answer: who asks, how often, with what body; the endpoint; and what went wrong.

An endpoint that finishes without waiting is driven in one step, with no Deferred at all; one that waits is carried on
by the Deferreds it waits for. What a client that hung up had asked for is still done to its end, but whoever waits
for news within it (`Call.gone`) is told.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from homeserver.accounts.appservices.identities import Identities, Wish
from homeserver.api.access import AccessLog, Instants, Line
from homeserver.api.body import SMALL, body_decoder
from homeserver.api.connection import HUNG_UP, EdgeRequest
from homeserver.api.errors import MatrixError, MissingToken, TooLarge, UnknownToken, find_matrix_error
from homeserver.api.limits import RATES, RateLimits, address_key
from homeserver.api.metrics import Metrics, RouteCount
from homeserver.api.query import Query
from homeserver.api.route import Answer, Call, FileBody, Reply, Route, Router
from homeserver.api.signed import SignedRequests
from homeserver.api.standing import check_standing
from homeserver.logs import request_id
from homeserver.storage.faults import StorageUnavailable

if TYPE_CHECKING:
    from federation.ids import DeviceID, ServerName, UserID
    from homeserver.accounts.sessions import Session

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

_DISCARD = 65536
"""How much of a body is read for a request that no route wants, so that its connection can go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendants:
    """Who helps the edges of all listeners.

    `find_session` finds the session of an access token; `note_seen(user, device, ip)` is told of each request of one.
    `identities` finds those of application services, None where there are none.
    `access` is None when no access log is wanted. Large bodies of streaming routes are spooled to `spool_dir`.
    `signed` tells whose requests those of other servers are, None where there are no endpoints for them. `run` does
    work in a thread, where there is one.
    """

    reactor: IReactorTime
    instants: Instants
    find_session: "Callable[[str], Awaitable[Session | None]]"
    limits: RateLimits
    metrics: Metrics
    note_seen: "Callable[[UserID, DeviceID, str], None] | None" = None
    identities: Identities | None = None
    access: AccessLog | None = None
    spool_dir: Path | None = None
    signed: SignedRequests | None = None
    run: Callable[..., Awaitable[Any]] | None = None


class Bound:
    """A route made ready: its body decoder, and where it is counted."""

    __slots__ = ("counted", "decode")

    def __init__(self, route: Route, counted: RouteCount) -> None:
        self.decode = None if route.body is None else body_decoder(route.body)
        self.counted = counted


class Edge:
    """Answers the requests of one listener, which has those routes."""

    def __init__(self, routes: Iterable[Route], attendants: Attendants, *, behind_proxy: bool = False) -> None:
        routes = tuple(routes)
        self.router = Router(routes)
        self.behind_proxy = behind_proxy
        self.reactor = attendants.reactor
        self.spool_dir = attendants.spool_dir
        self.stopping = False
        self.running = 0
        self.date = attendants.instants.date_header
        self._attendants = attendants
        self._bound = {route: Bound(route, attendants.metrics.route(route)) for route in routes}
        unknown = {route.rate for route in routes} - {None, *RATES}
        if unknown:
            raise ValueError(f"no such classes of rates: {unknown}")
        self._strays = attendants.metrics.strays
        self._numbers = count(1)

    def next_request_id(self) -> str:
        """An id for a new request: unique within this process."""
        return f"{next(self._numbers):x}"

    def open(self, request: EdgeRequest, length: int | None) -> None:
        """The head of a request is there: find its route, refuse a body that is too large, admit who streams."""
        request.body_limit = _DISCARD
        if request.method != b"OPTIONS":
            try:
                request.match = self.router.match(request.method, request.path)
            except MatrixError as fault:
                request.fault = fault
            else:
                request.body_limit = request.match.route.body_limit
        if length is not None and length > request.body_limit:
            self.answer_fault(request, request.fault or TooLarge(request.body_limit))
        elif request.match is not None and request.match.route.streaming:
            self._begin_stream(request, request.match.route, length)

    def _begin_stream(self, request: EdgeRequest, route: Route, length: int | None) -> None:
        """Find a place for a body that comes as a file, and meanwhile see who sends it."""
        try:
            request.spool(length)
        except StorageUnavailable as fault:
            self.answer_fault(request, fault)
            return
        request.admission = Deferred.fromCoroutine(self._admit(request, route))
        request.admission.addErrback(self._turn_away, request)

    def _turn_away(self, failure: Failure, request: EdgeRequest) -> Failure | None:
        """Refuse a streamed body as soon as its sender is not admitted."""
        if request.complete:
            return failure
        if not request.finished:
            self.answer_fault(request, failure.value or failure)
        return None

    def serve(self, request: EdgeRequest) -> None:
        """The whole request is there: answer it, now or later."""
        if request.fault is not None:
            self.answer_fault(request, request.fault)
        elif request.match is None:
            request.answer(200, b"{}")
        else:
            self.running += 1
            context = copy_context()
            context.run(request_id.set, request.request_id)
            context.run(self._step, context, request, self._respond(request), None)

    def _step(self, context: Context, request: EdgeRequest, answering: Coroutine[Any, Any, Any], result: Any) -> None:
        """Drive an endpoint to its next wait or to its end."""
        try:
            if isinstance(result, Failure):
                waiting = result.throwExceptionIntoGenerator(answering)  # type: ignore[no-untyped-call]
            else:
                waiting = answering.send(None)
        except StopIteration as end:
            self.running -= 1
            self._answer(request, *end.value)
        except Exception as fault:  # noqa: BLE001 - the one place where a bug of ours ends, in the log
            self.running -= 1
            self.answer_fault(request, fault)
        else:
            waiting.addBoth(lambda result: context.run(self._step, context, request, answering, result))

    async def _respond(self, request: EdgeRequest) -> tuple[int, Any, Answer | None]:
        """The status, and the encoded body or open file."""
        match = request.match
        assert match is not None  # a request without a route was refused as it came
        route, bound = match.route, self._bound[match.route]
        call = Call(request, match.params() if match.names else {}, Query(request.query))
        if route.auth == "region":
            call.origin = await self._admit_server(request, route)
        else:
            call.session = await (request.admission or self._admit(request, route))
        if bound.decode is not None:
            call.raw = request.body()
            call.body = await self._decode(bound.decode, call.raw or (b"{}" if route.body_optional else b""))
        return _encode_reply(await route.handle(call))

    async def _decode(self, decode: Callable[[bytes], Any], raw: bytes) -> Any:
        run = self._attendants.run
        decoded = decode(raw) if run is None or len(raw) <= SMALL else await run(_try, decode, raw)
        if isinstance(decoded, _Undecoded):
            raise MatrixError(*decoded)
        return decoded

    async def _admit(self, request: EdgeRequest, route: Route) -> "Session | None":
        """Whose request it is, if they may make it, and now."""
        session = await self._find_session(request, route)
        if session is not None:
            request.who = session.user_id
            check_standing(session, route)
            if self._attendants.note_seen is not None and session.device_id:
                self._attendants.note_seen(session.user_id, session.device_id, request.ip)
        elif route.auth not in ("none", "optional"):
            raise MissingToken
        if route.rate is not None and (session is None or not session.unlimited):
            self._attendants.limits.check(route.rate, session.user_id if session else address_key(request.ip))
        return session

    async def _find_session(self, request: EdgeRequest, route: Route) -> "Session | None":
        """The session of the token that was sent, None without one; of an application service at every door."""
        token, identities = request.bearer(), self._attendants.identities
        if token is None:
            return None
        service = None if identities is None else identities.services.find_by_token(token)
        if identities is not None and service is not None:
            return await identities.find(service, Wish() if route.auth == "none" else _parse_wish(request.query))
        if route.auth == "none":
            return None
        session = await self._attendants.find_session(token)
        if session is None:
            raise UnknownToken
        return session

    async def _admit_server(self, request: EdgeRequest, route: Route) -> "ServerName":
        """Which server's request it is, if it may make it, and now."""
        assert self._attendants.signed is not None  # where there are routes for other servers
        origin = await self._attendants.signed.admit(request)
        request.who = origin
        if route.rate is not None:
            self._attendants.limits.check(route.rate, origin)
        return origin

    def _answer(self, request: EdgeRequest, status: int, body: Any, answer: Answer | None) -> None:
        if request.disconnected:
            request.close_content()
            self.done(request, HUNG_UP)
        elif answer is None:
            request.answer(status, body)
        elif answer.file is None and answer.flow is None:
            request.answer(status, body, answer.headers)
        else:
            request.answer_file(answer, body)

    def answer_fault(self, request: EdgeRequest, fault: BaseException) -> None:
        """Answer what went wrong."""
        error = self.note_fault(request, fault)
        self._answer(request, error.status, _encode(error.body()), Answer(headers=error.headers))

    def note_fault(self, request: EdgeRequest, fault: BaseException) -> MatrixError:
        """How Matrix says what went wrong; what is a bug of ours is logged."""
        error = find_matrix_error(fault)
        if error is None:
            number = request.request_id
            _log.error("request %s failed", number, exc_info=fault)
            error = MatrixError(500, "M_UNKNOWN", f"Internal server error (request {number})")
        return error

    def done(self, request: EdgeRequest, status: int) -> None:
        """Count and log an answered request."""
        seconds = perf_counter() - request.started
        match = request.match
        (self._strays if match is None else self._bound[match.route].counted).add(status, seconds)
        access = self._attendants.access
        if access is not None:
            access.add(
                Line(
                    self._attendants.instants.stamp(),
                    request.request_id,
                    request.ip,
                    request.who,
                    request.method.decode("latin-1"),
                    request.path.decode("latin-1"),
                    status,
                    seconds * 1000,
                )
            )


class _Undecoded(NamedTuple):
    """What is wrong with a body. (A fault from another thread and the body would hold on to each other.)"""

    status: int
    errcode: str
    error: str


def _try(decode: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return decode(raw)
    except MatrixError as fault:
        return _Undecoded(fault.status, fault.errcode, fault.error)


def _parse_wish(raw: bytes) -> Wish:
    """For whom and which device an application service asks.

    Spec: application-service-api#identity-assertion
    """
    query = Query(raw)
    device_id, proposed = query.str("device_id"), query.str("org.matrix.msc3202.device_id")
    return Wish(user_id=query.str("user_id"), device_id=device_id or proposed, is_proposed=device_id is None)


def _encode_reply(reply: Reply) -> tuple[int, bytes | BinaryIO, Answer | None]:
    """The status, the bytes or the opened file of a reply, and the answer itself where there is one."""
    if isinstance(reply, bytes):
        return 200, reply, None
    if not isinstance(reply, Answer):
        return 200, _encode(reply), None
    if reply.flow is not None:
        return reply.status, reply.flow.open(), reply
    if reply.file is not None:
        return reply.status, _open(reply.file), reply
    body = reply.body
    return reply.status, body if isinstance(body, bytes) else _encode(body), reply


def _open(part: FileBody) -> BinaryIO:
    file = part.path.open("rb")
    file.seek(part.start)
    return file
