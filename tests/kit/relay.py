"""A way to a server on loopback that understands what it passes on: whole requests and their answers.

    relay = Relay(port)                                # TLS ends here, as at a reverse proxy, if there are certificates
    with relay.stop("/send_join/", "answer") as stop:
        ...                                            # somebody asks
        stop.wait()                                    # the server has answered, and nobody has heard it
        ...
    # goes on

While it is closed nobody gets through: who is `patient` waits until it is open, others are sent away.
"""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

Moment: TypeAlias = Literal["request", "answer"]
"""Before the server has heard of the request, or before anybody has heard the answer."""

LONGEST_S = 60.0
_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


class Passing(NamedTuple):
    """A request on its way; `status` is that of the answer, 0 before there is one."""

    method: str
    path: str
    body: bytes
    status: int = 0


class Stop:
    """Where a request or an answer is held up, once."""

    def __init__(self, part: str, moment: Moment) -> None:
        self._part = part
        self._moment = moment
        self._reached = threading.Event()
        self._over = threading.Event()
        self._is_lost = False

    def wait(self) -> None:
        """Wait until it is held up."""
        assert self._reached.wait(LONGEST_S), f"nobody came by with the {self._moment} of {self._part}"

    def go(self) -> None:
        """Let it go on."""
        self._reached.set()
        self._over.set()

    def lose(self) -> None:
        """Let it not go on: who asked hears nothing."""
        self._is_lost = True
        self.go()

    def heed(self, passing: Passing, moment: Moment) -> None:
        """Hold up what comes by, if it is that; only the first. Raises: ConnectionResetError when it is lost."""
        has_it = self._part in passing.path or self._part.encode() in passing.body
        if moment == self._moment and has_it and not self._reached.is_set():
            self._reached.set()
            self._over.wait(LONGEST_S)
            if self._is_lost:
                raise ConnectionResetError


class Relay:
    """Passes requests to `port` on to the server at `target`. `heed` is told of each, and of its answer, in passing."""

    def __init__(self, target: int, tls: tuple[Path, Path] | None = None, *, patient: bool = True) -> None:
        self.target = target
        self.patient = patient
        self.heed: Callable[[Passing, Moment], None] = lambda passing, moment: None
        self.stops: list[Stop] = []
        self._open = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.relay = self
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def open(self) -> None:
        """Let everybody through."""
        self._open.set()

    def close(self) -> None:
        """Let nobody through who comes from now on."""
        self._open.clear()

    def end(self) -> None:
        """Listen no more."""
        self.close()
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def stop(self, part: str, moment: Moment) -> Iterator[Stop]:
        """Hold up the first request whose path or body has that part, or its answer, until the end of the block."""
        stop = Stop(part, moment)
        self.stops.append(stop)
        try:
            yield stop
        finally:
            stop.go()
            self.stops.remove(stop)

    def pass_on(self, passing: Passing, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the server answers. Raises: OSError; HTTPException."""
        self._tell(passing, "request")
        if not self._open.wait(LONGEST_S if self.patient else 0):
            raise ConnectionRefusedError
        server = HTTPConnection("127.0.0.1", self.target, timeout=LONGEST_S)
        try:
            server.request(passing.method, passing.path, passing.body or None, headers)
            answer = server.getresponse()
            body = answer.read()
        finally:
            server.close()
        self._tell(passing._replace(status=answer.status), "answer")
        return answer.status, answer.getheaders(), body

    def _tell(self, passing: Passing, moment: Moment) -> None:
        self.heed(passing, moment)
        for stop in tuple(self.stops):
            stop.heed(passing, moment)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100
    relay: Relay

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever is killed hangs up as they like."""


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Requests are passed on alike, whatever their method."""
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._go

    def _go(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        try:
            status, answered, content = self.server.relay.pass_on(Passing(self.command, self.path, body), headers)
        except (OSError, HTTPException):  # the server is gone: so is the connection
            self.close_connection = True
            return
        self.send_response_only(status)
        for name, value in answered:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(content)
