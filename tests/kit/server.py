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
from twisted.trial.unittest import TestCase

from config.load import parse_settings
from config.settings import Settings
from homeserver.api.connection import EdgeFactory
from homeserver.server import Server, build_server
from homeserver.storage.database import Dialect
from tests.kit.callers import Callers
from tests.kit.databases import find_memory_folder, make_database, reactor_in_use


class ServerCase(Callers, TestCase):
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
