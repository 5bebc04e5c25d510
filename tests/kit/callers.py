"""Requests of clients to a server in this process, each on a connection of its own."""

import msgspec
from twisted.internet.task import deferLater

from homeserver.api.connection import EdgeFactory
from tests.kit.databases import reactor_in_use
from tests.kit.people import V3, Person
from tests.kit.wire import Reply, Wire, encode_request

PASSWORD = "correct horse 5"


class Callers:
    """Whoever calls; what inherits this says with its `factory` who answers."""

    @property
    def factory(self) -> EdgeFactory:
        """What answers clients."""
        raise NotImplementedError

    async def call(
        self, method: str, path: str, json: object = None, *, token: str | None = None, body: bytes | None = None
    ) -> Reply:
        """Make a client's request."""
        if json is not None:
            body = msgspec.json.encode(json)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await send(self.factory, method, path, headers, body)

    async def register(self, name: str) -> Person:
        """A new person, at their first device."""
        request = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        return self._person(await self.call("POST", f"{V3}/register", request))

    async def log_in(self, name: str, password: str = PASSWORD) -> Person:
        """A person who is there, at a new device."""
        identifier = {"type": "m.id.user", "user": name}
        request = {"type": "m.login.password", "identifier": identifier, "password": password}
        return self._person(await self.call("POST", f"{V3}/login", request))

    def _person(self, reply: Reply) -> Person:
        assert reply.status == 200, reply
        got = reply.json
        return Person(server=self, user_id=got["user_id"], device_id=got["device_id"], token=got["access_token"])


async def send(factory: EdgeFactory, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Reply:
    """Make a request with just these headers."""
    wire = Wire(factory)
    waiting = wire.reply(head=method == "HEAD")
    wire.send(encode_request(method, path, headers, body))
    reply = await waiting
    await deferLater(reactor_in_use(), 0)  # the server is still writing it
    wire.hang_up()
    return reply
