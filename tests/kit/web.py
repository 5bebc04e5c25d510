"""A small web on loopback: pages that a test writes byte by byte, as no honest server would.

web = await SmallWeb.open(case)
web.pages["/"] = page("<title>Привет</title>")
web.url("/")            # to be asked for; `web.heard` is what was asked, head and all
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.kit.databases import reactor_in_use

Page = bytes | Callable[[], bytes]
CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


def page(body: bytes | str, content_type: str = "text/html; charset=utf-8", status: int = 200, *more: str) -> bytes:
    """An answer with that body."""
    raw = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(raw)}", f"Content-Type: {content_type}", *more, "", ""]
    return "\r\n".join(lines).encode() + raw


def lead(where: str, status: int = 302) -> bytes:
    """An answer that leads elsewhere."""
    return page("", "text/html", status, f"Location: {where}")


class _Listener(Protocol):
    def __init__(self, web: "SmallWeb") -> None:
        self._web = web
        self._asked = b""
        self._listened_to = True

    def dataReceived(self, data: bytes) -> None:
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, _, self._asked = self._asked.partition(b"\r\n\r\n")
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        assert self.transport is not None
        self._web.heard.append(head)
        path = head.split(b" ")[1].decode()
        answer = self._web.pages.get(path.partition("?")[0], page("", status=404))
        self.transport.write(answer() if callable(answer) else answer)
        if path == "/endless":
            self._pour()

    def _pour(self) -> None:
        """Say more for as long as somebody listens."""
        if self._listened_to and self.transport is not None:
            self.transport.write(CHUNK)
            reactor_in_use().callLater(0, self._pour)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._listened_to = False


class SmallWeb(Factory):
    """Some pages, and what was asked for."""

    noisy = False

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.heard: list[bytes] = []
        self.port = 0

    @classmethod
    async def open(cls, case: TestCase) -> "SmallWeb":
        """Listen for as long as the test runs."""
        web = cls()
        port: Any = await TCP4ServerEndpoint(reactor_in_use(), 0, interface="127.0.0.1").listen(web)
        case.addCleanup(port.stopListening)
        web.port = port.getHost().port
        return web

    def buildProtocol(self, addr: Any) -> _Listener:
        """One connection."""
        return _Listener(self)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The address of a page."""
        return f"http://{host}:{self.port}{path}"

    def asked(self, path: str) -> int:
        """How often a page was asked for."""
        return sum(head.startswith(f"GET {path} ".encode()) for head in self.heard)
