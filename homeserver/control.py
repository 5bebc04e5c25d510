"""The operator's way into a running server: a socket in the data directory that only its owner may open.

One line of JSON goes in, a `commands.Request`, and one comes back, its `commands.Outcome`.
"""

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

from homeserver.commands import Outcome, Request

SOCKET: Final = "control"
PATIENCE_S: Final = 600.0
_LONGEST: Final = 64 << 20
"""How many bytes a request may have, files included."""

Run = Callable[[Request], Awaitable[Outcome]]


class _Counter(LineOnlyReceiver):
    """The server's side of one command."""

    delimiter = b"\n"
    MAX_LENGTH = _LONGEST

    def __init__(self, run: Run) -> None:
        self._run = run

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """The whole request is there."""
        Deferred.fromCoroutine(self._answer(line))

    async def _answer(self, line: bytes) -> None:
        try:
            outcome = await self._run(msgspec.json.decode(line, type=Request))
        except msgspec.DecodeError as fault:
            outcome = Outcome(lines=[], failure=f"not a request: {fault}")
        transport = self.transport
        if transport is not None:
            transport.write(msgspec.json.encode(outcome) + b"\n")
            transport.loseConnection()


class _Counters(Factory):
    noisy = False

    def __init__(self, run: Run) -> None:
        self._run = run

    def buildProtocol(self, addr: Any) -> _Counter:  # noqa: N802 - Twisted's name
        """A command comes in."""
        return _Counter(self._run)


def open_control(data_dir: Path, run: Run, reactor: Any) -> IListeningPort | None:
    """Take commands; None where the path is too long for a socket, or the socket is taken."""
    path = data_dir / SOCKET
    try:
        port: IListeningPort = reactor.listenUNIX(str(path), _Counters(run), mode=0o600, wantPID=True)
    except (CannotListenError, OSError):
        return None
    return port


def ask(data_dir: Path, request: Request) -> Outcome | None:
    """Let the server that runs on that data directory do it; None if none does.

    Raises:
        OSError: it broke off.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(str(data_dir / SOCKET))
        except OSError:
            return None
        line.settimeout(PATIENCE_S)
        line.sendall(msgspec.json.encode(request) + b"\n")
        answer = b""
        while piece := line.recv(65536):
            answer += piece
    if not answer:
        raise ConnectionError("the running server did not answer")
    return msgspec.json.decode(answer, type=Outcome)
