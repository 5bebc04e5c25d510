"""A real application service on loopback, and servers that know it.

    class Bridged(ServiceCase):
        async def test_what_is_said_is_told(self) -> None:
            ghost = await self.ghost("anna")
            ...
            await self.until(lambda: self.bridge.bodies() == ["hi"])

`bridge` is what answers at the service's address: it remembers what it was told and asked, and can be away or fail.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
import yaml
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from config.settings import Settings
from tests.kit.databases import reactor_in_use
from tests.kit.people import V3, Person
from tests.kit.server import ServerCase
from tests.kit.wire import Reply

AS_TOKEN = "as-secret"
HS_TOKEN = "hs-secret"
REGISTRATION: Mapping[str, Any] = {
    "id": "irc",
    "as_token": AS_TOKEN,
    "hs_token": HS_TOKEN,
    "sender_localpart": "_irc_bot",
    "rate_limited": False,
    "namespaces": {
        "users": [{"exclusive": True, "regex": "@_irc_.*"}],
        "aliases": [{"exclusive": True, "regex": "#_irc_.*"}],
    },
}


class _Connection(ProtocolWrapper):
    """A connection that can be broken off."""

    @property
    def open(self) -> Any:
        """What carries it, None once it has ended."""
        return None if self.disconnecting else self.transport

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.disconnecting = 1
        super().connectionLost(reason)


class _Doors(WrappingFactory):
    """Remembers the connections, so that they can be closed."""

    protocol = _Connection

    def __init__(self, resource: Resource) -> None:
        super().__init__(Site(resource))
        self.channels: list[_Connection] = []

    def buildProtocol(self, addr: Any) -> Any:
        channel = super().buildProtocol(addr)
        assert isinstance(channel, _Connection)
        self.channels.append(channel)
        return channel


class Bridge(Resource):
    """A service on loopback: `told` are the transactions as (ID, body), in the order in which they came."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, token: str = HS_TOKEN) -> None:
        super().__init__()
        self.token = token
        self.told: list[tuple[str, Any]] = []
        self.asked: list[str] = []
        self.status = 200
        self.answers: dict[str, Any] = {}
        self.on_ask: Callable[[str], Deferred[None] | None] = lambda path: None
        self.is_slow = self.is_old = False
        self.held: list[Request] = []
        self.port: Any = None

    def open(self, port: int = 0) -> str:
        """Listen; the address."""
        self.site = _Doors(self)
        self.port = reactor_in_use().listenTCP(port, self.site, interface="127.0.0.1")
        self.number = self.port.getHost().port
        return f"http://127.0.0.1:{self.number}"

    async def close(self) -> int:
        """Be away; the port."""
        number: int = self.number
        port, self.port = self.port, None
        if port is not None:
            await port.stopListening()
            for channel in self.site.channels:
                if channel.open is not None:
                    channel.open.abortConnection()
            await deferLater(reactor_in_use(), 0)  # they hear of it
        return number

    def render(self, request: Any) -> Any:
        path = unquote(request.path.decode())
        token = request.getHeader("authorization")
        if token != f"Bearer {self.token}":
            return self._answer(request, 403, {"errcode": "M_FORBIDDEN"})
        if self.is_old and path.startswith("/_matrix/app/v1/"):
            return self._answer(request, 404, {"errcode": "M_UNRECOGNIZED"})
        if path.startswith(("/_matrix/app/v1/transactions/", "/transactions/")):
            self.told.append((path.rpartition("/")[2], msgspec.json.decode(request.content.read())))
            if self.is_slow:
                self.held.append(request)
                return NOT_DONE_YET
            return self._answer(request, self.status, {})
        self.asked.append(unquote(request.uri.decode()).removeprefix("/_matrix/app/v1"))
        done = self.on_ask(path)
        if done is None:
            return self._reply(request, path)
        done.addCallback(lambda _: (request.write(self._reply(request, path)), request.finish()))
        return NOT_DONE_YET

    def _reply(self, request: Any, path: str) -> bytes:
        answer = self.answers.get(path.removeprefix("/_matrix/app/v1"))
        if answer is None:
            return self._answer(request, 404, {"errcode": "ORG.IRC.NOT_FOUND"})
        return self._answer(request, self.status, answer)

    def _answer(self, request: Any, status: int, body: Any) -> bytes:
        request.setResponseCode(status)
        request.setHeader("Content-Type", "application/json")
        return msgspec.json.encode(body)

    # what it was told

    def events(self) -> list[Any]:
        """All events of all transactions that were not repeated."""
        seen: dict[str, Any] = dict(self.told)
        return [event for body in seen.values() for event in body["events"]]

    def bodies(self) -> list[str]:
        """What was said in them."""
        return [event["content"]["body"] for event in self.events() if event["type"] == "m.room.message"]

    def ephemeral(self, kind: str, key: str = "ephemeral") -> Iterator[Any]:
        """What it heard of one kind that is not kept."""
        return (each for _, body in self.told for each in body.get(key, ()) if each["type"] == kind)


class ServiceCase(ServerCase):
    """A server with an application service; `registration` is what differs from `REGISTRATION`, `rooms` its limit."""

    registration: dict[str, Any] = {}
    rooms: list[str] | None = None

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.bridge = Bridge()
        self.url = self.bridge.open()
        self.addCleanup(lambda: self.bridge.close())
        await super().setUp()

    def build_settings(self) -> Settings:
        self.write_registration("irc.yaml", {**REGISTRATION, "url": self.url, **self.registration})
        entry: dict[str, Any] = {"registration": "irc.yaml"}
        if self.rooms is not None:
            entry["rooms"] = self.rooms
        more = self.configuration.get("application_services", [])
        self.configuration = {**self.configuration, "application_services": [entry, *more[1:]]}
        return super().build_settings()

    def write_registration(self, name: str, registration: Mapping[str, Any]) -> None:
        """Write a registration file beside the configuration."""
        (self.folder / name).write_text(yaml.safe_dump(dict(registration)))

    def service(self, name: str | None = None, device_id: str | None = None, token: str = AS_TOKEN) -> Person:
        """The service itself, or as it acts for one of its people."""
        user_id = f"@{name or '_irc_bot'}:{self.settings.server_name}"
        asserted = {"user_id": None if name is None else user_id, "device_id": device_id}
        return Masquerade(server=self, user_id=user_id, device_id=device_id or "", token=token, asserted=asserted)

    async def ghost(self, name: str) -> Person:
        """One of the service's people, with an account."""
        request = {"type": "m.login.application_service", "username": f"_irc_{name}", "inhibit_login": True}
        reply = await self.call("POST", f"{V3}/register", request, token=AS_TOKEN)
        assert reply.status == 200, reply
        return self.service(f"_irc_{name}")

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that comes over the network."""
        for _ in range(2_000):
            if holds():
                return
            await deferLater(reactor_in_use(), 0.005)  # another connection: nothing here could tell us
        raise AssertionError(f"it did not come: {self.bridge.told}")

    async def settle(self) -> None:
        """Wait until everything is told that can be."""
        await self.until(lambda: self.server.deliveries.is_idle)


class Masquerade(Person):
    """An application service that acts for somebody: every request says for whom."""

    def __init__(self, *, asserted: Mapping[str, str | None], **person: Any) -> None:
        super().__init__(**person)
        self.asserted = asserted

    async def call(self, method: str, path: str, json: object = None, **query: object) -> Reply:
        """Make a request for that person."""
        return await super().call(method, path, json, **{**self.asserted, **query})
