"""Sending a part of a file over a connection, or a file that is still being written, with back-pressure."""

from typing import TYPE_CHECKING, BinaryIO

from twisted.internet import interfaces
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from homeserver.api.connection.request import EdgeRequest
    from homeserver.api.route import Flow

STALLED_S = 60.0
"""How long a receiver may take nothing."""
HUNG_UP = 499
"""What is counted and logged as the status when the client did not wait for the whole answer."""
BROKEN_OFF = 502
"""What is counted and logged as the status when an answer could not be sent to its end."""

_PIECE = 65536


@implementer(interfaces.IPushProducer)
class FilePump:
    """Moves a part of a file to the client, a piece at a time, never more than the connection takes; then `after`."""

    def __init__(self, request: "EdgeRequest", file: BinaryIO, length: int, after: bytes = b"") -> None:
        self._after = after
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
        if self._running or self._file.closed:
            return
        self._running = True
        while self._left and not self._paused and not self._file.closed:
            piece = self._file.read(min(_PIECE, self._left))
            if not piece:
                self._cut_off()
                return
            self._left -= len(piece)
            self._request.channel.setTimeout(STALLED_S)
            self._write(piece)
        self._running = False
        if not self._left and not self._file.closed:
            self._end()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is full."""
        self._paused = True

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The client has hung up; this may be told twice."""
        if not self._file.closed:
            self._file.close()
            self._request.edge.done(self._request, HUNG_UP)

    def _write(self, piece: bytes) -> None:
        self._request.channel.transport.write(piece)

    def _end(self) -> None:
        self._file.close()
        if self._after:
            self._request.channel.transport.write(self._after)
        self._request.unregisterProducer()
        self._request.channel.setTimeout(None)
        self._request._answered(self._request.code)

    def _cut_off(self) -> None:
        """The file is shorter than was promised: only breaking off says so."""
        self._file.close()
        self._request.edge.done(self._request, BROKEN_OFF)
        self._request.unregisterProducer()
        self._request.channel.transport.abortConnection()


class FlowPump(FilePump):
    """Moves a file that is still being written, in chunks, and waits where there is no more of it yet.

    Without the last chunk, which is sent when the file is whole, the client knows that it is not.
    """

    def __init__(self, request: "EdgeRequest", file: BinaryIO, flow: "Flow") -> None:
        super().__init__(request, file, 0, b"0\r\n\r\n")
        self._flow = flow
        self._sent = 0

    def _write(self, piece: bytes) -> None:
        self._sent += len(piece)
        super()._write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def _end(self) -> None:
        """All that is there has been sent: wait for more."""
        self._running = True
        self._request.channel.setTimeout(None)  # nobody but the source is waited for
        Deferred.fromCoroutine(self._flow.more(self._sent)).addCallbacks(self._go_on, self._break_off)

    def _go_on(self, have: int) -> None:
        self._running = False
        self._left = have - self._sent
        if self._file.closed:
            return
        if not self._left:
            super()._end()
            return
        self._request.channel.setTimeout(STALLED_S)
        if not self._paused:
            self.resumeProducing()

    def _break_off(self, failure: Failure) -> None:
        if self._file.closed:
            return
        self._request.edge.note_fault(self._request, failure.value or failure)
        self._cut_off()
