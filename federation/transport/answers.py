"""Answers of elsewhere, as they come in: a head that is bounded, and a body that is heard whole up to a bound or read
piece by piece.

Whoever has said too much is hung up on at once: a farewell in TLS would wait for theirs, and they would go on talking.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import HEADER, STATUS, HTTP11ClientProtocol  # public nowhere else
from twisted.web.client import HTTPConnectionPool, ResponseDone, _HTTP11ClientFactory
from twisted.web.http import PotentialDataLoss

from federation.errors import RemoteFault

MOST_HEAD: Final = 1 << 16
"""How many bytes the head of an answer may have, with all that is said before it (100 Continue and the like)."""


class Unreachable(RemoteFault):
    """The other side could not be reached, or broke off."""


class BrokenOff(Unreachable):
    """The connection ended before anything was answered; of one that was kept that says little of the other side."""


class TooMuch(RemoteFault):
    """The other side said more than is listened to."""


class _BoundedHead(HTTP11ClientProtocol):
    """A connection that ends when the head of an answer does not."""

    _head = 0

    def request(self, request: Any) -> Any:
        self._head = 0
        return super().request(request)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        transport: Any = self.transport
        if self._head > MOST_HEAD or self._parser is None:  # nobody listens to that
            transport.abortConnection()
            return
        super().dataReceived(data)
        if self._parser is not None and self._parser.state in (STATUS, HEADER):
            self._head += len(data)
            if self._head > MOST_HEAD:
                transport.abortConnection()


class _Connections(_HTTP11ClientFactory):
    def buildProtocol(self, addr: object) -> HTTP11ClientProtocol:  # noqa: N802 - Twisted's name
        return _BoundedHead(self._quiescentCallback)


class Pool(HTTPConnectionPool):
    """Keeps connections for the next request, on all of which heads are bounded."""

    _factory = _Connections


class Listener(Protocol):
    """Listens to a body, up to a bound."""

    def __init__(self, most_bytes: int) -> None:
        self.heard: Deferred[bytes] = Deferred(self._hang_up)
        self._most_bytes = most_bytes
        self._body = BytesIO()  # gives what it has without copying it

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Listen, unless that is too much."""
        if self.heard.called:
            return
        self._body.write(data)
        if self._body.tell() > self._most_bytes:
            self._body.close()
            self.heard.errback(TooMuch(f"more than {self._most_bytes} bytes"))
            self._hang_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """The body is at its end, or broken off."""
        if self.heard.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.heard.callback(self._body.getvalue())
        else:
            self.heard.errback(Unreachable(f"the answer broke off: {reason.getErrorMessage()}"))

    def _hang_up(self, heard: Deferred[bytes] | None = None) -> None:
        """Listen no further."""
        transport: Any = self.transport
        if transport is not None:
            transport.stopProducing()


class Download:
    """An answer whose body is read piece by piece, no faster than it is wanted; `close` it if not read to the end.

    Header names are in lower case, of a header sent twice the first counts.
    """

    def __init__(self, status: int, headers: Mapping[str, str], pieces: "Pieces") -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces

    async def read(self) -> bytes:
        """The next piece of the body, empty after the last.

        Raises:
            Unreachable: It broke off, or nothing came for a while.
            TooMuch: It is longer than is listened to.
        """
        return await self._pieces.next()

    async def read_all(self) -> bytes:
        """All that was not read yet.

        Raises: as `read`.
        """
        body = bytearray()
        while piece := await self.read():
            body += piece
        return bytes(body)

    def close(self) -> None:
        """Listen no further."""
        self._pieces.hang_up()


class Pieces(Protocol):
    """Holds back a body until it is asked for: at most one piece waits while nobody reads."""

    def __init__(self, reactor: Any, most_bytes: int, patience_s: float) -> None:
        self._reactor = reactor
        self._left = most_bytes
        self._patience_s = patience_s
        self._waiting = bytearray()
        self._reader: Deferred[None] | None = None
        self._ended: Exception | bool = False
        self._timer: Any = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Wait until somebody reads."""
        self._flow("pauseProducing")

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Hold a piece for who reads."""
        self._left -= len(data)
        if self._left < 0:
            self._end(TooMuch("more than is listened to"))
            self.hang_up()
            return
        self._waiting += data
        self._flow("pauseProducing")
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """The body is at its end, or broken off."""
        whole = reason.check(ResponseDone, PotentialDataLoss) is not None
        self._end(True if whole else Unreachable(f"the answer broke off: {reason.getErrorMessage()}"))

    async def next(self) -> bytes:
        """What has come, or comes next."""
        if not self._waiting and self._ended is False:
            self._reader = Deferred()
            self._timer = self._reactor.callLater(self._patience_s, self._give_up)
            self._flow("resumeProducing")
            await self._reader
        if isinstance(self._ended, Exception):
            raise self._ended
        piece, self._waiting = bytes(self._waiting), bytearray()
        return piece

    def hang_up(self) -> None:
        """Let go of the connection."""
        self._end(Unreachable("no longer listened to"))
        transport: Any = self.transport
        if transport is not None:
            transport.stopProducing()

    def _give_up(self) -> None:
        self._end(Unreachable(f"nothing more came within {self._patience_s} s"))
        self.hang_up()

    def _end(self, how: Exception | bool) -> None:
        if self._ended is False:
            self._ended = how
        self._wake()

    def _wake(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    def _flow(self, what: str) -> None:
        """Pause or resume what comes; a body that is there whole has nothing to pause."""
        transport: Any = self.transport
        if transport is not None and self._ended is False:
            getattr(transport, what)()
