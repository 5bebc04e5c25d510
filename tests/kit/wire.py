"""HTTP without a network: a connection of the server's own kind, fed and read in memory."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import TestCase

import msgspec
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from homeserver.api.connection import EdgeChannel, EdgeFactory


class Reply(msgspec.Struct, frozen=True):
    """What came back: the header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)

    @property
    def errcode(self) -> str:
        """The code of a Matrix error."""
        code = self.json["errcode"]
        assert isinstance(code, str)
        return code


@implementer(ITCPTransport)
class _Line(StringTransport):
    """The server's end of the wire."""

    def __init__(self, wire: "Wire", ip: str) -> None:
        super().__init__(IPv4Address("TCP", "127.0.0.1", 8008), IPv4Address("TCP", ip, 40000))
        self.wire = wire

    def write(self, data: bytes) -> None:
        super().write(data)
        self.wire.look()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        super().loseConnection()
        self.wire.end(ConnectionDone())

    def abortConnection(self) -> None:
        super().abortConnection()
        self.wire.end(ConnectionLost())

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def getTcpKeepAlive(self) -> bool:
        return False

    def loseWriteConnection(self) -> None:
        pass


class Wire:
    """A client's end of one connection: `send` bytes, wait for a `reply`."""

    def __init__(self, factory: EdgeFactory, *, ip: str = "127.0.0.1") -> None:
        self.line = _Line(self, ip)
        self.channel: EdgeChannel = factory.buildProtocol(None)
        self.open = True
        self._waiting: list[tuple[bool, Deferred[Reply]]] = []
        self.channel.makeConnection(self.line)

    @property
    def received(self) -> bytes:
        """What has come and was not taken yet."""
        received: bytes = self.line.value()
        return received

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self.open:
            self.channel.dataReceived(data)

    def reply(self, *, head: bool = False) -> Deferred[Reply]:
        """The next reply; `head` if it is that to a HEAD request."""
        waiting: Deferred[Reply] = Deferred()
        self._waiting.append((head, waiting))
        self.look()
        return waiting

    def hang_up(self) -> None:
        """Close the client's end."""
        self.end(ConnectionDone())

    def look(self) -> None:
        """Take whole replies out of what has come."""
        while self._waiting:
            head, waiting = self._waiting[0]
            found = _cut(self.received, head=head)
            if found is None:
                return
            reply, rest = found
            self.line.clear()
            StringTransport.write(self.line, rest)
            del self._waiting[0]
            waiting.callback(reply)

    def end(self, why: Exception) -> None:
        """The connection is no more."""
        if not self.open:
            return
        self.open = False
        self.line.connected = False
        if self.line.producer is not None:
            self.line.producer.stopProducing()
        self.channel.connectionLost(Failure(why))
        for _, waiting in self._waiting:
            waiting.errback(why)
        self._waiting = []


def _cut(received: bytes, *, head: bool) -> tuple[Reply, bytes] | None:
    """The first whole reply in these bytes, and what follows it."""
    top, blank, rest = received.partition(b"\r\n\r\n")
    if not blank:
        return None
    status_line, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    status = int(status_line.split(" ")[1])
    if headers.get("transfer-encoding") == "chunked":
        joined = _join(rest)
        return None if joined is None else (Reply(status, headers, joined[0]), joined[1])
    length = 0 if head else int(headers.get("content-length", 0))
    if len(rest) < length:
        return None
    return Reply(status, headers, rest[:length]), rest[length:]


def _join(rest: bytes) -> tuple[bytes, bytes] | None:
    """The chunks of a whole body, and what follows them."""
    body, at = b"", 0
    while (line_end := rest.find(b"\r\n", at)) >= 0:
        length, at = int(rest[at:line_end], 16), line_end + 2
        if len(rest) < at + length + 2:
            return None
        body, at = body + rest[at : at + length], at + length + 2
        if not length:
            return body, rest[at:]
    return None


def encode_request(method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: parta.test", *(f"{name}: {value}" for name, value in headers.items())]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def make_folder(case: TestCase) -> Path:
    """A folder that goes with the test."""
    folder = Path(tempfile.mkdtemp(prefix="parta-"))
    case.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


async def ask(factory: EdgeFactory, request: bytes, *, ip: str = "127.0.0.1") -> Reply:
    """Make one request on a connection of its own."""
    wire = Wire(factory, ip=ip)
    waiting = wire.reply(head=request.startswith(b"HEAD "))
    wire.send(request)
    reply = await waiting
    wire.hang_up()
    return reply
