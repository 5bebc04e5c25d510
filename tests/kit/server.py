"""A whole server in this process, asked over wires in memory.

    class Talking(ServerCase):
        async def test_what_is_said_is_heard(self) -> None:
            alice, bob = await self.register("alice"), await self.register("bob")
            room = await alice.create_room(preset="public_chat")
            await bob.join(room)
            await alice.send(room, "hi")
            assert await bob.texts(room) == ["hi"]

Everything is real but the network: the database, threads, the clock. `configuration` is what a test changes, `restart`
begins anew on the same data.
"""

import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import yaml
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from config.load import parse_settings
from config.settings import Settings
from homeserver.api.connection import EdgeFactory
from homeserver.server import Server, build_server
from homeserver.storage.database import Dialect
from tests.kit.databases import find_memory_folder, make_database, reactor_in_use
from tests.kit.people import V3, Person
from tests.kit.wire import Reply, Wire, encode_request

PASSWORD = "correct horse 5"


class ServerCase(TestCase):
    """A test of a whole server; a subclass may name another `dialect`, and keys that differ in `configuration`."""

    dialect: Dialect = "sqlite"
    configuration: dict[str, Any] = {}

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """Make a fresh server."""
        self.folder = Path(tempfile.mkdtemp(prefix="parta-", dir=find_memory_folder()))
        self.addCleanup(shutil.rmtree, self.folder)
        self.place = make_database(self.dialect)
        self.addCleanup(self.place.remove)
        self.settings = self.build_settings()
        await self.begin()
        self.addCleanup(lambda: self.server.stop())  # the one that runs by then

    def build_settings(self) -> Settings:
        """A plain Matrix homeserver that lets anybody register, and the changes of `configuration`."""
        tree = {
            "server_name": "parta.test",
            "policy": "open",
            "listeners": [{"port": 0, "resources": ["client", "school", "admin", "metrics"]}],
            "registration": {"mode": "open"},
            "federation": {"mode": "none"},
            "limits": {"rates": False},
            "passwords": {"time_cost": 1, "memory_kib": 8},
            "log": {"level": "warning"},
        }
        settings = parse_settings(yaml.safe_dump({**tree, **self.configuration}), {}, folder=self.folder)
        database = self.place.settings
        if self.dialect == "sqlite":
            database = msgspec.structs.replace(database, path=self.place.data_dir / "parta.db")
        return msgspec.structs.replace(settings, database=database)

    async def begin(self) -> None:
        """Start a server on the data that are there."""
        self.server: Server = build_server(
            self.settings, reactor_in_use(), lambda: time.time_ns() // 1_000_000, secrets.token_bytes
        )
        await self.server.prepare()

    async def restart(self) -> None:
        """Stop the server, and start another on its data."""
        await self.server.stop()
        await self.begin()

    @property
    def factory(self) -> EdgeFactory:
        """What answers on the first listener."""
        return self.server.doors[0].factory

    async def call(
        self, method: str, path: str, json: object = None, *, token: str | None = None, body: bytes | None = None
    ) -> Reply:
        """Make a request on a connection of its own."""
        if json is not None:
            body = msgspec.json.encode(json)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        wire = Wire(self.factory)
        waiting = wire.reply(head=method == "HEAD")
        wire.send(encode_request(method, path, headers, body))
        reply = await waiting
        await deferLater(reactor_in_use(), 0)  # the server is still writing it
        wire.hang_up()
        return reply

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
