"""The connection: many requests on one, slow and rude clients, large bodies, files, and the end."""

import os
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from homeserver.accounts.sessions import Session
from homeserver.api.connection import HUNG_UP
from homeserver.api.connection.channel import IDLE_S, LINGER_S
from homeserver.api.connection.request import BODY_GRACE_S
from homeserver.api.route import Answer, Call, FileBody, Reply, Route
from tests.kit.edges import EdgeCase
from tests.kit.wire import Wire, encode_request, make_folder

PATH = "/_matrix/client/v3/thing"
TOKEN = {"Authorization": "Bearer alice's"}


class Connections(EdgeCase):
    """Several requests on one connection, and how long one may take."""

    def setUp(self) -> None:
        super().setUp()
        self.waiting: list[Deferred[str]] = []

        async def wait(call: Call) -> Reply:
            answer: Deferred[str] = Deferred()
            self.waiting.append(answer)
            return {"answer": await answer}

        async def count(call: Call) -> Reply:
            return {"length": len(call.raw)}

        self.serve(
            Route(method="GET", path=PATH, handle=wait, auth="none"),
            Route(method="PUT", path=PATH, handle=count, auth="none", body=dict[str, str], body_limit=1000),
        )
        self.wire = Wire(self.factory)

    def send(self, method: str, body: bytes | None = None, **headers: str) -> None:
        self.wire.send(encode_request(method, PATH, headers, body))

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        replies = [self.wire.reply() for _ in range(3)]
        self.wire.send(encode_request("GET", PATH, {}) * 2 + encode_request("PUT", PATH, {}, b"{}"))
        assert len(self.waiting) == 1
        self.waiting[0].callback("first")
        assert self.successResultOf(replies[0]).json == {"answer": "first"}
        self.assertNoResult(replies[2])
        self.waiting[1].callback("second")
        assert self.successResultOf(replies[1]).json == {"answer": "second"}
        assert self.successResultOf(replies[2]).json == {"length": 2}

    def test_many_pipelined_requests_are_no_deep_recursion(self) -> None:
        replies = [self.wire.reply() for _ in range(300)]
        self.wire.send(encode_request("PUT", PATH, {}, b"{}") * 300)
        assert all(self.successResultOf(reply).status == 200 for reply in replies)

    def test_a_request_may_come_byte_by_byte(self) -> None:
        reply = self.wire.reply()
        for byte in encode_request("PUT", PATH, {}, b'{"a":"b"}'):
            self.wire.send(bytes([byte]))
        assert self.successResultOf(reply).json == {"length": 9}

    def test_a_chunked_body_is_a_body(self) -> None:
        reply = self.wire.reply()
        self.send("PUT", **{"Transfer-Encoding": "chunked"})
        self.wire.send(b'3\r\n{"a\r\n6\r\n":"b"}\r\n0\r\n\r\n')
        assert self.successResultOf(reply).json == {"length": 9}

    def test_a_client_that_says_so_is_hung_up_on(self) -> None:
        reply = self.wire.reply()
        self.send("PUT", b"{}", Connection="close")
        assert self.successResultOf(reply).headers["connection"] == "close"
        assert not self.wire.open

    def test_an_old_client_is_hung_up_on(self) -> None:
        reply = self.wire.reply()
        self.wire.send(b"PUT %s HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}" % PATH.encode())
        assert self.successResultOf(reply).status == 200
        assert not self.wire.open

    def test_a_client_that_waits_before_its_body_is_told_to_go_on(self) -> None:
        self.send("PUT", **{"Content-Length": "2", "Expect": "100-continue"})
        assert self.wire.received == b"HTTP/1.1 100 Continue\r\n\r\n"

    def test_what_is_not_http_is_refused(self) -> None:
        for junk in (
            b"hello\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: %s\r\n" % (b"x" * 8000) * 3 + b"\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 600 + b"\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\n\r\n",
        ):
            wire = Wire(self.factory)
            reply = wire.reply()
            wire.send(junk)
            answer = self.successResultOf(reply)
            assert (answer.status, answer.errcode) == (400, "M_UNKNOWN"), junk[:60]
            assert not wire.open

    def test_an_idle_connection_ends(self) -> None:
        self.clock.advance(IDLE_S - 1)
        assert self.wire.open
        self.clock.advance(2)
        assert not self.wire.open

    def test_a_head_that_drips_in_ends_the_connection(self) -> None:
        self.wire.send(b"GET / HTTP/1.1\r\n")
        for _ in range(int(IDLE_S / 10)):
            self.wire.send(b"X: y\r\n")
            self.clock.advance(10)
        assert not self.wire.open

    def test_a_body_that_drips_in_ends_the_connection(self) -> None:
        self.send("PUT", **{"Content-Length": "1000"})
        for _ in range(int(BODY_GRACE_S / 10) + 1):
            assert self.wire.open
            self.wire.send(b" ")
            self.clock.advance(10)
        assert not self.wire.open

    def test_waiting_for_an_answer_is_not_idling(self) -> None:
        reply = self.wire.reply()
        self.clock.advance(IDLE_S - 1)
        self.send("GET")
        self.clock.advance(IDLE_S * 10)
        self.waiting[0].callback("late")
        assert self.successResultOf(reply).json == {"answer": "late"}
        self.clock.advance(IDLE_S - 1)
        assert self.wire.open
        self.clock.advance(2)
        assert not self.wire.open

    def test_a_client_that_reads_nothing_is_cut_off_at_last(self) -> None:
        self.wire.line.loseConnection = lambda: None  # what cannot be written keeps a connection open
        self.clock.advance(IDLE_S + 1)
        assert self.wire.open
        self.clock.advance(20)
        assert not self.wire.open

    def test_no_timer_outlives_its_connection(self) -> None:
        self.send("GET")
        self.wire.hang_up()
        assert not [call for call in self.clock.getDelayedCalls() if call.active()]


class TooMuch(EdgeCase):
    """Bodies that are larger than their route takes."""

    def setUp(self) -> None:
        super().setUp()

        async def never(call: Call) -> Reply:
            raise AssertionError

        self.serve(Route(method="PUT", path=PATH, handle=never, body=dict[str, str], body_limit=1000))
        self.wire = Wire(self.factory)

    def test_a_body_announced_too_large_is_refused_at_once_and_its_rest_thrown_away(self) -> None:
        reply = self.wire.reply()
        self.wire.send(encode_request("PUT", PATH, {**TOKEN, "Content-Length": "1001", "Expect": "100-continue"}))
        answer = self.successResultOf(reply)
        assert (answer.status, answer.errcode, answer.headers["connection"]) == (413, "M_TOO_LARGE", "close")
        assert self.wire.open
        self.wire.send(b"x" * 500)
        assert not self.wire.received
        self.clock.advance(LINGER_S + 1)
        assert not self.wire.open

    def test_one_that_is_wholly_there_is_refused_too(self) -> None:
        reply = self.wire.reply()
        self.wire.send(encode_request("PUT", PATH, TOKEN, b"x" * 1001) + encode_request("PUT", PATH, TOKEN, b"{}"))
        assert self.successResultOf(reply).errcode == "M_TOO_LARGE"
        assert not self.wire.open
        assert not self.wire.received

    def test_a_chunked_body_is_refused_when_it_has_become_too_large(self) -> None:
        reply = self.wire.reply()
        self.wire.send(encode_request("PUT", PATH, {**TOKEN, "Transfer-Encoding": "chunked"}))
        self.wire.send(b"200\r\n" + b"x" * 512 + b"\r\n")
        self.assertNoResult(reply)
        self.wire.send(b"200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n")
        assert self.successResultOf(reply).errcode == "M_TOO_LARGE"
        assert not self.wire.open

    def test_a_large_body_that_nothing_wants_is_not_read(self) -> None:
        for method, path, status in (("PUT", "/none", 404), ("POST", PATH, 405), ("OPTIONS", PATH, 413)):
            wire = Wire(self.factory)
            reply = wire.reply()
            wire.send(encode_request(method, path, {"Content-Length": "1000000"}))
            assert self.successResultOf(reply).status == status
            wire.hang_up()

    def test_a_small_one_is_read_past_and_the_connection_goes_on(self) -> None:
        for _ in range(2):
            reply = self.wire.reply()
            self.wire.send(encode_request("PUT", "/none", {}, b"x" * 2000))
            assert self.successResultOf(reply).status == 404
        assert self.wire.open

    def test_it_is_counted_once(self) -> None:
        self.wire.send(encode_request("PUT", PATH, TOKEN, b"x" * 1001))
        (count,) = [count for route, count in self.metrics._routes.items() if route is not None]
        assert count.statuses == {413: 1}


class Streams(EdgeCase):
    """Bodies that come as files."""

    def setUp(self) -> None:
        super().setUp()
        self.got: list[tuple[str, bytes, bool]] = []

        async def keep(call: Call) -> Reply:
            content = call.request.content
            assert content is not None
            self.got.append((call.caller.user_id, content.read(), hasattr(content, "getvalue")))
            return {}

        upload = Route(method="POST", path=PATH, handle=keep, streaming=True, body_limit=200_000, rate="upload")
        self.serve(upload, Route(method="PUT", path=PATH, handle=keep, streaming=True, auth="none"))
        self.wire = Wire(self.factory)

    def test_a_small_body_stays_in_memory_and_a_large_one_goes_to_disk(self) -> None:
        for length, in_memory in ((0, True), (10, True), (70_000, False)):
            reply = self.wire.reply()
            self.wire.send(encode_request("POST", PATH, TOKEN, b"x" * length))
            assert self.successResultOf(reply).status == 200
            assert self.got.pop() == ("@alice:parta.test", b"x" * length, in_memory)

    def test_a_chunked_body_goes_to_disk(self) -> None:
        self.wire.send(encode_request("POST", PATH, {**TOKEN, "Transfer-Encoding": "chunked"}) + b"1\r\nx\r\n0\r\n\r\n")
        assert self.got == [("@alice:parta.test", b"x", False)]

    def test_who_may_not_upload_is_refused_before_the_body(self) -> None:
        for headers, errcode in (({}, "M_MISSING_TOKEN"), ({"Authorization": "Bearer x"}, "M_UNKNOWN_TOKEN")):
            wire = Wire(self.factory)
            reply = wire.reply()
            wire.send(encode_request("POST", PATH, {**headers, "Content-Length": "100000"}))
            assert self.successResultOf(reply).errcode == errcode
            wire.send(b"x" * 100)
            wire.hang_up()
        assert not self.got

    def test_who_is_refused_while_the_body_comes_is_refused_once(self) -> None:
        found: Deferred[Session | None] = Deferred()
        self.patch(self.factory.edge, "_attendants", _replace_find(self.factory.edge, found))
        reply = self.wire.reply()
        self.wire.send(encode_request("POST", PATH, {**TOKEN, "Content-Length": "100"}) + b"x" * 50)
        self.assertNoResult(reply)
        found.callback(None)
        assert self.successResultOf(reply).errcode == "M_UNKNOWN_TOKEN"
        self.wire.send(b"x" * 50)
        assert not self.wire.received

    def test_an_answer_that_comes_after_the_body_admits_or_refuses_then(self) -> None:
        for session, status in ((self.sessions["alice's"], 200), (None, 401)):
            found: Deferred[Session | None] = Deferred()
            self.patch(self.factory.edge, "_attendants", _replace_find(self.factory.edge, found))
            wire = Wire(self.factory)
            reply = wire.reply()
            wire.send(encode_request("POST", PATH, TOKEN, b"x"))
            self.assertNoResult(reply)
            found.callback(session)
            assert self.successResultOf(reply).status == status

    def test_a_body_that_is_too_large_is_not_kept(self) -> None:
        reply = self.wire.reply()
        self.wire.send(encode_request("POST", PATH, {**TOKEN, "Transfer-Encoding": "chunked"}))
        self.wire.send(b"30d41\r\n" + b"x" * 200_001)
        assert self.successResultOf(reply).errcode == "M_TOO_LARGE"
        assert not self.got

    def test_a_body_for_which_there_is_no_place_is_refused(self) -> None:
        self.factory.edge.spool_dir = make_folder(self) / "none"
        reply = self.wire.reply()
        self.wire.send(encode_request("POST", PATH, {**TOKEN, "Content-Length": "100000"}) + b"x")
        assert self.successResultOf(reply).status == 503

    def test_a_disk_that_fills_up_refuses_what_is_coming(self) -> None:
        reply = self.wire.reply()
        self.wire.send(encode_request("POST", PATH, {**TOKEN, "Content-Length": "100000"}) + b"x")
        (request,) = self.wire.channel.requests
        request.content.close()
        request.content = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - closed by the hanging up
        self.wire.send(b"x" * 1000)
        answer = self.successResultOf(reply)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        self.wire.hang_up()
        assert request.content is None
        assert not self.got

    def test_an_upload_that_breaks_off_leaves_nothing(self) -> None:
        self.wire.send(encode_request("POST", PATH, {**TOKEN, "Content-Length": "100000"}) + b"x")
        (request,) = self.wire.channel.requests
        content = request.content
        self.wire.hang_up()
        assert content.closed
        assert not self.got


def _replace_find(edge: object, found: Deferred[Session | None]) -> object:
    from dataclasses import replace

    attendants = edge._attendants  # type: ignore[attr-defined]
    return replace(attendants, find_session=lambda token: found)


class HangingUp(EdgeCase):
    """Clients that do not wait for the answer, and a server that stops."""

    def setUp(self) -> None:
        super().setUp()
        self.work: Deferred[None] = Deferred()
        self.story: list[str] = []

        async def poll(call: Call) -> Reply:
            self.story.append("waits")
            await call.gone
            self.story.append("gone")
            return {"gone": True}

        async def work(call: Call) -> Reply:
            await self.work
            self.story.append("done")
            return Answer(status=201)

        async def store(call: Call) -> Reply:
            await self.work
            content = call.request.content
            assert content is not None
            self.story.append(content.read().decode())
            return {}

        self.poll = Route(method="GET", path=PATH, handle=poll, auth="none")
        self.put = Route(method="PUT", path=PATH, handle=work, auth="none")
        store_route = Route(method="POST", path=PATH, handle=store, auth="none", streaming=True)
        self.serve(self.poll, self.put, store_route)
        self.wire = Wire(self.factory)

    def test_who_waits_for_news_is_told_that_the_client_has_gone(self) -> None:
        self.wire.send(encode_request("GET", PATH, {}))
        assert self.story == ["waits"]
        self.wire.hang_up()
        assert self.story == ["waits", "gone"]
        assert self.metrics.route(self.poll).statuses == {HUNG_UP: 1}
        assert self.factory.edge.running == 0

    def test_what_a_client_asked_for_is_done_although_it_has_gone(self) -> None:
        self.wire.send(encode_request("PUT", PATH, {}))
        self.wire.hang_up()
        assert self.factory.edge.running == 1
        self.work.callback(None)
        assert self.story == ["done"]
        assert self.metrics.route(self.put).statuses == {HUNG_UP: 1}

    def test_a_body_can_be_read_although_the_client_has_gone(self) -> None:
        self.wire.send(encode_request("POST", PATH, {}, b"upload"))
        (request,) = self.wire.channel.requests
        content = request.content
        self.wire.hang_up()
        self.work.callback(None)
        assert self.story == ["upload"]
        assert content.closed

    def test_when_the_server_stops_who_waits_is_answered_and_the_connection_ends(self) -> None:
        idle = Wire(self.factory)
        reply = self.wire.reply()
        self.wire.send(encode_request("GET", PATH, {}))
        self.factory.edge.stopping = True
        self.factory.hurry()
        answer = self.successResultOf(reply)
        assert answer.json == {"gone": True}
        assert answer.headers["connection"] == "close"
        assert not self.wire.open
        assert not idle.open

    def test_who_comes_while_the_server_stops_does_not_wait(self) -> None:
        self.factory.edge.stopping = True
        reply = self.wire.reply()
        self.wire.send(encode_request("GET", PATH, {}))
        assert self.successResultOf(reply).json == {"gone": True}

    def test_a_refusal_for_nobody_is_not_written(self) -> None:
        async def fail(call: Call) -> Reply:
            await call.gone
            return call.caller.user_id.encode()

        route = Route(method="GET", path=PATH, handle=fail, auth="none")
        self.serve(route)
        wire = Wire(self.factory)
        wire.send(encode_request("GET", PATH, {}))
        wire.hang_up()
        assert self.metrics.route(route).statuses == {HUNG_UP: 1}


class Files(EdgeCase):
    """Parts of files as answers."""

    def setUp(self) -> None:
        super().setUp()
        self.file = make_folder(self) / "file"
        self.content = os.urandom(300_000)
        self.file.write_bytes(self.content)
        self.start, self.length = 0, len(self.content)

        async def show(call: Call) -> Reply:
            part = FileBody(self.file, self.start, self.length)
            return Answer(status=206, headers={"Content-Type": "image/png"}, file=part)

        self.route = Route(method="GET", path=PATH, handle=show, auth="none")
        self.serve(self.route)
        self.wire = Wire(self.factory)

    def get(self, method: str = "GET") -> None:
        self.wire.send(encode_request(method, PATH, {}))

    def test_a_whole_file_goes_out_with_its_length(self) -> None:
        for _ in range(2):
            reply = self.wire.reply()
            self.get()
            answer = self.successResultOf(reply)
            assert (answer.status, answer.body) == (206, self.content)
            assert answer.headers["content-type"] == "image/png"
        assert self.metrics.route(self.route).statuses == {206: 2}

    def test_a_part_goes_out(self) -> None:
        self.start, self.length = 100, 70_000
        reply = self.wire.reply()
        self.get()
        assert self.successResultOf(reply).body == self.content[100:70_100]

    def test_an_empty_part_goes_out(self) -> None:
        self.length = 0
        reply = self.wire.reply()
        self.get()
        assert self.successResultOf(reply).body == b""

    def test_head_gets_no_file(self) -> None:
        reply = self.wire.reply(head=True)
        self.get("HEAD")
        answer = self.successResultOf(reply)
        assert (answer.body, answer.headers["content-length"]) == (b"", "300000")

    def test_no_more_is_read_than_the_receiver_takes(self) -> None:
        self.take_bit_by_bit(len(self.content))

    def take_bit_by_bit(self, length: int) -> None:
        line = self.wire.line
        sizes = []

        def take(data: bytes) -> None:
            sizes.append(len(data))
            line.producer.pauseProducing()

        self.patch(line, "write", take)
        self.get()
        assert len(sizes) == 2  # the head, and one piece
        line.producer.resumeProducing()
        assert len(sizes) == 3
        while self.wire.channel.requests:
            line.producer.resumeProducing()
        assert sum(sizes[1:]) == length
        assert max(sizes) <= 65536

    def test_so_is_a_large_answer_that_is_there_already(self) -> None:
        answer = b'"' + b"x" * (3 << 20) + b'"'

        async def show(call: Call) -> Reply:
            return answer

        route = Route(method="GET", path=PATH, handle=show, auth="none")
        self.serve(route)
        self.wire = Wire(self.factory)
        self.take_bit_by_bit(len(answer))
        wire = Wire(self.factory)
        for method, body in (("GET", answer), ("HEAD", b"")):
            reply = wire.reply(head=method == "HEAD")
            wire.send(encode_request(method, PATH, {}))
            answered = self.successResultOf(reply)
            assert (answered.status, answered.body, answered.headers["content-length"]) == (200, body, str(len(answer)))
        assert self.metrics.route(route).statuses == {200: 3}

    def test_a_receiver_that_takes_nothing_more_is_cut_off(self) -> None:
        line = self.wire.line
        self.patch(line, "write", lambda data: line.producer.pauseProducing())
        self.patch(line, "loseConnection", lambda: None)
        self.get()
        self.clock.advance(IDLE_S + 1)
        self.clock.advance(20)
        assert not self.wire.open
        assert self.metrics.route(self.route).statuses == {HUNG_UP: 1}

    def test_who_hangs_up_in_the_midst_is_counted_so(self) -> None:
        line = self.wire.line
        self.patch(line, "write", lambda data: line.producer.pauseProducing())
        self.get()
        self.wire.end(ConnectionLost())
        assert self.metrics.route(self.route).statuses == {HUNG_UP: 1}

    def test_a_file_that_is_shorter_than_promised_breaks_the_connection(self) -> None:
        self.length += 1
        self.get()
        assert not self.wire.open

    def test_a_file_for_nobody_is_not_sent(self) -> None:
        async def late(call: Call) -> Reply:
            await call.gone
            return Answer(file=FileBody(self.file, 0, 10))

        self.serve(Route(method="GET", path=PATH, handle=late, auth="none"))
        self.wire = Wire(self.factory)
        self.get()
        self.wire.hang_up()
        assert self.factory.edge.running == 0
