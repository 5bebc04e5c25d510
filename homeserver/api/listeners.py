"""The ports that are answered on: opening them, TLS, and closing them without cutting anybody short."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime

from config.settings import Listener
from homeserver.api.connection import EdgeFactory

BACKLOG = 1024
_LOOK_S = 0.02


class CannotListen(Exception):
    """A port cannot be answered on; the message is one line for the operator."""


@dataclass(slots=True, kw_only=True)
class Door:
    """One listener of the configuration, its factory, and its open ports: one for each address it is bound to."""

    listener: Listener
    factory: EdgeFactory
    ports: list[IListeningPort] = field(default_factory=list)

    def places(self) -> list[str]:
        """Where it is open: addresses with ports."""
        hosts: list[Any] = [port.getHost() for port in self.ports]
        return [f"{host.host}:{host.port}" for host in hosts]

    def shut(self) -> Deferred[Any]:
        """Accept nobody any more; when that is done the ports are free."""
        ports, self.ports = self.ports, []
        return gatherResults([maybeDeferred(port.stopListening) for port in ports])

    def is_quiet(self) -> bool:
        """No request is being answered."""
        return not self.factory.edge.running and not any(channel.requests for channel in self.factory.channels)


def open_doors(doors: Sequence[Door], reactor: IReactorTCP) -> None:
    """Start to answer, on all of them.

    Raises:
        CannotListen: a port is taken or not ours to take, or a certificate cannot be used. No port stays open.
    """
    try:
        for door in doors:
            for address in door.listener.bind:
                door.ports.append(_listen(door, address, reactor))
    except CannotListen:
        for door in doors:
            door.shut()
        raise


def _listen(door: Door, address: str, reactor: IReactorTCP) -> IListeningPort:
    number, factory = door.listener.port, door.factory
    try:
        if door.listener.tls is None:
            return reactor.listenTCP(number, factory, BACKLOG, address)  # type: ignore[arg-type]
        from homeserver.api.credentials import secure

        secured = secure(factory, door.listener.tls)
        return reactor.listenTCP(number, secured, BACKLOG, address)  # type: ignore[arg-type]
    except CannotListenError as fault:
        raise CannotListen(f"cannot listen on {address} port {number}: {fault.socketError}") from None
    except (OSError, ValueError) as fault:
        raise CannotListen(f"cannot use the certificate for port {number}: {fault}") from None


async def close_doors(doors: Sequence[Door], reactor: IReactorTime, patience_s: float) -> None:
    """Accept nobody any more, answer who waits, finish what is being answered, for at most that long."""
    shut = gatherResults([door.shut() for door in doors])
    for door in doors:
        door.factory.edge.stopping = True
        door.factory.hurry()
    deadline = reactor.seconds() + patience_s
    while reactor.seconds() < deadline and not all(door.is_quiet() for door in doors):
        await _pause(reactor)
    for door in doors:
        door.factory.drop()
    await shut


def _pause(reactor: IReactorTime) -> Deferred[None]:
    pause: Deferred[None] = Deferred()
    reactor.callLater(_LOOK_S, pause.callback, None)
    return pause
