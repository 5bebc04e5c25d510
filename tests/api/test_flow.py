"""Answers whose file is still coming: in chunks, as fast as it comes and is taken, visibly broken where it breaks."""

from typing import Any

from federation.errors import PeerUnreachable
from homeserver.api.connection import HUNG_UP
from homeserver.api.connection.pump import BROKEN_OFF, STALLED_S
from homeserver.api.route import Answer, Call, Reply, Route
from homeserver.media.coming import MOMENT_S, Coming
from homeserver.media.files import Files
from homeserver.media.names import Label
from tests.kit.edges import EdgeCase
from tests.kit.wire import Wire, encode_request, make_folder

PATH = "/_matrix/client/v3/thing"


class Flows(EdgeCase):
    def setUp(self) -> None:
        super().setUp()
        self.arriving = Files(make_folder(self), largest=1 << 30).arrive("abcdef", 1 << 30)
        self.coming = Coming(self.clock)
        self.coming.show(Label(content_type="image/png", filename=None), self.arriving)
        self.come(b"begun")
        self.clock.advance(MOMENT_S)

        async def show(call: Call) -> Reply:
            assert call.takes_flow
            return Answer(headers={"Content-Type": "image/png"}, flow=self.coming)

        async def tell(call: Call) -> Reply:
            return {"takes_flow": call.takes_flow}

        self.route = Route(method="GET", path=PATH, handle=show, auth="none")
        self.serve(self.route, Route(method="GET", path=PATH + "/told", handle=tell, auth="none"))
        self.wire = Wire(self.factory)

    def come(self, content: bytes) -> None:
        """So much more has come."""
        self.arriving.write(content)
        self.coming.grow(self.arriving.size)

    def get(self, wire: Wire | None = None) -> None:
        (wire or self.wire).send(encode_request("GET", PATH, {}))

    def test_it_goes_out_as_it_comes_and_the_connection_goes_on(self) -> None:
        for _ in range(2):
            reply = self.wire.reply()
            self.get()
            assert self.wire.received.endswith(b"\r\n\r\n5\r\nbegun\r\n") or self.coming._ended
            if not self.coming._ended:
                self.come(b"middle")
                assert self.wire.received.endswith(b"6\r\nmiddle\r\n")
                self.assertNoResult(reply)
                self.arriving.finish()
                self.coming.conclude(None)
            answer = self.successResultOf(reply)
            assert (answer.status, answer.body) == (200, b"begunmiddle")
            assert "content-length" not in answer.headers
        assert self.metrics.route(self.route).statuses == {200: 2}

    def test_all_who_ask_get_it_each_at_their_own_speed(self) -> None:
        wires = [self.wire, Wire(self.factory)]
        slow: Any = wires[1].line
        replies = [wire.reply() for wire in wires]
        self.get(wires[0])
        self.come(b"x" * 200_000)
        self.get(wires[1])
        slow.producer.pauseProducing()
        self.come(b"y" * 300_000)
        held = len(wires[1].received)
        self.coming.conclude(None)
        assert len(self.successResultOf(replies[0]).body) == 500_005
        assert len(wires[1].received) == held
        slow.producer.resumeProducing()
        assert self.successResultOf(replies[1]).body == b"begun" + b"x" * 200_000 + b"y" * 300_000

    def test_no_more_is_read_than_the_receiver_takes(self) -> None:
        line: Any = self.wire.line
        sizes: list[int] = []

        def take(data: bytes) -> None:
            sizes.append(len(data))
            line.producer.pauseProducing()

        self.come(b"x" * 300_000)
        self.patch(line, "write", take)
        self.get()
        assert len(sizes) == 2  # the head, and one piece
        self.come(b"x" * 300_000)
        assert len(sizes) == 2
        line.producer.resumeProducing()
        assert len(sizes) == 3
        assert max(sizes) < 66_000

    def test_what_breaks_is_broken_off(self) -> None:
        reply = self.wire.reply()
        self.get()
        self.come(b"more")
        self.coming.conclude(PeerUnreachable("gone"))
        self.failureResultOf(reply)
        assert not self.wire.open
        assert not self.wire.received.endswith(b"0\r\n\r\n")
        assert self.metrics.route(self.route).statuses == {BROKEN_OFF: 1}

    def test_a_bug_in_its_midst_is_logged(self) -> None:
        reply = self.wire.reply()
        self.get()
        with self.assertLogs("homeserver.api.edge", "ERROR") as logged:
            self.coming.conclude(KeyError("ours"))
        assert "failed" in logged.output[0]
        self.failureResultOf(reply)

    def test_who_waits_for_more_is_not_idle_and_who_takes_nothing_is_cut_off(self) -> None:
        self.get()
        self.clock.advance(STALLED_S * 5)
        assert self.wire.open
        line: Any = self.wire.line
        self.patch(line, "write", lambda data: line.producer.pauseProducing())
        self.patch(line, "loseConnection", lambda: None)
        self.come(b"more")
        self.come(b"and more")
        self.clock.advance(STALLED_S + 1)
        self.clock.advance(20)
        assert not self.wire.open
        assert self.metrics.route(self.route).statuses == {HUNG_UP: 1}

    def test_who_hangs_up_is_not_written_to(self) -> None:
        self.get()
        self.wire.hang_up()
        self.come(b"more")
        self.coming.conclude(None)
        assert self.metrics.route(self.route).statuses == {HUNG_UP: 1}

    def test_only_who_can_see_it_broken_takes_one(self) -> None:
        assert self.ask("GET", PATH + "/told").json == {"takes_flow": True}
        assert self.ask("HEAD", PATH + "/told").status == 200
        reply = self.wire.reply()
        self.wire.send(b"GET %s/told HTTP/1.0\r\n\r\n" % PATH.encode())
        assert self.successResultOf(reply).json == {"takes_flow": False}
