"""A request on a connection, from its head to its answer."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import TYPE_CHECKING, BinaryIO, Protocol

from twisted.internet import interfaces
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web import http

from homeserver.api.connection.pump import FilePump, FlowPump
from homeserver.api.errors import MatrixError, TooLarge
from homeserver.api.route import Answer, Match
from homeserver.storage.faults import StorageUnavailable

if TYPE_CHECKING:
    from homeserver.accounts.sessions import Session
    from homeserver.api.connection.channel import EdgeChannel

BODY_GRACE_S = 30.0
SLOWEST_BODY = 4096
"""Bytes a second that a body must arrive with, after the grace."""

_IN_MEMORY = 65536
_AT_ONCE = 1 << 20
"""How large an answer is written in one go; a larger one goes out as fast as it is taken."""
CORS = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization, If-Match, If-None-Match\r\n"
)
"""Spec: client-server-api#web-browser-clients"""

_FOR_BROWSERS = (b"/_matrix/", b"/.well-known/matrix/", b"/_synapse/", b"/_parta/")


class Requests(Protocol):
    """What a connection needs of the edge."""

    reactor: interfaces.IReactorTime
    behind_proxy: bool
    stopping: bool
    spool_dir: Path | None
    running: int

    def open(self, request: "EdgeRequest", length: int | None) -> None:
        """The head of a request is there; its body, if any, is about to come."""

    def serve(self, request: "EdgeRequest") -> None:
        """The whole request is there."""

    def answer_fault(self, request: "EdgeRequest", fault: BaseException) -> None:
        """Answer what went wrong."""

    def note_fault(self, request: "EdgeRequest", fault: BaseException) -> MatrixError:
        """Something went wrong in the middle of an answer."""

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
        lines += CORS
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
        self._pump: FilePump | None = None

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
        """Keep the body as a file: in memory when small, else on disk.

        Raises:
            StorageUnavailable: there is no place for it.
        """
        if length is not None and length <= _IN_MEMORY:
            self.content = BytesIO()
            return
        try:
            self.content = TemporaryFile(dir=self.edge.spool_dir)  # noqa: SIM115 - closed with the request
        except OSError as fault:
            raise StorageUnavailable(str(fault)) from None

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Some of the body is there."""
        if self.finished:
            return
        self.size += len(data)
        if self.size > self.body_limit:
            self.edge.answer_fault(self, TooLarge(self.body_limit))
        elif self.content is None:
            self.chunks.append(data)
        else:
            try:
                self.content.write(data)
            except OSError as fault:
                self.edge.answer_fault(self, StorageUnavailable(str(fault)))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        """The whole request is there."""
        self.complete = True
        if self.finished:
            self.channel.loseConnection()
            return
        if self.content is not None:
            try:
                self.content.seek(0)  # writes what is not on the disk yet
            except OSError as fault:
                self.edge.answer_fault(self, StorageUnavailable(str(fault)))
                return
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
            with suppress(OSError):  # what cannot be written is not wanted any more
                content.close()
        if self._pump is not None:
            self._pump.stopProducing()
        self.hurry()

    def close_content(self) -> None:
        """Let go of the body of a request whose client has hung up."""
        if self.content is not None:
            with suppress(OSError):
                self.content.close()

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Write a whole answer and be done."""
        head = self._answer_head(status, headers, len(body))
        if len(body) <= _AT_ONCE or self.method == b"HEAD":
            self.channel.send(head if self.method == b"HEAD" else head + body)
            self._answered(status)
            return
        self.code = status
        self.channel.send(head)
        self._pump = FilePump(self, BytesIO(body), len(body))
        self._pump.start()

    def answer_file(self, answer: Answer, file: BinaryIO) -> None:
        """Write an answer whose body is that open file while it grows, or a part of it, as fast as it is taken."""
        part = answer.file
        if answer.flow is not None:
            self.code = answer.status
            self.channel.send(self._answer_head(answer.status, answer.headers, None))
            self._pump = FlowPump(self, file, answer.flow)
            self._pump.start()
            return
        length, before, after = (part.length, part.before, part.after) if part else (0, b"", b"")
        head = self._answer_head(answer.status, answer.headers, len(before) + length + len(after))
        self.channel.send(head if self.method == b"HEAD" else head + before)
        if self.method == b"HEAD":
            file.close()
            self._answered(answer.status)
        else:
            self.code = answer.status
            self._pump = FilePump(self, file, length, after)
            self._pump.start()

    def _answer_head(self, status: int, headers: Mapping[str, str] | None, length: int | None) -> bytes:
        """The head of an answer of so many bytes, or in chunks."""
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
        if length is None:
            return b"%s%sTransfer-Encoding: chunked\r\n\r\n" % (head, edge.date())
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
