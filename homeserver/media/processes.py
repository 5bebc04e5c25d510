"""Processes that read what strangers wrote, in place of the server: started for one piece of work each."""

import sys
from collections.abc import Sequence
from typing import Final

from twisted.internet import defer, error, protocol
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.python.failure import Failure

TIME_LIMIT_S: Final = 30
ANSWER_BYTES: Final = 1 << 16


class _Waiter(protocol.ProcessProtocol):
    """Hands a process its input and keeps what it prints; one that is ended by a limit has said nothing."""

    def __init__(self, given: bytes) -> None:
        self.done: defer.Deferred[bytes | None] = defer.Deferred()
        self.timer: IDelayedCall | None = None
        self._given = given
        self._printed = bytearray()

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        assert self.transport is not None
        self.transport.write(self._given)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._printed += data[: ANSWER_BYTES - len(self._printed)]

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.done.callback(bytes(self._printed) if isinstance(reason.value, error.ProcessDone) else None)


class Processes:
    """Runs modules of this package, each as a process with an empty environment."""

    def __init__(self, reactor: IReactorProcess, clock: IReactorTime) -> None:
        self._reactor = reactor
        self._clock = clock

    def run(self, module: str, words: Sequence[str], given: bytes = b"") -> defer.Deferred[bytes | None]:
        """Run a module on some words and input; what it prints, None when it came to a bad end or took too long."""
        waiter = _Waiter(given)
        command = [sys.executable, "-I", "-m", f"homeserver.media.{module}", *words]
        process = self._reactor.spawnProcess(waiter, sys.executable, command, env={})
        waiter.timer = self._clock.callLater(TIME_LIMIT_S, _end, process)
        return waiter.done


def _end(process: object) -> None:
    process.signalProcess("KILL")  # type: ignore[attr-defined]  # Twisted's transport of a process
