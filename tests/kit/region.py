"""Regions that federate: whole servers in this process, which talk to each other over TLS on loopback.

    class Talking(RegionsCase):
        async def test_they_know_each_other(self) -> None:
            alice = await self.north.register("alice")
            answer = await self.north.peers.ask(self.south.name, "GET", "/_matrix/federation/v1/version")

`north` and `south` are `Region`s; `begin_region` makes more. Clients ask them over wires in memory, they ask each other
over sockets. A region is stopped with `stop`, begun anew on its data with `begin`, and keeps its name and port; `cut`
parts regions from the others, until they `heal`. With
``mode = "list"`` they stand on a list that the test signs: `publish` changes it.
"""

import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import yaml
from twisted.trial.unittest import TestCase

from config.load import parse_settings
from config.settings import Settings
from federation import canonical
from federation.ed25519 import SigningKey
from federation.ids import ServerName
from federation.regions import sign_region_list
from federation.requests import MAX_BODY_DEPTH, build_request_auth
from federation.transport.agent import Outgoing, Unreachable
from federation.transport.keyring import Keyring
from federation.transport.peers import Peers
from homeserver.api.connection import EdgeFactory
from homeserver.api.listeners import open_doors
from homeserver.api.route import Route
from homeserver.server import Server, build_server
from homeserver.storage.database import Dialect
from tests.kit.callers import Callers, send
from tests.kit.certificates import Authority
from tests.kit.databases import Place, find_memory_folder, make_database, reactor_in_use
from tests.kit.ports import find_port
from tests.kit.wire import Reply

T = TypeVar("T")

AUTHORITY = "authority.test"
DAY_MS = 86_400_000


def now_ms() -> int:
    """The real time, as the regions see it."""
    return time.time_ns() // 1_000_000


async def _say_nothing() -> None:
    """An outbox that does not begin."""


@dataclass(kw_only=True, eq=False)
class Region(Callers):
    """One server; `server` is the one that runs, None while it is stopped. Its clock is `late_ms` ahead of the real.
    While it `is_silent`, it tells the others nothing but what a test has it ask them.
    """

    name: ServerName
    settings: Settings
    place: Place
    server: Server | None = None
    late_ms: int = 0
    is_silent: bool = False
    cut_from: set[ServerName] = field(default_factory=set)

    async def begin(self) -> None:
        """Start a server on the data that are there; it answers other servers on its port from now on."""
        self.server = build_server(
            self.settings, reactor_in_use(), lambda: now_ms() + self.late_ms, secrets.token_bytes
        )
        outward: Any = self.server.core.outward
        outward.ask, outward.open = self._guard(outward.ask), self._guard(outward.open)
        if self.is_silent:
            sending: Any = self.server.sending
            sending.resume = _say_nothing
        open_doors(self.server.doors[1:], reactor_in_use())
        await self.server.prepare()

    def _guard(self, go: Callable[[Outgoing], Awaitable[T]]) -> Callable[[Outgoing], Coroutine[Any, Any, T]]:
        """Goes to no server that this one is cut off from."""

        async def guarded(request: Outgoing) -> T:
            if request.to is not None and request.to.host_header in self.cut_from:
                raise Unreachable("cut off")
            return await go(request)

        return guarded

    async def stop(self) -> None:
        """Stop the server, if it runs."""
        server, self.server = self.server, None
        if server is not None:
            await server.stop()

    async def restart(self) -> None:
        """Stop the server, and start another on its data."""
        await self.stop()
        await self.begin()

    @property
    def running(self) -> Server:
        """The server that runs."""
        assert self.server is not None, f"{self.name} is stopped"
        return self.server

    @property
    def peers(self) -> Peers:
        """The other servers, as this one asks them."""
        return self.running.region.peers

    @property
    def keyring(self) -> Keyring:
        """The keys of the others."""
        return self.running.region.keyring

    @property
    def key(self) -> SigningKey:
        """What this region signs with."""
        return self.running.region.keys.current

    @property
    def factory(self) -> EdgeFactory:
        """What answers clients."""
        return self.running.doors[0].factory

    async def call_as_server(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        """Make a request at the door for other servers, with just these headers."""
        return await send(self.running.doors[1].factory, method, path, headers or {}, body)

    async def call_signed(
        self,
        origin: ServerName,
        key: SigningKey,
        method: str,
        path: str,
        json: object = None,
        *,
        body: bytes | None = None,
    ) -> Reply:
        """Make a request at the door for other servers, as that one makes it; `body` is sent and signed as it is."""
        if json is not None:
            body = canonical.encode(json, strict=False, max_depth=MAX_BODY_DEPTH)
        content = None if body is None else msgspec.Raw(body)
        auth = build_request_auth(method, path, origin, self.name, content, key)
        return await self.call_as_server(method, path, {"Authorization": auth}, body)

    @property
    def signed_routes(self) -> list[Route]:
        """The endpoints for other servers that want a signature."""
        return [route for route in self.server_routes if route.auth == "region"]

    @property
    def server_routes(self) -> list[Route]:
        """The endpoints for other servers."""
        edge: Any = self.running.doors[1].factory.edge
        return list(edge._bound)


class RegionsCase(TestCase):
    """A test of two regions. `configuration` is what differs for both, `dialects` where each keeps its data."""

    timeout = 120
    dialects: tuple[Dialect, Dialect] = ("sqlite", "sqlite")
    mode: Literal["open", "list"] = "open"
    silent = False
    """Whether the regions tell each other only what the test has them ask."""
    configuration: dict[str, Any] = {}
    begun = 2
    """How many of the two begin."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """Make two regions, and begin them."""
        self.folder = Path(tempfile.mkdtemp(prefix="parta-regions-", dir=find_memory_folder()))
        self.addCleanup(shutil.rmtree, self.folder)
        self.certifier = Authority(self.folder / "ca.pem")
        self.authority = SigningKey("a_1", secrets.token_bytes(32))
        self.list_file = self.folder / "regions.json"
        self.list_version = 0
        self.regions: list[Region] = []
        self.north = self.make_region("north", self.dialects[0])
        self.south = self.make_region("south", self.dialects[1])
        self.publish(self.build_list())
        for region in (self.north, self.south)[: self.begun]:
            await region.begin()

    def make_region(self, name: str, dialect: Dialect = "sqlite", **changes: Any) -> Region:
        """A further region that has not begun; `changes` are to its configuration. It ends with the test."""
        place = make_database(dialect)
        self.addCleanup(place.remove)
        folder = self.folder / name
        folder.mkdir()
        server = ServerName(f"127.0.0.1:{find_port()}")
        settings = self.build_settings(folder, server, changes)
        if dialect == "sqlite":
            database = msgspec.structs.replace(place.settings, path=place.data_dir / "parta.db")
            settings = msgspec.structs.replace(settings, database=database)
        else:
            settings = msgspec.structs.replace(settings, database=place.settings)
        region = Region(name=server, settings=settings, place=place, is_silent=self.silent)
        self.regions.append(region)
        self.addCleanup(region.stop)
        return region

    def build_settings(self, folder: Path, server: ServerName, changes: dict[str, Any]) -> Settings:
        """A plain Matrix homeserver that lets anybody register; `configuration` and `changes` come on top."""
        certificate, key = self.certifier.certify(folder, ip_address("127.0.0.1"))
        keys = {self.authority.key_id: self.authority.verify_key.encode()}
        tree = {
            "server_name": server,
            "policy": "open",
            "listeners": [
                {"port": 0, "resources": ["client", "school", "admin", "metrics"]},
                {
                    "port": int(server.rpartition(":")[2]),
                    "resources": ["federation"],
                    "tls": {"certificate": str(certificate), "private_key": str(key)},
                },
            ],
            "registration": {"mode": "open"},
            "federation": {"mode": self.mode, "list": {"file": str(self.list_file), "authority_keys": keys}},
            "network": {"trusted_ca": str(self.certifier.file), "allow_private_addresses": True},
            "limits": {"rates": False},
            "passwords": {"time_cost": 1, "memory_kib": 8},
            "log": {"level": "warning"},
        }
        return parse_settings(yaml.safe_dump({**tree, **self.configuration, **changes}), {}, folder=folder)

    def build_list(self, **changes: Any) -> dict[str, Any]:
        """The next list of all regions that were made; `changes` are to its members."""
        self.list_version += 1
        regions = {region.name: {"status": "member", "name": region.name} for region in self.regions}
        draft = {"authority": AUTHORITY, "version": self.list_version, "valid_until_ts": now_ms() + 30 * DAY_MS}
        return {**draft, "regions": regions, **changes}

    def publish(self, draft: dict[str, Any]) -> None:
        """Sign a list and put it where the regions look for it; `refresh` lets those that run look."""
        self.list_file.write_bytes(sign_region_list(msgspec.json.encode(draft), self.authority))

    def cut(self, *regions: Region) -> None:
        """Cut those regions off from all others: no new request goes through, either way."""
        for one in regions:
            for other in self.regions:
                if other not in regions:
                    one.cut_from.add(other.name)
                    other.cut_from.add(one.name)

    def heal(self) -> None:
        """Let everybody reach everybody again, and try at once."""
        for one in self.regions:
            one.cut_from.clear()
            for other in self.regions:
                if one.server is not None:
                    one.peers.heard_from(other.name)

    async def refresh(self) -> None:
        """Let all regions that run look at the list."""
        for region in self.regions:
            if region.server is not None:
                await region.server.region.regions.refresh()
