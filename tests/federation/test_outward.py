"""Outward requests: where they go, whom they trust, and how much they listen to."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint, wrapServerTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from federation.transport.agent import Incoming, Outgoing, Outward, Rules, TooMuch, Unreachable, is_public
from tests.kit.certificates import make_certificate

MANY = 4 << 20
"""More bytes than any head may have, and than a connection holds."""
OPEN = Rules(allow_private_addresses=True)


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.31.255.255", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(host: str, public: bool) -> None:
    assert is_public(host) == public


class _Speaker(Protocol):
    """Answers whatever is asked with what it is given, and keeps what it was asked."""

    def __init__(self, answer: bytes, hang_up: bool) -> None:
        self.answer = answer
        self.hang_up = hang_up
        self.asked = b""
        self.gone: Deferred[None] = Deferred()

    def connectionLost(self, reason: object = None) -> None:
        self.gone.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.asked += data
        if b"\r\n\r\n" in self.asked:
            assert self.transport is not None
            self.transport.write(self.answer)
            if self.hang_up:
                self.transport.loseConnection()


class _Speakers(Factory):
    def __init__(self, answer: bytes, hang_up: bool) -> None:
        self.answer = answer
        self.hang_up = hang_up
        self.heard: list[_Speaker] = []

    def buildProtocol(self, addr: Any) -> _Speaker:
        speaker = _Speaker(self.answer, self.hang_up)
        self.heard.append(speaker)
        return speaker


def _answer(body: bytes = b"{}", status: str = "200 OK", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *more, "", ""]
    return "\r\n".join(lines).encode() + body


class Outwards(TestCase):
    """Requests to a server on loopback."""

    timeout = 30

    async def listen(
        self, answer: bytes, *, hang_up: bool = False, certificate: PrivateCertificate | None = None
    ) -> tuple[int, _Speakers]:
        """Open a port that gives one answer to whatever is asked."""
        endpoint: Any = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        if certificate is not None:
            endpoint = wrapServerTLS(certificate.options(), endpoint)
        speakers = _Speakers(answer, hang_up)
        port = await endpoint.listen(speakers)
        self.addCleanup(port.stopListening)
        return port.getHost().port, speakers

    async def ask(self, url: str, rules: Rules = OPEN, **more: Any) -> Incoming:
        """Ask."""
        outward = Outward(reactor, rules)
        self.addCleanup(outward.close)
        return await outward.ask(Outgoing(**{"method": "GET", "url": url, "headers": {}, **more}))

    async def refused(self, kind: type[Exception], url: str, rules: Rules = OPEN, **more: Any) -> None:
        """Ask in vain."""
        with pytest.raises(kind):
            await self.ask(url, rules, **more)

    async def test_a_request_is_made_and_its_answer_heard(self) -> None:
        port, speakers = await self.listen(_answer(b'{"a": 1}', "201 Created", "X-Kind: first", "X-Kind: second"))
        incoming = await self.ask(
            f"http://127.0.0.1:{port}/path?q=1", method="POST", headers={"X-Told": "yes"}, body=b"words"
        )
        assert (incoming.status, incoming.body, incoming.headers["x-kind"]) == (201, b'{"a": 1}', "first")
        asked = speakers.heard[0].asked
        assert asked.startswith(b"POST /path?q=1 HTTP/1.1\r\n")
        assert b"\r\nX-Told: yes\r\n" in asked
        assert asked.endswith(b"\r\n\r\nwords")

    async def test_private_addresses_are_not_connected_to_whatever_they_are_called(self) -> None:
        port, speakers = await self.listen(_answer())
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433"):
            await self.refused(Unreachable, f"http://{host}:{port}/", Rules())
        assert speakers.heard == []
        assert (await self.ask(f"http://localhost:{port}/")).status == 200

    async def test_a_redirect_is_an_answer(self) -> None:
        port, speakers = await self.listen(_answer(b"", "302 Found", "Location: http://127.0.0.1:1/"))
        assert (await self.ask(f"http://127.0.0.1:{port}/")).status == 302
        assert len(speakers.heard) == 1

    async def test_an_answer_is_listened_to_up_to_its_bound(self) -> None:
        port, _ = await self.listen(_answer(bytes(1000)))
        assert len((await self.ask(f"http://127.0.0.1:{port}/", most_bytes=1000)).body) == 1000
        await self.refused(TooMuch, f"http://127.0.0.1:{port}/", most_bytes=999)
        endless, _ = await self.listen(_answer(bytes(2000)).replace(b"Content-Length: 2000\r\n", b""), hang_up=True)
        assert len((await self.ask(f"http://127.0.0.1:{endless}/", most_bytes=2000)).body) == 2000
        await self.refused(TooMuch, f"http://127.0.0.1:{endless}/", most_bytes=1999)

    async def test_heads_without_end_are_hung_up_on(self) -> None:
        fine = "".join(f"X-{number}: {'x' * 1000}\r\n" for number in range(50))
        port, _ = await self.listen(_answer(b"{}", "200 OK", fine.rstrip()))
        assert (await self.ask(f"http://127.0.0.1:{port}/")).headers["x-49"] == "x" * 1000
        for answer in (
            b"HTTP/1.1 200 " + b"x" * MANY,
            b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * MANY,
            b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * (MANY // 8),
            b"HTTP/1.1 200 OK\r\nX-A: b\r\n" + b" b\r\n" * (MANY // 4),
            b"HTTP/1.1 100 Continue\r\n\r\n" * (MANY // 25),
        ):
            endless, talker = await self.listen(answer)
            await self.refused(Unreachable, f"http://127.0.0.1:{endless}/", within_s=20)
            await gatherResults([speaker.gone for speaker in talker.heard])

    async def test_who_goes_on_after_too_much_was_said_is_hung_up_on_also_over_tls(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file, certificate = make_certificate(Path(folder.name), "localhost")
        for secure in (None, certificate):
            port, talker = await self.listen(_answer(bytes(MANY)), certificate=secure)
            url = f"{'https' if secure else 'http'}://localhost:{port}/"
            rules = Rules(allow_private_addresses=True, trusted_ca=file)
            await self.refused(TooMuch, url, rules, most_bytes=1000)
            await gatherResults([speaker.gone for speaker in talker.heard])

    async def test_who_breaks_off_drips_or_talks_nonsense_is_unreachable(self) -> None:
        short, _ = await self.listen(_answer(bytes(10))[:-5], hang_up=True)
        await self.refused(Unreachable, f"http://127.0.0.1:{short}/")
        slow, drip = await self.listen(_answer(bytes(10))[:-5])
        await self.refused(Unreachable, f"http://127.0.0.1:{slow}/", within_s=0.2)
        silent, mute = await self.listen(b"")
        await self.refused(Unreachable, f"http://127.0.0.1:{silent}/", within_s=0.2)
        nonsense, _ = await self.listen(b"nonsense\r\n\r\n", hang_up=True)
        await self.refused(Unreachable, f"http://127.0.0.1:{nonsense}/")
        for url in ("http://no-such-host.invalid/", "nonsense", "ftp://127.0.0.1/", "http://127.0.0.1:1/", "http://ж/"):
            await self.refused(Unreachable, url)
        await gatherResults([speaker.gone for speaker in (*drip.heard, *mute.heard)])

    async def test_what_is_under_way_is_given_up_at_the_end_and_nothing_more_is_asked(self) -> None:
        silent, mute = await self.listen(b"")
        outward = Outward(reactor, OPEN)
        request = Outgoing(method="GET", url=f"http://127.0.0.1:{silent}/", headers={})
        asking = Deferred.fromCoroutine(outward.ask(request))
        while not (mute.heard and mute.heard[0].asked):
            await deferLater(reactor, 0.001)  # another connection: nothing here could tell us
        await outward.close()
        for asked in (asking, outward.ask(request)):
            with pytest.raises(Unreachable):
                await asked
        await mute.heard[0].gone

    async def test_a_certificate_must_be_trusted_and_of_that_name(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file, certificate = make_certificate(Path(folder.name), "localhost")
        port, _ = await self.listen(_answer(), certificate=certificate)
        trusting = Rules(allow_private_addresses=True, trusted_ca=file)
        assert (await self.ask(f"https://localhost:{port}/", trusting)).status == 200
        await self.refused(Unreachable, f"https://127.0.0.1:{port}/", trusting)
        await self.refused(Unreachable, f"https://localhost:{port}/")
        careless = Rules(allow_private_addresses=True, verify_certificates=False)
        assert (await self.ask(f"https://127.0.0.1:{port}/", careless)).status == 200
