"""The HTTP connection: requests in, answers out, with as little between as HTTP/1.1 allows.

Twisted's channel does the protocol (lines, transfer codings, pipelining, back-pressure); this module gives it deadlines
that a slow sender cannot stretch, looks a request up as soon as its headers are there, and writes an answer in one
piece. What is answered is decided in `edge`.
"""

from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import TYPE_CHECKING, BinaryIO, Protocol

from twisted.internet import interfaces
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.python.failure import Failure
from twisted.web import http
from zope.interface import implementer

from homeserver.api.errors import MatrixError, TooLarge
from homeserver.api.route import Answer, Match

if TYPE_CHECKING:
    from homeserver.accounts.sessions import Session

IDLE_S = 60.0
"""How long a connection may be without a complete request head."""
BODY_GRACE_S = 30.0
SLOWEST_BODY = 4096
"""Bytes a second that a body must arrive with, after the grace."""
LINGER_S = 10.0
"""How long a sender whose body was refused is listened to, so that it can read the refusal."""

HUNG_UP = 499
"""What is counted and logged as the status when the client did not wait for the answer."""

_IN_MEMORY = 65536
_PIECE = 65536
_CORS = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization\r\n"
)
_FOR_BROWSERS = (b"/_matrix/", b"/.well-known/matrix/", b"/_synapse/", b"/_parta/")


class Requests(Protocol):
    """What a connection needs of the edge."""

    reactor: interfaces.IReactorTime
    behind_proxy: bool
    stopping: bool
    spool_dir: Path | None

    def open(self, request: "EdgeRequest", length: int | None) -> None:
        """The head of a request is there; its body, if any, is about to come."""

    def serve(self, request: "EdgeRequest") -> None:
        """The whole request is there."""

    def answer_fault(self, request: "EdgeRequest", fault: BaseException) -> None:
        """Answer what went wrong."""

    def done(self, request: "EdgeRequest", status: int) -> None:
        """The answer is written, or nobody is there to read it."""

    def next_request_id(self) -> str:
        """An id for a new request."""

    def date(self) -> bytes:
        """The Date header."""


@cache
def _head(status: int, cors: bool, json: bool) -> bytes:
    """The unchanging start of an answer."""
    lines = b"HTTP/1.1 %d %s\r\n" % (status, http.RESPONSES.get(status, b"Unknown"))
    if cors:
        lines += _CORS
    if json:
        lines += b"Content-Type: application/json\r\nCache-Control: no-store\r\n"
    return lines + b"X-Content-Type-Options: nosniff\r\n"


def _header_lines(headers: Mapping[str, str]) -> bytes:
    """Further header lines; a line break in a value ends nothing but the value."""
    lines = (f"{name}: {' '.join(value.splitlines())}\r\n" for name, value in headers.items())
    return "".join(lines).encode("utf-8")


class EdgeRequest(http.Request):
    """One request on one connection."""

    channel: "EdgeChannel"
    match: Match | None = None
    fault: MatrixError | None = None
    admission: "Deferred[Session | None] | None" = None
    body_limit = 0
    size = 0
    complete = False
    request_id = "-"
    query = b""
    who = "-"

    def __init__(self, channel: "EdgeChannel", queued: object = 0) -> None:
        super().__init__(channel)
        self.edge = channel.factory.edge
        self.chunks: list[bytes] = []
        self.content: BinaryIO | None = None
        self._gone: Deferred[None] | None = None

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """The head is there: look the request up before anything of the body is kept."""
        self.started = perf_counter()
        channel = self.channel
        self.method, self.uri, self.clientproto = channel._command, channel._path, channel._version
        self.path, _, self.query = self.uri.partition(b"?")
        self.request_id = self.edge.next_request_id()
        self.ip = self._forwarded_for() if self.edge.behind_proxy else channel.ip
        self.edge.open(self, length)
        if length != 0 and not self.finished:
            channel.setTimeout(BODY_GRACE_S + (self.body_limit if length is None else length) / SLOWEST_BODY)

    def _forwarded_for(self) -> str:
        values = self.requestHeaders.getRawHeaders(b"X-Forwarded-For")
        return values[-1].rpartition(b",")[2].strip().decode("latin-1") if values else self.channel.ip

    def spool(self, length: int | None) -> None:
        """Keep the body as a file: in memory when small, else on disk."""
        small = length is not None and length <= _IN_MEMORY
        self.content = BytesIO() if small else TemporaryFile(dir=self.edge.spool_dir)  # noqa: SIM115 - closed with the request

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Some of the body is there."""
        self.size += len(data)
        if self.size > self.body_limit:
            if not self.finished:
                self.refuse(TooLarge(self.body_limit))
        elif self.content is None:
            self.chunks.append(data)
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        """The whole request is there."""
        self.complete = True
        if self.finished:
            self.channel.loseConnection()
            return
        if self.content is not None:
            self.content.seek(0)
        self.edge.serve(self)

    def body(self) -> bytes:
        """The body of a request that does not stream."""
        chunks = self.chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def bearer(self) -> str | None:
        """The access token of the Authorization header; there is no other place for it.

        Spec: client-server-api#using-access-tokens
        """
        values = self.requestHeaders.getRawHeaders(b"Authorization")
        if not values:
            return None
        scheme, _, token = values[0].partition(b" ")
        return token.strip().decode("latin-1") if scheme.lower() == b"bearer" and token else None

    def gone(self) -> Deferred[None]:
        """See `Call.gone`."""
        if self._gone is None:
            self._gone = Deferred()
            if self._disconnected or self.edge.stopping:
                self._gone.callback(None)
        return self._gone

    def hurry(self) -> None:
        """Tell who waits within this request to come to an end."""
        if self._gone is not None and not self._gone.called:
            self._gone.callback(None)

    @property
    def disconnected(self) -> bool:
        """Nobody is there to read an answer."""
        return self._disconnected

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """The client has hung up; what is being done for it goes on, what waits is told."""
        content, self.content = self.content, None
        super().connectionLost(reason)
        if self.complete:
            self.content = content
        elif content is not None:
            content.close()
        self.hurry()

    def close_content(self) -> None:
        """Let go of the body of a request whose client has hung up."""
        if self.content is not None:
            self.content.close()

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Write a whole answer and be done."""
        head = self._answer_head(status, headers, len(body))
        self.channel.send(head if self.method == b"HEAD" else head + body)
        self._answered(status)

    def answer_file(self, answer: Answer, file: BinaryIO) -> None:
        """Write an answer whose body is a part of that open file, as fast as it is taken."""
        part = answer.file
        length = part.length if part else 0
        self.channel.send(self._answer_head(answer.status, answer.headers, length))
        if self.method == b"HEAD":
            file.close()
            self._answered(answer.status)
        else:
            self.code = answer.status
            FilePump(self, file, length).start()

    def _answer_head(self, status: int, headers: Mapping[str, str] | None, length: int) -> bytes:
        edge = self.edge
        cors = self.path.startswith(_FOR_BROWSERS)
        if headers:
            head = _head(status, cors, "Content-Type" not in headers) + _header_lines(headers)
        else:
            head = _head(status, cors, True)
        if edge.stopping or not self.complete:
            self.channel.persistent = False
        if not self.channel.persistent:
            head += b"Connection: close\r\n"
        return b"%s%sContent-Length: %d\r\n\r\n" % (head, edge.date(), length)

    def _answered(self, status: int) -> None:
        self.code = status
        self.startedWriting = 1
        self.edge.done(self, status)
        if self.complete:
            self.finish()
        else:
            self.finished = 1
            self.channel.linger()

    def refuse(self, fault: MatrixError) -> None:
        """Answer before the body is there, and do not want the rest of it."""
        self.edge.answer_fault(self, fault)


@implementer(interfaces.IPushProducer)
class FilePump:
    """Moves a part of a file to the client, a piece at a time, never more than the connection takes."""

    def __init__(self, request: EdgeRequest, file: BinaryIO, length: int) -> None:
        self._request = request
        self._file = file
        self._left = length
        self._running = False
        self._paused = False

    def start(self) -> None:
        """Begin."""
        self._request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Write until the connection is full or the part is at its end."""
        self._paused = False
        if self._running:
            return
        self._running = True
        while self._left and not self._paused and not self._file.closed:
            piece = self._file.read(min(_PIECE, self._left))
            if not piece:
                self._cut_off()
                return
            self._left -= len(piece)
            self._request.channel.setTimeout(IDLE_S)
            self._request.channel.transport.write(piece)
        self._running = False
        if not self._left:
            self._end()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is full."""
        self._paused = True

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The client has hung up."""
        self._left = -1
        self._file.close()
        self._request.edge.done(self._request, HUNG_UP)

    def _end(self) -> None:
        self._file.close()
        self._request.unregisterProducer()
        self._request.channel.setTimeout(None)
        self._request._answered(self._request.code)

    def _cut_off(self) -> None:
        """The file is shorter than was promised: only breaking off says so."""
        self._file.close()
        self._request.unregisterProducer()
        self._request.channel.transport.abortConnection()


class EdgeChannel(http.HTTPChannel):
    """One connection of a client, with deadlines for a head and for a body instead of for silence."""

    requestFactory = EdgeRequest  # type: ignore[assignment]  # noqa: N815 - Twisted's name
    factory: "EdgeFactory"  # type: ignore[assignment]
    timeOut: float | None = IDLE_S  # type: ignore[assignment]  # noqa: N815 - Twisted's name
    transport: ITCPTransport
    ip = "-"
    _deadline: float | None = None
    _timer: interfaces.IDelayedCall | None = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Somebody has connected."""
        self._peer = self.transport.getPeer()
        self._host = self.transport.getHost()
        self.ip = getattr(self._peer, "host", "-")
        self.callLater = self.factory.edge.reactor.callLater  # type: ignore[assignment, method-assign]
        self.factory.channels.add(self)
        super().connectionMade()

    def getPeer(self) -> interfaces.IAddress:  # noqa: N802 - Twisted's name
        """Who has connected."""
        return self._peer

    def getHost(self) -> interfaces.IAddress:  # noqa: N802 - Twisted's name
        """Where it has connected to."""
        return self._host

    def send(self, data: bytes) -> None:
        """Hand bytes to the network."""
        self.transport.write(data)

    def setTimeout(self, period: float | None) -> float | None:  # noqa: N802 - Twisted's name
        """Set the deadline; the one timer of the connection looks at it when it fires."""
        previous, self.timeOut = self.timeOut, period
        if period is None:
            self._deadline = None
        else:
            self._deadline = self.factory.edge.reactor.seconds() + period
            if self._timer is None:
                self._timer = self.callLater(period, self._look_at_deadline)
        return previous

    def resetTimeout(self) -> None:  # noqa: N802 - Twisted's name
        """Receiving something moves no deadline: whoever drips bytes gains nothing."""

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self.factory.edge.reactor.seconds()
        if left > 0:
            self._timer = self.callLater(left, self._look_at_deadline)
        else:
            self.timeoutConnection()

    def allHeadersReceived(self) -> None:  # noqa: N802 - Twisted's name
        """Skip the cookies, which nothing here reads."""
        request = self.requests[-1]
        self.persistent = self.checkPersistence(request, self._version)
        request.gotLength(self.length)
        if not request.finished and request.requestHeaders.hasHeader(b"Expect"):
            self._send100Continue()

    def requestDone(self, request: http.Request) -> None:  # noqa: N802 - Twisted's name
        """Be ready for the next request."""
        self._savedTimeOut = IDLE_S
        super().requestDone(request)

    def linger(self) -> None:
        """Throw away what still comes of a refused body, until the client has read the refusal and hangs up."""
        self.dataReceived = _ignore  # type: ignore[method-assign]
        self._deadline = None
        self.callLater(LINGER_S, self._hang_up)

    def _hang_up(self) -> None:
        if self in self.factory.channels:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """The connection is no more."""
        self.factory.channels.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connectionLost(reason)


def _ignore(data: bytes) -> None:
    """A refused body goes nowhere."""


class EdgeFactory(ServerFactory[EdgeChannel]):
    """Makes the connections of one listener and knows those that are open."""

    noisy = False

    def __init__(self, edge: Requests) -> None:
        self.edge = edge
        self.channels: set[EdgeChannel] = set()

    def buildProtocol(self, addr: interfaces.IAddress | None) -> EdgeChannel:  # noqa: N802 - Twisted's name
        """A connection from there."""
        channel = EdgeChannel()
        channel.factory = self
        return channel

    def log(self, request: http.Request) -> None:
        """The edge writes the access log."""

    def hurry(self) -> None:
        """Let idle connections go, and make those that wait come to an end."""
        for channel in list(self.channels):
            if not channel.requests:
                channel.loseConnection()
            for request in list(channel.requests):
                request.hurry()
