"""Servers that lie: real ones, on loopback over TLS, which sign anything, send anything and answer with anything.

    class Lying(HostileCase):
        async def test_a_forgery_is_refused(self) -> None:
            await self.expect_refused(self.factory.build_member(self.mallory, self.mallory, "ban"))

`north` is a whole Parta; `us` is one of its people, in a room that `west`, an honest server, has made and `evil` is in:
`alice` is its creator there, `mallory` an ordinary member elsewhere. All of the room is in `factory`, from which both
servers answer what they are asked. `evil.lies` changes the true answers by the name of the endpoint, `evil.said` is
said instead of one, `evil.keys` is what it publishes. `expect_refused` sees to it that nothing is other than before.
"""

from collections.abc import Coroutine, Mapping
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import msgspec
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from config.settings import TLS
from federation.ed25519 import SigningKey
from federation.errors import PeerRefused
from federation.event import Event
from federation.hashes import content_hash, essential_bytes, event_id_of
from federation.ids import EventID, ServerName, UserID, server_of
from federation.keys import build_server_keys
from federation.unpadded import encode_base64
from homeserver.api.credentials import Credentials
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import Standing
from homeserver.storage.received import find_known
from tests.kit.databases import reactor_in_use
from tests.kit.elsewhere import Said
from tests.kit.faults import LoggedFaults
from tests.kit.peer import FEDERATION, Peer
from tests.kit.people import Person
from tests.kit.ports import find_port
from tests.kit.region import Region, RegionsCase, now_ms
from tests.kit.rooms import RoomFactory, signing_key
from tests.kit.sketches import sketch
from tests.kit.wire import Reply

T = TypeVar("T")

DAY_MS = 86_400_000
VOLATILE = frozenset(
    {"destinations", "server_keys", "sequences", "devices", "sessions", "stream_position", "waiting_edus"}
)
"""Tables in which rows change whatever another server does."""
_numbers = count(1)


class Villain(Resource):
    """A server that says what it is told to say."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, name: ServerName) -> None:
        super().__init__()
        self.name = name
        self.key = signing_key(name)
        self.said: dict[str, Said] = {}
        self.publish(self.key)

    def publish(self, *keys: SigningKey, valid_until_ms: int = 0, **changes: Any) -> None:
        """Publish those keys from now on."""
        until_ms = valid_until_ms or now_ms() + DAY_MS
        self.keys = {**build_server_keys(self.name, keys, old_keys={}, valid_until_ms=until_ms), **changes}

    def live_in(self, factory: RoomFactory) -> None:
        """Answer from the history of that room."""
        self._peer = Peer(factory)
        self.asked, self.lies = self._peer.asked, self._peer.lies

    def render(self, request: Any) -> Any:
        """Answer."""
        said = self._answer(request)
        request.setResponseCode(said.status)
        for name, value in said.headers.items():
            request.setHeader(name, value)
        if said.silent:
            if said.body:
                request.write(said.body)
            return NOT_DONE_YET
        return said.body

    def _answer(self, request: Any) -> Said:
        path = request.uri.decode().partition("?")[0]
        if path == "/_matrix/key/v2/server":
            return self.said.get("keys") or Said(body=msgspec.json.encode(self.keys))
        name = unquote(path.removeprefix(FEDERATION).removeprefix("/_matrix/key/v2/")).split("/")[0]
        if name in self.said:
            self.asked[name] += 1
            return self.said[name]
        if name == "send":
            return Said(body=b'{"pdus": {}}')
        if not path.startswith(FEDERATION) or not hasattr(self._peer, f"_{name}"):
            return Said(status=404, body=b'{"errcode": "M_UNRECOGNIZED", "error": "no"}')
        query = [(key.decode(), value.decode()) for key, values in request.args.items() for value in values]
        content = request.content.read()
        body = msgspec.json.decode(content) if content else None
        asking = self._peer.ask(self.name, request.method.decode(), path, query=query, body=body)
        try:
            return Said(body=msgspec.json.encode(_run(asking)))
        except PeerRefused as refused:
            return Said(status=refused.status, body=b'{"errcode": "M_NOT_FOUND", "error": "no"}')


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of what waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")


Rows = Mapping[str, frozenset[Any]]


class HostileCase(RegionsCase):
    """A Parta among servers of which one lies. `version` is that of the room."""

    begun = 1
    version = "12"

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """Begin north and the others, and let us join their room."""
        await super().setUp()
        self.faults = LoggedFaults(self)
        self.evil, self.west = self.open_villain(), self.open_villain()
        self.mallory, self.eve = (UserID(f"@{name}:{self.evil.name}") for name in ("mallory", "eve"))
        self.alice, self.bob = (UserID(f"@{name}:{self.west.name}") for name in ("alice", "bob"))
        self.us: Person = await self.north.register("us")
        await self.begin_room(self.version)

    def make_region(self, name: str, dialect: Any = "sqlite", **changes: Any) -> Region:
        """As there, with the key that the room's factory signs with."""
        region = super().make_region(name, dialect, **changes)
        folder: Path = region.settings.data_dir
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "signing.key").write_text(signing_key(region.name).encode() + "\n")
        return region

    def open_villain(self) -> Villain:
        """A further server that says what it is told to."""
        villain = Villain(ServerName(f"127.0.0.1:{find_port()}"))
        folder = self.folder / villain.name.replace(":", "-")
        folder.mkdir()
        certificate, key = self.certifier.certify(folder, ip_address("127.0.0.1"))
        site = Site(villain)
        site.noisy, site.timeOut = False, None
        secured = TLSMemoryBIOFactory(Credentials(TLS(certificate=certificate, private_key=key)), False, site)
        port = int(villain.name.rpartition(":")[2])
        listening = reactor_in_use().listenTCP(port, secured, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        return villain

    async def tearDown(self) -> None:  # type: ignore[override]  # trial waits for it
        """Wait until the others were told everything."""
        for _ in range(500):
            if self.north.server is None or self.north.running.sending.is_idle:
                break
            await deferLater(reactor_in_use(), 0.01)

    # the room

    async def begin_room(self, version: str, **more: Any) -> Room:
        """Make a room on the honest server, and let us join it."""
        self.factory = RoomFactory(version, creator=self.alice, **more)
        self.factory.join(self.bob, self.mallory)
        for villain in (self.evil, self.west):
            villain.live_in(self.factory)
        return await self.adopt()

    async def adopt(self) -> Room:
        """Let us join, and know the room from then on."""
        state = list(self.factory.state().values())
        join = self.factory.join(UserID(self.us.user_id))
        chain = Peer(self.factory).chain([*state, join])
        return await self.north.running.receiving.adoption.adopt(self.factory.version, state, chain, join)

    @property
    def database(self) -> Database:
        """Where north keeps its data."""
        return self.north.running.core.database

    @property
    def room_id(self) -> str:
        """The room."""
        return self.factory.create.room_id

    async def room(self) -> Room:
        """The room as north has it."""
        room = await self.north.running.rooms.doors.rooms.load(self.room_id)
        assert room is not None
        return room

    async def reloaded(self) -> Room:
        """The room as storage has it."""
        room = await Rooms(self.database, self.north.running.rooms.doors.rooms.seal).load(self.room_id)
        assert room is not None
        return room

    async def say(self, text: str = "ours") -> Event:
        """Let us say something; the others know it then."""
        event_id = await self.us.send(self.room_id, text)
        (event,) = [held.event for held in (await self.room()).recent if held.event_id == event_id]
        return self.factory.append(event, [self.factory.events[each] for each in event.prev_events])

    # what others send

    async def send(self, pdus: Any, *, edus: Any = (), by: Villain | None = None, txn_id: str | None = None) -> Reply:
        """A transaction of that server's, of evil's where none is named."""
        villain = by or self.evil
        body = {"origin": villain.name, "origin_server_ts": now_ms(), "pdus": list(pdus), "edus": list(edus)}
        path = f"{FEDERATION}send/{quote(txn_id or f't{next(_numbers)}', safe='')}"
        return await self.north.call_signed(villain.name, villain.key, "PUT", path, body)

    async def tell(self, *events: Event | Any, by: Villain | None = None) -> dict[str, str]:
        """Send events; of those that were not taken, why."""
        reply = await self.send([each.pdu() if isinstance(each, Event) else each for each in events], by=by)
        assert reply.status == 200, reply
        outcomes: dict[str, dict[str, str]] = reply.json["pdus"]
        return {event_id: outcome["error"] for event_id, outcome in outcomes.items() if "error" in outcome}

    async def ask(self, path: str, json: object = None, *, by: Villain | None = None, method: str = "GET") -> Reply:
        """A question of that server's, of evil's where none is named."""
        villain = by or self.evil
        return await self.north.call_signed(villain.name, villain.key, method, FEDERATION + path, json)

    # what came of it

    async def rows(self) -> Rows:
        """All that storage has, but for what changes by itself."""
        return await self.database.read(_dump)

    async def expect_refused(self, *events: Event | Any) -> dict[str, str]:
        """None of the events is taken, and all that was there before is as it was; why."""
        async with self.unharmed():
            refused = await self.tell(*events)
            named = {event.event_id for event in events if isinstance(event, Event)}
            assert named <= refused.keys(), (named, refused)
        return refused

    async def assert_soft_failed(self, event: Event) -> None:
        """The event was taken, and is shown to nobody."""
        known = (await self.database.read(find_known, [event.event_id]))[event.event_id]
        assert known.standing is Standing.SOFT_FAILED, known

    def unharmed(self) -> "Unharmed":
        """Within this, nothing that was accepted changes, and nothing is added to what people see."""
        return Unharmed(self)

    def assert_no_errors(self) -> None:
        """Nothing was logged as a fault of ours."""
        self.faults.check()

    def sign(self, event: Event, **changes: Any) -> dict[str, Any]:
        """The event with other fields, hashed and signed anew by its sender's server, whatever sense that makes."""
        return forge(self.factory, event, changes, signing_key(server_of(event.sender)))


class Unharmed:
    """Compares a room before and after; an asynchronous context."""

    def __init__(self, case: HostileCase) -> None:
        self._case = case

    async def __aenter__(self) -> None:
        await self._case.database.write(lambda txn: None)
        self._rows, self._sketch = await self._case.rows(), sketch(await self._case.room())

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        case = self._case
        await case.database.write(lambda txn: None)
        after = await case.rows()
        for table, rows in self._rows.items():
            assert rows <= after[table], (table, rows - after[table])
        assert sketch(await case.room()) == self._sketch
        assert sketch(await case.reloaded()) == self._sketch
        case.assert_no_errors()


def _dump(txn: Txn) -> Rows:
    tables = [name for (name,) in txn.all("SELECT name FROM sqlite_master WHERE type = 'table'", ())]
    return {
        table: frozenset(txn.all(f"SELECT * FROM {table}", ()))
        for table in tables
        if table not in VOLATILE and "fts" not in table
    }


def forge(factory: RoomFactory, event: Event, changes: Mapping[str, Any], key: SigningKey) -> dict[str, Any]:
    """A PDU with those fields (None takes one away), hashed and signed with that key for the sender's server."""
    version = factory.version
    pdu = {name: value for name, value in {**event.pdu(), **changes}.items() if value is not None}
    pdu = {**pdu, "signatures": {}, "hashes": {"sha256": content_hash(pdu)}}
    signature = encode_base64(key.sign(essential_bytes(version, pdu)))
    return {**pdu, "signatures": {server_of(event.sender): {key.key_id: signature}}}


def id_of(factory: RoomFactory, pdu: Mapping[str, Any]) -> EventID:
    """The ID of an event as its room's version has it."""
    return event_id_of(factory.version, essential_bytes(factory.version, pdu))
