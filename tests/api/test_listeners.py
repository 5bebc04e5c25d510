"""The ports: opened and closed on loopback, in the clear and with TLS."""

import socket
import ssl
import subprocess
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from config.settings import TLS, Listener
from homeserver.api.access import Instants
from homeserver.api.connection import EdgeFactory
from homeserver.api.edge import Attendants, Edge
from homeserver.api.limits import RateLimits
from homeserver.api.listeners import CannotListen, Door, close_doors, open_doors
from homeserver.api.metrics import Metrics
from homeserver.api.route import Call, Reply, Route
from tests.kit.databases import reactor_in_use
from tests.kit.wire import make_folder

REQUEST = b"GET /%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def make_certificate(folder: Path, name: str) -> TLS:
    """A fresh self-signed certificate."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return TLS(certificate=certificate, private_key=key)


def fetch(port: int, path: bytes, certificate: Path | None = None, name: str = "parta.test") -> bytes:
    """Everything a server answers to one request, in a thread of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        if certificate is None:
            return _converse(line, path)
        context = ssl.create_default_context(cafile=str(certificate))
        with context.wrap_socket(line, server_hostname=name) as secure:
            return _converse(secure, path)


def choose(port: int, certificate: Path, offered: list[str]) -> tuple[str | None, bytes]:
    """Which of the protocols that are offered is agreed on, and what is answered then."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(offered)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as line,
        context.wrap_socket(line, server_hostname="parta.test") as secure,
    ):
        return secure.selected_alpn_protocol(), _converse(secure, b"quick")


def _converse(line: socket.socket, path: bytes) -> bytes:
    line.sendall(REQUEST % path)
    answer = b""
    while piece := line.recv(65536):
        answer += piece
    return answer


class Listening(TestCase):
    """Doors of a small edge."""

    def setUp(self) -> None:
        self.reactor = reactor_in_use()
        self.work: Deferred[None] = Deferred()
        self.doors: list[Door] = []
        self.addCleanup(lambda: Deferred.fromCoroutine(close_doors(self.doors, self.reactor, 0)))

    def door(self, **listener: object) -> Door:
        """A door that is not open yet."""
        limits = RateLimits(enabled=False, now_ms=lambda: 0)
        attendants = Attendants(
            reactor=self.reactor,
            instants=Instants(lambda: 0),
            find_session=self.find_nobody,
            limits=limits,
            metrics=Metrics(),
        )
        routes = [
            Route(method="GET", path="/large", handle=self.large, auth="none"),
            Route(method="GET", path="/quick", handle=self.quick, auth="none"),
            Route(method="GET", path="/poll", handle=self.poll, auth="none"),
            Route(method="GET", path="/work", handle=self.do_work, auth="none"),
        ]
        fields = {"port": 0, "resources": ("metrics",), **listener}
        door = Door(listener=Listener(**fields), factory=EdgeFactory(Edge(routes, attendants)))
        self.doors.append(door)
        return door

    async def find_nobody(self, token: str) -> None:
        return None

    async def quick(self, call: Call) -> Reply:
        return {"ip": call.ip}

    async def large(self, call: Call) -> Reply:
        return b'"' + b"x" * 20_000_000 + b'"'

    async def poll(self, call: Call) -> Reply:
        await call.gone
        return {"polled": True}

    async def do_work(self, call: Call) -> Reply:
        await self.work
        return {"worked": True}

    def port(self, door: Door) -> int:
        """The number that the system gave."""
        number: int = door.ports[0].getHost().port
        return number

    def get(self, door: Door, path: bytes, *certificate: object) -> "Deferred[bytes]":
        """Make a request from a thread."""
        return deferToThread(fetch, self.port(door), path, *certificate)

    async def busy(self, door: Door) -> None:
        """Wait until a request is being answered."""
        while not door.factory.edge.running:
            await deferLater(self.reactor, 0.005)

    async def test_requests_are_answered_on_a_port(self) -> None:
        door = self.door()
        open_doors([door], self.reactor)
        answer = await self.get(door, b"quick")
        assert answer.endswith(b'{"ip":"127.0.0.1"}')

    async def test_a_large_answer_arrives_whole(self) -> None:
        door = self.door()
        open_doors([door], self.reactor)
        head, _, body = (await self.get(door, b"large")).partition(b"\r\n\r\n")
        assert b"Content-Length: 20000002" in head
        assert body == b'"' + b"x" * 20_000_000 + b'"'

    async def test_a_listener_may_be_bound_to_several_addresses(self) -> None:
        door = self.door(bind=("127.0.0.1", "127.0.0.2"))
        open_doors([door], self.reactor)
        assert [port.getHost().host for port in door.ports] == ["127.0.0.1", "127.0.0.2"]

    async def test_tls_shows_the_certificate_and_a_renewed_one_without_a_restart(self) -> None:
        folder = make_folder(self)
        tls = make_certificate(folder, "parta.test")
        door = self.door(tls=tls)
        open_doors([door], self.reactor)
        assert (await self.get(door, b"quick", tls.certificate)).endswith(b'{"ip":"127.0.0.1"}')
        make_certificate(folder, "renewed.test")
        assert (await self.get(door, b"quick", tls.certificate, "renewed.test")).startswith(b"HTTP/1.1 200 ")
        copy = folder / "copy.pem"
        copy.write_bytes(tls.certificate.read_bytes())
        tls.certificate.write_text("junk")
        assert (await self.get(door, b"quick", copy, "renewed.test")).startswith(b"HTTP/1.1 200 ")

    async def test_who_offers_protocols_over_tls_gets_the_one_that_is_spoken_and_an_answer_in_any_case(self) -> None:
        tls = make_certificate(make_folder(self), "parta.test")
        door = self.door(tls=tls)
        open_doors([door], self.reactor)
        for offered, expected in ((["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (["h2"], None)):
            chosen, answer = await deferToThread(choose, self.port(door), tls.certificate, offered)
            assert (chosen, answer[:13]) == (expected, b"HTTP/1.1 200 "), offered

    async def test_a_taken_port_is_named_and_nothing_stays_open(self) -> None:
        first = self.door()
        open_doors([first], self.reactor)
        taken = self.port(first)
        other, second = self.door(), self.door(port=taken)
        with self.assertRaisesRegex(CannotListen, f"cannot listen on 127.0.0.1 port {taken}: .*in use"):
            open_doors([other, second], self.reactor)
        assert not other.ports
        assert not second.ports

    async def test_a_certificate_that_is_none_is_named(self) -> None:
        folder = make_folder(self)
        tls = make_certificate(folder, "a")
        other = make_certificate(make_folder(self), "b")
        (folder / "junk.pem").write_text("junk")
        for certificate, key in (
            (folder / "none.pem", tls.private_key),
            (folder / "junk.pem", tls.private_key),
            (tls.certificate, folder / "junk.pem"),
            (tls.certificate, other.private_key),
        ):
            door = self.door(tls=TLS(certificate=certificate, private_key=key))
            with self.assertRaisesRegex(CannotListen, "cannot use the certificate for port 0: "):
                open_doors([door], self.reactor)

    async def test_closing_answers_who_waits_and_lets_work_be_finished(self) -> None:
        door = self.door()
        open_doors([door], self.reactor)
        polled, worked = self.get(door, b"poll"), self.get(door, b"work")
        while door.factory.edge.running < 2:
            await deferLater(self.reactor, 0.005)
        number = self.port(door)
        closing = Deferred.fromCoroutine(close_doors([door], self.reactor, 10))
        assert b"Connection: close" in await polled
        with self.assertRaises((ConnectionRefusedError, ConnectionResetError)):  # reset: it knocked as the port closed
            await deferToThread(fetch, number, b"quick")
        assert not closing.called
        self.work.callback(None)
        assert (await worked).endswith(b'{"worked":true}')
        await closing

    async def test_closing_does_not_wait_for_ever(self) -> None:
        door = self.door()
        open_doors([door], self.reactor)
        worked = self.get(door, b"work")
        await self.busy(door)
        await close_doors([door], self.reactor, 0.05)
        with self.assertRaises(ConnectionResetError):
            await worked
        self.work.callback(None)
