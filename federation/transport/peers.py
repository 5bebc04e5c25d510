"""Requests to other servers: signed, sent to where discovery says, answered in time or not at all.

Each destination has a line: a few requests at a time, and none while it is left alone after failures. Then one request
tries whether it is there again; the others wait for what becomes of that.

Spec: server-server-api#request-authentication
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol, TypeVar, TypeVarTuple
from urllib.parse import urlencode

import msgspec
from twisted.internet.defer import CancelledError, Deferred

from federation import canonical, pieces
from federation.discovery import Places
from federation.ed25519 import SigningKey
from federation.errors import BadAnswer, BadJSON, PeerRefused, PeerUnreachable, Refused
from federation.ids import ServerName, split_server_name
from federation.requests import MAX_BODY_DEPTH, build_request_auth
from federation.transport.agent import BrokenOff, Download, Incoming, Outgoing, TooMuch, Unreachable
from federation.transport.lines import Line

MOST_BYTES: Final = 32 << 20
MOST_LINES: Final = 10_000
"""How many servers that are away are remembered."""
SMALL: Final = pieces.LARGE
"""Answers up to that size are decoded at once, larger ones by another thread, in pieces."""
MOST_ERROR_BYTES: Final = 1 << 16
LEAST_S: Final = 5.0
"""How long an answer is waited for although finding the server has taken all the time there was."""
_AWAY: Final = frozenset({502, 503, 504})
"""What a proxy answers for a server that is away."""
_REPEATABLE: Final = frozenset({"GET", "PUT"})
"""What may be sent twice: a PUT request of federation names what it brings, so that it counts once."""
_OURS: Final = "/_parta/"
"""Paths of what regions ask of each other beside Matrix; all of it may be sent twice, whatever the method."""
_log: Final = logging.getLogger(__name__)

A = TypeVar("A", Incoming, Download)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Standing(NamedTuple):
    """How a destination does that could not be reached: failures in a row, and until when it is left alone."""

    failures: int
    retry_ms: int


class Destinations(Protocol):
    """Keeps the standing of destinations over a restart."""

    async def load(self) -> Mapping[ServerName, Standing]:
        """All that are not well."""

    async def set(self, server: ServerName, standing: Standing | None) -> None:
        """Keep it, or (None) that it is well."""


class Sends(Protocol):
    """Makes requests outward."""

    async def ask(self, request: Outgoing) -> Incoming:
        """Make a request and hear the whole answer."""

    async def open(self, request: Outgoing) -> Download:
        """Make a request and hear the head of the answer."""


class Finds(Protocol):
    """Knows where servers are."""

    async def find(self, server: ServerName) -> Places:
        """Where it is."""

    def forget(self, server: ServerName) -> None:
        """It was not there."""


class Runs(Protocol):
    """Does work in some thread."""

    def __call__(self, work: Callable[[*Ts], T], /, *args: *Ts) -> Deferred[T]:
        """Fires with what it returns."""


class LargeAnswer(dict[str, Any]):
    """An answer that goes as it came, piece by piece and in a thread: freeing it at once takes longer than a turn may.

    It holds on to its `parts` for as long as somebody holds on to it.
    """

    def __init__(self, value: dict[str, Any], parts: list[object], run: Runs) -> None:
        super().__init__(value)
        self._parts = parts
        self._run = run

    def __del__(self) -> None:
        self._run(_let_go, self._parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sends: our name and key, the network, the clock, and chance as numbers from 0 to 1.

    `check` refuses a destination that this server may not talk to, `run` does work in a thread.
    """

    server: ServerName
    key: SigningKey
    outward: Sends
    discovery: Finds
    destinations: Destinations
    now_ms: Callable[[], int]
    chance: Callable[[], float]
    check: Callable[[ServerName], None]
    run: Runs


class Asks(Protocol):
    """Asks other servers, as `Peers` does: all that most who need them need."""

    async def ask(  # noqa: PLR0913 - the last four are seldom given
        self,
        destination: ServerName,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: object | None = None,
        timeout_s: float = 30,
        most_bytes: int = MOST_BYTES,
    ) -> dict[str, Any]:
        """Make a signed request; the object that was answered. Raises: as `Peers.ask`."""


class Peers:
    """The other servers, as they are asked. `on_heard(server)` is called when a request of theirs has come."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lines: dict[ServerName, Line] = {}
        self.on_heard: Callable[[ServerName], None] = lambda server: None
        self._is_stopped = False

    async def begin(self) -> None:
        """Remember who could not be reached before the restart."""
        for server, standing in (await self._sender.destinations.load()).items():
            self._line(server).remember(*standing)

    async def ask(  # noqa: PLR0913 - the last four are seldom given
        self,
        destination: ServerName,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: object | None = None,
        timeout_s: float = 30,
        most_bytes: int = MOST_BYTES,
    ) -> dict[str, Any]:
        """Make a signed request; the object that was answered.

        `path` is whole and percent-encoded. The ``[200, {...}]`` of the oldest endpoints is answered as its object.

        Raises:
            Refused: this server does not talk to that one.
            PeerUnreachable: It is not there, or is left alone because it was not.
            PeerRefused: It answered with an error.
            BadAnswer: It answered with something else than an object, or with too much.
        """
        request = self._build(destination, method, _uri(path, query), body)
        request = replace(request, most_bytes=most_bytes, within_s=timeout_s)
        return await self._read(await self._send(destination, request, self._sender.outward.ask))

    async def open(
        self,
        destination: ServerName,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        timeout_s: float = 30,
        most_bytes: int = 1 << 40,
    ) -> Download:
        """Make a signed GET request; the answer is read piece by piece, and none of it may be silent for longer.

        Raises: as `ask`.
        """
        request = self._build(destination, "GET", _uri(path, query), None)
        request = replace(request, most_bytes=most_bytes, within_s=timeout_s)
        answer = await self._send(destination, request, self._sender.outward.open)
        if 200 <= answer.status < 300:
            return answer
        try:
            raise _refusal(answer.status, await _read_some(answer))
        finally:
            answer.close()

    async def fetch(self, destination: ServerName, path: str, *, timeout_s: float, most_bytes: int) -> dict[str, Any]:
        """Make a GET request without a signature, whether or not the server is left alone; it may just have called.

        Raises: as `ask`.
        """
        self._check(destination)
        request = Outgoing(method="GET", url=path, headers={}, most_bytes=most_bytes, within_s=timeout_s)
        return await self._read(await self._carry(destination, request, self._sender.outward.ask))

    def heard_from(self, server: ServerName) -> None:
        """A request of theirs has come: they are there, and may be tried at once."""
        line = self._lines.get(server)
        if line is not None:
            line.retry_ms = 0
        self.on_heard(server)

    def stop(self) -> None:
        """End: what is broken off from now on is no failure of theirs, and not remembered as one."""
        self._is_stopped = True

    def retry_ms(self, server: ServerName) -> int:
        """Until when the server is left alone; a time that has gone by if it is not."""
        line = self._lines.get(server)
        return 0 if line is None else line.retry_ms

    @property
    def away(self) -> int:
        """How many destinations could not be reached when last tried."""
        return sum(line.failures > 0 for line in self._lines.values())

    # how a request goes

    def _check(self, destination: ServerName) -> None:
        if destination == self._sender.server:
            raise Refused("region", "this server does not ask itself")
        self._sender.check(destination)

    def _line(self, server: ServerName) -> Line:
        line = self._lines.get(server)
        if line is None:
            if len(self._lines) >= MOST_LINES:
                self._forget_some()
            line = self._lines[server] = Line()
        return line

    def _forget_some(self) -> None:
        """Forget a tenth of those that are away: whom to try again first."""
        quiet = sorted((line.retry_ms, server) for server, line in self._lines.items() if line.is_quiet)
        for _, server in quiet[: MOST_LINES // 10]:
            del self._lines[server]
            self._keep(server, None)

    def _build(self, destination: ServerName, method: str, uri: str, body: object | None) -> Outgoing:
        """The signed request. Raises: Refused; BadJSON for a body of ours that has no canonical form."""
        self._check(destination)
        if body is not None and not isinstance(body, msgspec.Raw):
            body = msgspec.Raw(canonical.encode(body, strict=False, max_depth=MAX_BODY_DEPTH))
        sender = self._sender
        headers = {"Authorization": build_request_auth(method, uri, sender.server, destination, body, sender.key)}
        if body is None:
            return Outgoing(method=method, url=uri, headers=headers)
        headers["Content-Type"] = "application/json"
        return Outgoing(method=method, url=uri, headers=headers, body=bytes(body))

    async def _send(self, destination: ServerName, request: Outgoing, go: Callable[[Outgoing], Awaitable[A]]) -> A:
        """Send in the destination's line, and note how that went."""
        line = self._line(destination)
        await line.enter(self._sender.now_ms)
        began = line.failures
        try:
            answer = await self._carry(destination, request, go)
        except PeerUnreachable:
            self._failed(destination, line, began)
            raise
        else:
            if _is_away(answer):
                self._failed(destination, line, began)
            else:
                self._worked(destination, line)
            return answer
        finally:
            line.leave()
            if line.is_idle:
                self._lines.pop(destination, None)

    async def _carry(self, destination: ServerName, request: Outgoing, go: Callable[[Outgoing], Awaitable[A]]) -> A:
        until_ms = self._sender.now_ms() + int(request.within_s * 1000)
        places = await self._sender.discovery.find(destination)
        is_repeatable = request.method in _REPEATABLE or request.url.startswith(_OURS)
        headers = {**request.headers, "Host": places.host_header, "User-Agent": "Parta"}
        left_s = max((until_ms - self._sender.now_ms()) / 1000, min(LEAST_S, request.within_s))
        request = replace(request, url=_url(places, request.url), headers=headers, to=places, within_s=left_s)
        try:
            try:
                return await go(request)
            except BrokenOff as fault:  # perhaps only because a kept connection had ended
                if not is_repeatable or _is_given_up(fault):
                    raise
            return await go(request)
        except Unreachable as fault:
            self._sender.discovery.forget(destination)
            raise PeerUnreachable(f"{destination}: {fault}") from None
        except TooMuch as fault:
            raise BadAnswer(f"{destination}: {fault}") from None

    async def _read(self, answer: Incoming) -> dict[str, Any]:
        """The object of a good answer. Raises: PeerRefused; BadAnswer."""
        if not 200 <= answer.status < 300:
            raise _refusal(answer.status, answer.body)
        run, parts = self._sender.run, list[object]()
        is_small = len(answer.body) <= SMALL
        read = _decode(answer.body, parts) if is_small else await run(_decode, answer.body, parts)
        if isinstance(read, str):
            raise BadAnswer(read)
        return read if is_small else LargeAnswer(read, parts, run)

    def _failed(self, destination: ServerName, line: Line, began: int) -> None:
        """Note a failure, once for all that began before it."""
        if line.failures != began or self._is_stopped:
            return
        line.fail(self._sender.now_ms(), self._sender.chance())
        _log.log(logging.INFO if began else logging.WARNING, "%s cannot be reached", destination)
        self._keep(destination, Standing(line.failures, line.retry_ms))

    def _worked(self, destination: ServerName, line: Line) -> None:
        if line.failures:
            line.mend()
            _log.info("%s can be reached again", destination)
            self._keep(destination, None)

    def _keep(self, destination: ServerName, standing: Standing | None) -> None:
        keeping = Deferred.fromCoroutine(_as_coroutine(self._sender.destinations.set(destination, standing)))
        keeping.addErrback(lambda failure: _log.warning("the standing of %s is not kept: %s", destination, failure))


async def _as_coroutine(keeping: Awaitable[None]) -> None:
    await keeping


def _is_away(answer: Incoming | Download) -> bool:
    """Whether a proxy says that the server behind it is away: what a server says itself, as of a file, is JSON."""
    return answer.status in _AWAY and "json" not in answer.headers.get("content-type", "").lower()


def _is_given_up(fault: BrokenOff) -> bool:
    """Whether a request ended because nobody waits for it any more."""
    return any(reason.check(CancelledError) for reason in getattr(fault.__cause__, "reasons", ()))


def _uri(path: str, query: Sequence[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _url(places: Places, uri: str) -> str:
    """The URL by whose scheme, host and port a connection is kept for the next request to those places."""
    has_port = split_server_name(places.host_header)[1] is not None
    return f"{'https' if has_port else 'matrix'}://{places.host_header}{uri}"


def _let_go(parts: list[object]) -> None:
    while parts:
        parts.pop()


def _decode(body: bytes, parts: list[object]) -> dict[str, Any] | str:
    """The object of a good answer, which `parts` together are; else what is wrong. (A fault that comes from another
    thread, or is kept there, would hold on to all that it has come through.)
    """
    try:
        return _decode_object(body, parts)
    except BadJSON as error:
        why = str(error)
    _let_go(parts)
    return why


def _decode_object(body: bytes, parts: list[object]) -> dict[str, Any]:
    value = pieces.decode(body, max_depth=MAX_BODY_DEPTH, parts=parts)
    if isinstance(value, list) and len(value) == 2 and value[0] == 200:
        value = value[1]
    if not isinstance(value, dict):
        raise BadJSON("not an object")
    return value


def _refusal(status: int, body: bytes) -> PeerRefused:
    """What the other server says of an error, as far as that can be read."""
    try:
        said = canonical.decode(body[:MOST_ERROR_BYTES])
    except BadJSON:
        said = {}
    if not isinstance(said, dict):
        said = {}
    errcode, why = said.get("errcode"), said.get("error")
    return PeerRefused(
        status, errcode if isinstance(errcode, str) else "M_UNKNOWN", why if isinstance(why, str) else "", said
    )


async def _read_some(answer: Download) -> bytes:
    """The start of a body."""
    body = b""
    try:
        while len(body) < MOST_ERROR_BYTES and (piece := await answer.read()):
            body += piece
    except (Unreachable, TooMuch):
        return b""
    return body
