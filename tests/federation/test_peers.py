"""Requests to other servers: how they are signed, what is made of answers, and when a server is left alone."""

import json
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from federation.discovery import find_places
from federation.ed25519 import SigningKey
from federation.errors import BadAnswer, PeerRefused, PeerUnreachable, Refused
from federation.ids import ServerName
from federation.pieces import LARGE
from federation.requests import check_request, parse_request_auth
from federation.transport import agent
from federation.transport.agent import Incoming, Outgoing
from federation.transport.discovery import Discovery, Sources
from federation.transport.lines import AT_ONCE, FIRST_DELAY_MS
from federation.transport.peers import LEAST_S, MOST_LINES, SMALL, Peers, Sender, Standing
from tests.kit.databases import reactor_in_use
from tests.kit.elsewhere import ElsewhereCase, Said

US = ServerName("us.test")
KEY = SigningKey("a_1", bytes(32))
PATH = "/_matrix/federation/v1/thing"


class Kept:
    """The standing of destinations, as a database would keep it."""

    def __init__(self) -> None:
        self.rows: dict[ServerName, Standing] = {}

    async def load(self) -> Mapping[ServerName, Standing]:
        return dict(self.rows)

    async def set(self, server: ServerName, standing: Standing | None) -> None:
        if standing is None:
            self.rows.pop(server, None)
        else:
            self.rows[server] = standing


@dataclass
class Found:
    """Where servers are, as the test says."""

    find: Any
    forget: Any = None


@dataclass
class Outside:
    """What is asked outside, as the test says."""

    ask: Any
    open: Any = None


class PeersCase(ElsewhereCase):
    """A server north.test that answers what the test says, and a clock that the test moves."""

    async def setUp(self) -> None:
        await super().setUp()
        self.now = 1_700_000_000_000
        self.site = await self.open_site("north.test")
        self.north = ServerName(f"north.test:{self.site.port}")
        self.kept = Kept()
        self.forbidden: set[ServerName] = set()
        self.beside: list[tuple[str, object]] = []
        self.peers = self.build()

    def build(self) -> Peers:
        sources = Sources(outward=self.outward, resolver=self.resolver, now_ms=lambda: self.now, chance=lambda: 0.0)
        return Peers(
            Sender(
                server=US,
                key=KEY,
                outward=self.outward,
                discovery=Discovery(sources),
                destinations=self.kept,
                now_ms=lambda: self.now,
                chance=lambda: 0.0,
                check=self.check,
                run=self.run_beside,
            )
        )

    def run_beside(self, work: Any, /, *args: Any) -> Deferred[Any]:
        self.beside.append((work.__name__, copy(args[-1])))
        return deferToThread(work, *args)

    def check(self, server: ServerName) -> None:
        if server in self.forbidden:
            raise Refused("region", "not a member")

    def say(self, body: bytes = b"{}", **more: Any) -> None:
        self.site.answers[PATH] = Said(body=body, **more)

    async def ask(self, **more: Any) -> dict[str, Any]:
        return await self.peers.ask(self.north, "GET", PATH, **more)

    async def away(self) -> ServerName:
        """A server that is not there."""
        return ServerName("north.test:1")


class Asking(PeersCase):
    """Requests with an answer."""

    async def test_a_request_is_signed_with_all_that_it_is(self) -> None:
        self.site.answers["/_matrix/federation/v1/send/%2F"] = Said(body=b'{"pdus": {}}')
        body = {"b": 1.5, "a": ["é"]}
        answer = await self.peers.ask(
            self.north, "PUT", "/_matrix/federation/v1/send/%2F", query=[("v", "1 2"), ("v", "é")], body=body
        )
        assert answer == {"pdus": {}}
        (asked,) = self.site.asked
        assert (asked.method, asked.host, asked.body) == ("PUT", self.north, '{"a":["é"],"b":1.5}'.encode())
        assert asked.path == "/_matrix/federation/v1/send/%2F?v=1+2&v=%C3%A9"
        auth = parse_request_auth(asked.authorization or "")
        assert (auth.origin, auth.destination) == (US, self.north)
        check_request(auth, KEY.verify_key, method="PUT", uri=asked.path, server=self.north, content=body)

    async def test_a_body_that_is_encoded_goes_out_as_it_is(self) -> None:
        self.say()
        await self.peers.ask(self.north, "PUT", PATH, body=msgspec.Raw(b'{"a":1}'))
        assert self.site.asked[0].body == b'{"a":1}'

    async def test_nobody_is_asked_who_must_not_be_nor_this_server_itself(self) -> None:
        self.forbidden.add(self.north)
        for server in (self.north, US):
            for asking in (
                self.peers.ask(server, "GET", PATH),
                self.peers.open(server, PATH),
                self.peers.fetch(server, PATH, timeout_s=1, most_bytes=100),
            ):
                with pytest.raises(Refused):
                    await asking
        assert self.site.asked == []

    async def test_the_time_in_which_a_server_is_found_is_part_of_that_in_which_it_answers(self) -> None:
        found, waited = find_places(self.north), list[float]()

        async def find(_: ServerName) -> Any:
            self.now += 8_000
            return found

        async def ask(request: Outgoing) -> Incoming:
            waited.append(request.within_s)
            return Incoming(status=200, headers={}, body=b"{}")

        sender = replace(self.peers._sender, discovery=Found(find), outward=Outside(ask))
        for within_s in (30.0, 10.0, 3.0):
            await Peers(sender).ask(self.north, "GET", PATH, timeout_s=within_s)
        assert waited == [22.0, LEAST_S, 3.0]

    async def test_only_an_object_is_an_answer(self) -> None:
        self.say(b'{"a": 1}')
        assert await self.ask() == {"a": 1}
        self.say(b'[200, {"a": 1}]')
        assert await self.ask() == {"a": 1}
        for body in (
            b"",
            b"[]",
            b"[200]",
            b"null",
            b"<html>",
            b'{"a": 1, "a": 2}',
            b"\xff",
            b'{"a":' * 500,
            b"[200, 1]",
        ):
            self.say(body)
            with pytest.raises(BadAnswer):
                await self.ask()
        assert self.peers.away == 0

    async def test_an_answer_that_is_too_large_is_not_listened_to(self) -> None:
        self.say(b'{"a": "' + b"x" * 1000 + b'"}')
        await self.ask(most_bytes=2000)
        with pytest.raises(BadAnswer):
            await self.ask(most_bytes=1000)

    async def test_a_large_answer_is_read_beside_the_reactor_and_as_strictly(self) -> None:
        self.say(b'{"a": ["x"]}')
        assert await self.ask() == {"a": ["x"]}
        assert not self.beside
        for size in (SMALL, 3 * LARGE):
            self.say(b'{"a": [' + b'"x", ' * (size // 5) + b'"x"]}')
            assert (await self.ask())["a"][-2:] == ["x", "x"]
            self.say(b'{"a": [' + b'"x", ' * (size // 5) + b'"x",]}')
            with pytest.raises(BadAnswer) as refused:
                await self.ask()
            assert refused.value.__context__ is None  # it would hold on to the answer
            self.say(b'{"errcode": "M_FORBIDDEN", "error": "' + b"x" * size + b'"}', status=403)
            with pytest.raises(PeerRefused):
                await self.ask()
        assert [name for name, _ in self.beside].count("_decode") == 4

    async def test_a_large_answer_is_let_go_of_in_pieces_beside_the_reactor(self) -> None:
        self.say(b'{"a": [' + b'"x", ' * LARGE + b'"x"], "b": {"c": ["y"]}}')
        answer = await self.ask()
        kept = answer["a"]
        assert [name for name, _ in self.beside] == ["_decode"]
        del answer
        (_, (name, parts)) = self.beside
        assert name == "_let_go"
        assert isinstance(parts, list)
        assert [sum(parts[:-1], [])] == [kept] == [["x"] * (LARGE + 1)]
        assert max(map(len, parts)) <= LARGE // 4

    async def test_an_error_says_its_code_or_that_it_has_none(self) -> None:
        for status, body, errcode, why in (
            (403, {"errcode": "M_FORBIDDEN", "error": "no", "more": 1}, "M_FORBIDDEN", "no"),
            (404, {"errcode": 1, "error": 2}, "M_UNKNOWN", ""),
            (500, [], "M_UNKNOWN", ""),
            (302, {}, "M_UNKNOWN", ""),
        ):
            self.say(json.dumps(body).encode(), status=status, headers={"Location": "/elsewhere"})
            with pytest.raises(PeerRefused) as refused:
                await self.ask()
            fault = refused.value
            assert (fault.status, fault.errcode, fault.why) == (status, errcode, why)
            assert fault.body == (body if isinstance(body, dict) else {})
        assert self.peers.away == 0
        assert all(asked.path == PATH for asked in self.site.asked)

    async def test_a_server_that_is_silent_is_not_waited_for(self) -> None:
        self.say(b"{", silent=True)
        with pytest.raises(PeerUnreachable):
            await self.ask(timeout_s=0.2)
        assert self.peers.away == 1

    async def test_a_server_that_is_away_is_left_alone_then_tried_once(self) -> None:
        away = await self.away()
        for number in range(3):
            with pytest.raises(PeerUnreachable):
                await self.peers.ask(away, "GET", PATH)
            assert self.kept.rows[away] == Standing(number + 1, self.now + (FIRST_DELAY_MS << number))
            with pytest.raises(PeerUnreachable, match="left alone"):
                await self.peers.ask(away, "GET", PATH)
            self.now = self.peers.retry_ms(away)
        assert self.peers.away == 1

    async def test_what_fails_together_is_one_failure(self) -> None:
        away = await self.away()
        asking = [Deferred.fromCoroutine(self.peers.ask(away, "GET", PATH)) for _ in range(5)]
        for each in asking:
            with pytest.raises(PeerUnreachable):
                await each
        assert self.kept.rows[away].failures == 1

    async def test_what_is_broken_off_because_this_server_ends_is_no_failure(self) -> None:
        self.say(silent=True)
        asking = Deferred.fromCoroutine(self.ask())
        for _ in range(4_000):
            if self.site.asked:
                break
            await deferLater(reactor_in_use(), 0.005)
        self.peers.stop()
        asking.cancel()
        with pytest.raises(PeerUnreachable):
            await asking
        assert self.kept.rows == {}

    async def test_a_proxy_before_a_server_that_is_away_says_so(self) -> None:
        self.say(status=502)
        with pytest.raises(PeerRefused):
            await self.ask()
        assert self.kept.rows[self.north].failures == 1
        self.say()
        self.now = self.peers.retry_ms(self.north)
        await self.ask()
        assert self.kept.rows == {}
        assert self.peers.away == 0

    async def test_a_server_that_says_itself_that_something_is_not_there_yet_is_not_away(self) -> None:
        said = {"status": 504, "headers": {"content-type": "application/json; charset=utf-8"}}
        self.say(b'{"errcode": "M_NOT_YET_UPLOADED", "error": "wait"}', **said)
        with pytest.raises(PeerRefused) as refused:
            await self.ask()
        assert refused.value.errcode == "M_NOT_YET_UPLOADED"
        with pytest.raises(PeerRefused):
            await self.peers.open(self.north, PATH)
        assert (self.kept.rows, self.peers.away) == ({}, 0)

    async def test_who_calls_is_tried_at_once_also_after_a_restart(self) -> None:
        self.kept.rows[self.north] = Standing(7, self.now + 1_000_000)
        self.peers = self.build()
        await self.peers.begin()
        self.say()
        with pytest.raises(PeerUnreachable):
            await self.ask()
        self.peers.heard_from(self.north)
        self.peers.heard_from(ServerName("stranger.test"))
        await self.ask()
        assert self.kept.rows == {}

    async def test_of_very_many_that_are_away_those_to_be_tried_first_are_forgotten(self) -> None:
        for number in range(MOST_LINES):
            self.kept.rows[ServerName(f"s{number}.test")] = Standing(1, self.now + number)
        self.peers = self.build()
        await self.peers.begin()
        assert self.peers.away == MOST_LINES
        self.say()
        await self.ask()
        assert self.peers.away == MOST_LINES - MOST_LINES // 10
        assert len(self.kept.rows) == self.peers.away
        assert ServerName("s0.test") not in self.kept.rows

    async def test_keys_are_fetched_without_a_signature_also_from_who_is_left_alone(self) -> None:
        self.kept.rows[self.north] = Standing(7, self.now + 1_000_000)
        self.peers = self.build()
        await self.peers.begin()
        self.say(b'{"a": 1}')
        assert await self.peers.fetch(self.north, PATH, timeout_s=5, most_bytes=100) == {"a": 1}
        assert self.site.asked[0].authorization is None

    async def test_few_connections_are_open_to_one_server(self) -> None:
        self.say(b"{", silent=True)
        most = 3 * AT_ONCE
        asking = gatherResults([Deferred.fromCoroutine(self.ask(timeout_s=50.0)) for _ in range(most)])
        for answered in range(most):
            await self.until_open(min(AT_ONCE, most - answered))  # whoever may ask does so
            assert len(self.site.asked) == min(answered + AT_ONCE, most)
            self.answer(1)
        assert await asking == [{}] * most

    async def until_open(self, many: int) -> None:
        """Wait until so many requests wait for an answer."""
        for _ in range(4_000):
            if len(self.site.open) >= many:
                return
            await deferLater(reactor_in_use(), 0.01)
        raise AssertionError(f"{len(self.site.open)} of {many} have asked")

    def answer(self, many: int) -> None:
        """Let so many requests that wait be answered."""
        for _ in range(many):
            request = self.site.open.pop()
            request.write(b"}")
            request.finish()

    async def test_tls_is_prepared_for_a_connection_and_not_for_each_request(self) -> None:
        made: list[str] = []

        def make(host: str, **more: Any) -> Any:
            made.append(host)
            return optionsForClientTLS(host, **more)

        self.patch(agent, "optionsForClientTLS", make)
        self.say()
        for _ in range(5):
            await self.ask()
        assert (made, len(self.site.asked)) == (["north.test"], 5)
        self.say(b"{", silent=True)
        asking = gatherResults([Deferred.fromCoroutine(self.ask(timeout_s=50.0)) for _ in range(3)])
        await self.until_open(3)
        assert made == ["north.test"] * 3  # one of them goes over the connection that is kept
        self.answer(3)
        assert await asking == [{}] * 3


class _Fickle(Protocol):
    """Answers the first request on a connection, and hangs up at the second."""

    asked: list[bytes]

    def __init__(self, asked: list[bytes], most: int) -> None:
        self.asked = asked
        self.left = most

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.asked.append(data.partition(b" ")[0])
        self.left -= 1
        if self.left < 0:
            self.transport.abortConnection()  # type: ignore[attr-defined]
        else:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


class KeptConnections(PeersCase):
    """A server that ends connections which were kept."""

    async def open_fickle(self, most: int) -> ServerName:
        """Open it; it answers so many requests on each connection."""
        self.asked: list[bytes] = []
        factory = Factory.forProtocol(lambda: _Fickle(self.asked, most))  # type: ignore[arg-type]
        factory.noisy = False
        return ServerName(f"north.test:{await self.open_port(factory, 'north.test')}")

    async def test_what_may_be_asked_twice_is_asked_again_on_a_new_one(self) -> None:
        fickle = await self.open_fickle(1)
        for method in ("GET", "PUT", "GET"):
            assert await self.peers.ask(fickle, method, PATH) == {}
        assert self.asked == [b"GET", b"PUT", b"PUT", b"GET", b"GET"]
        with pytest.raises(PeerUnreachable):
            await self.peers.ask(fickle, "POST", PATH)

    async def test_so_is_what_regions_ask_beside_matrix(self) -> None:
        fickle = await self.open_fickle(1)
        for _ in range(2):
            assert await self.peers.ask(fickle, "POST", "/_parta/federation/v1/claims") == {}
        assert self.asked == [b"POST", b"POST", b"POST"]

    async def test_but_once_only(self) -> None:
        fickle = await self.open_fickle(0)
        with pytest.raises(PeerUnreachable):
            await self.peers.ask(fickle, "GET", PATH)
        assert self.asked == [b"GET", b"GET"]


class Opening(PeersCase):
    """Answers that are read piece by piece."""

    async def test_a_body_comes_in_pieces(self) -> None:
        body = bytes(range(256)) * 4000
        self.say(body, headers={"Content-Type": "image/png"})
        answer = await self.peers.open(self.north, PATH)
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
        pieces = []
        while piece := await answer.read():
            pieces.append(piece)
        assert b"".join(pieces) == body
        assert len(pieces) > 1
        assert await answer.read() == b""

    async def test_an_error_is_raised_and_not_read(self) -> None:
        self.say(b'{"errcode": "M_NOT_FOUND", "error": "gone"}', status=404)
        with pytest.raises(PeerRefused) as refused:
            await self.peers.open(self.north, PATH)
        assert (refused.value.status, refused.value.errcode) == (404, "M_NOT_FOUND")

    async def test_a_body_that_is_too_long_or_falls_silent_breaks_off(self) -> None:
        self.say(b"x" * 1000)
        answer = await self.peers.open(self.north, PATH, most_bytes=999)
        with pytest.raises(Exception, match="more than"):
            await answer.read_all()
        self.say(b"x" * 10, silent=True)
        answer = await self.peers.open(self.north, PATH, timeout_s=0.2)
        assert await answer.read() == b"x" * 10
        with pytest.raises(Exception, match="nothing more came"):
            await answer.read()

    async def test_one_that_is_closed_is_read_no_more(self) -> None:
        self.say(b"x" * 10, silent=True)
        answer = await self.peers.open(self.north, PATH)
        answer.close()
        with pytest.raises(Exception, match="no longer"):
            await answer.read()
