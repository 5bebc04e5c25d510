"""An edge by itself: routes that a test declares, answered in memory, with a clock that the test moves."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from federation.ids import DeviceID, UserID
from homeserver.accounts.sessions import Session
from homeserver.api.access import AccessLog, Instants
from homeserver.api.connection import EdgeFactory
from homeserver.api.edge import Attendants, Edge
from homeserver.api.limits import RateLimits
from homeserver.api.metrics import Metrics
from homeserver.api.route import Route
from homeserver.api.signed import SignedRequests
from tests.kit.wire import Reply, Wire, encode_request

START_S = 1_700_000_000.0
ALICE = UserID("@alice:parta.test")


class EdgeCase(SynchronousTestCase):
    """A test of one edge: `serve` some routes, then `ask`."""

    def setUp(self) -> None:
        """A clock, sessions by token (one of alice's), and nothing counted or written yet."""
        self.clock = Clock()
        self.clock.advance(START_S)
        self.sessions = {"alice's": Session(user_id=ALICE, device_id=DeviceID("PHONE"), token_hash=b"")}
        self.metrics = Metrics()
        self.log: list[str] = []
        self.seen: list[tuple[str, str, str]] = []
        self.spool_dir: Path | None = None
        self.signed: SignedRequests | None = None

    def now_ms(self) -> int:
        """The time on the clock."""
        return int(self.clock.seconds() * 1000)

    def find_session(self, token: str) -> Deferred[Session | None]:
        """The session of a token."""
        return succeed(self.sessions.get(token))

    def serve(self, *routes: Route, behind_proxy: bool = False, rates: bool = True) -> EdgeFactory:
        """Answer these routes from now on."""
        attendants = Attendants(
            reactor=self.clock,
            instants=Instants(self.now_ms),
            find_session=self.find_session,
            note_seen=lambda user_id, device_id, ip: self.seen.append((user_id, device_id, ip)),
            limits=RateLimits(enabled=rates, now_ms=self.now_ms),
            metrics=self.metrics,
            access=AccessLog(self.log.append, "text", self.clock),
            spool_dir=self.spool_dir,
            signed=self.signed,
        )
        self.factory = EdgeFactory(Edge(routes, attendants, behind_proxy=behind_proxy))
        return self.factory

    def ask(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        token: str | None = "alice's",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make a request that is answered at once."""
        if json is not None:
            body = msgspec.json.encode(json)
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        wire = Wire(self.factory)
        reply = wire.reply(head=method == "HEAD")
        wire.send(encode_request(method, path, sent, body))
        answer = self.successResultOf(reply)
        wire.hang_up()
        return answer
