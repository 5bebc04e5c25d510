"""A connection of a client, and the factory of a listener that makes them."""

from twisted.internet import interfaces
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web import http

from homeserver.api.connection.request import CORS, EdgeRequest, Requests

IDLE_S = 60.0
"""How long a connection may be without a complete request head."""
LINGER_S = 10.0
"""How long a sender whose body was refused is listened to, so that it can read the refusal."""

_FAULT = b'{"errcode":"M_UNKNOWN","error":"This is not an HTTP/1.1 request"}'
_NOT_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\n%sContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (CORS, len(_FAULT), _FAULT)
)


class EdgeChannel(http.HTTPChannel):
    """One connection of a client, with deadlines for a head and for a body instead of for silence."""

    requestFactory = EdgeRequest  # type: ignore[assignment]  # noqa: N815 - Twisted's name
    factory: "EdgeFactory"
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
        """Hand bytes to the network: at once where none wait before them, which saves a turn of the reactor."""
        transport = self.transport
        if isinstance(transport, Connection) and not (transport.dataBuffer or transport._tempDataBuffer):
            sent = transport.writeSomeData(data)
            if isinstance(sent, int):
                data = data[sent:]
        if data:
            transport.write(data)

    def setTimeout(self, period: float | None) -> float | None:  # noqa: N802 - Twisted's name
        """Set the deadline; the one timer of the connection looks at it when it fires."""
        previous, self.timeOut = self.timeOut, period
        if period is None:
            self._deadline = None
        else:
            self._deadline = self.factory.edge.reactor.seconds() + period
            if self._timer is None:
                self._timer = self.callLater(period, self._look_at_deadline)
            elif self._timer.getTime() > self._deadline:
                self._timer.reset(period)
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

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """A line of the head is longer than any may be."""
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802 - Twisted's name
        """What came is not HTTP; who sent it is told so in the form of all errors."""
        self.transport.write(_NOT_HTTP)
        self.loseConnection()

    def linger(self) -> None:
        """Throw away what still comes of a refused body, until the client has read the refusal and hangs up."""
        self.dataReceived = _ignore  # type: ignore[method-assign]
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.callLater(LINGER_S, self._hang_up)

    def _hang_up(self) -> None:
        self._timer = None
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

    def drop(self) -> None:
        """Break off what is still open."""
        for channel in list(self.channels):
            channel.transport.abortConnection()
