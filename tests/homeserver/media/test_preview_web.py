"""Asking the web: where requests go, what they carry, and when they are given up."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from federation.errors import RemoteFault
from federation.transport.agent import Outward, Rules
from homeserver.media.previews.addresses import Hosts
from homeserver.media.previews.web import MOST_REDIRECTS, WITHIN_S, Found, Web
from tests.kit.databases import reactor_in_use
from tests.kit.web import SmallWeb, lead, page


class Asking(TestCase):
    """A web of one host, 127.0.0.1, which is also called localhost."""

    async def setUp(self) -> None:
        self.there = await SmallWeb.open(self)
        self.clock = Clock()

    async def get(self, path: str, *, hosts: tuple[str, ...] = ("127.0.0.1",), private: bool = True) -> Found:
        """Ask for a page."""
        outward = Outward(reactor_in_use(), Rules(allow_private_addresses=private))
        self.addCleanup(outward.close)
        clock: Any = self.clock
        web = Web(outward, clock, Hosts(hosts), ("ru", "en"))
        return await web.get(self.there.url(path), accept="text/html", most_bytes=100_000)

    async def refused(self, path: str, **more: Any) -> None:
        """Ask in vain."""
        with pytest.raises(RemoteFault):
            await self.get(path, **more)

    async def test_redirects_are_followed_to_their_end(self) -> None:
        self.there.pages = {
            "/1": lead("/2", 301), "/2": lead("3?x=я", 307), "/3": lead(self.there.url("/4"), 308),
            "/4": page("x", "Text/HTML; charset=KOI8-R"),
        }  # fmt: skip
        found = await self.get("/1")
        assert found == Found(address=self.there.url("/4"), content_type="text/html", charset="KOI8-R", body=b"x")

    async def test_redirects_have_an_end(self) -> None:
        self.there.pages = {"/loop": lead("/loop")}
        await self.refused("/loop")
        assert self.there.asked("/loop") == MOST_REDIRECTS + 1
        for number, where in enumerate(("javascript:alert(1)", "file:///etc/passwd", "//u:p@localhost/", "", "//[x")):
            self.there.pages[f"/{number}"] = lead(where)
            await self.refused(f"/{number}")

    async def test_nobody_is_led_to_a_host_that_is_not_listed(self) -> None:
        self.there.pages = {"/": lead(self.there.url("/secret", "localhost")), "/secret": page("x")}
        await self.refused("/")
        assert self.there.asked("/secret") == 0
        assert (await self.get("/", hosts=("127.0.0.1", "localhost"))).body == b"x"

    async def test_private_addresses_are_never_connected_to(self) -> None:
        self.there.pages = {"/": page("x")}
        await self.refused("/", private=False)
        assert self.there.heard == []
        assert (await self.get("/")).body == b"x"

    async def test_what_is_packed_or_endless_or_no_page_is_left(self) -> None:
        self.there.pages = {
            "/packed": page(b"\x1f\x8b" + bytes(100), "text/html", 200, "Content-Encoding: gzip"),
            "/huge": page(b"x" * 100_001),
            "/endless": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "/gone": page("x", status=410),
            "/part": page("x", status=206),
            "/broken": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "/nonsense": b"\x00\x01\x02\r\n\r\n",
        }
        for path in self.there.pages:
            await self.refused(path)

    async def test_all_redirects_share_one_time(self) -> None:
        def dawdle() -> bytes:
            self.clock.advance(WITHIN_S)
            return lead("/silent")

        self.there.pages = {"/slow": dawdle, "/silent": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"}
        await self.refused("/slow")
        assert self.there.asked("/silent") == 1

    async def test_a_request_says_nothing_of_who_asks(self) -> None:
        self.there.pages = {"/": page("x", "text/html", 200, "Set-Cookie: a=b")}
        await self.get("/")
        await self.get("/")
        names = {line.split(b":")[0].lower() for line in self.there.heard[1].split(b"\r\n")[1:]}
        assert names == {b"host", b"accept", b"accept-encoding", b"accept-language", b"user-agent", b"connection"} - (
            {b"connection"} - names
        )
