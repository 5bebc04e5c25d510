"""A house of rooms: the real parts of rooms on a real database, asked over a wire in memory.

    @on_both_databases
    class Talking(HouseCase):
        async def test_what_is_said_is_read(self) -> None:
            room = await self.alice.create(preset="public_chat")
            await self.bob.join(room)
            event_id = await self.alice.say(room, "hi")

People have sessions from the start and no accounts. `policy` refuses what a test names; `restart` begins anew with
nothing but the database. The clock stands until a test moves it.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from federation.ed25519 import SigningKey
from federation.errors import Refused
from federation.ids import DeviceID, ServerName, UserID
from homeserver.accounts.profile import Profile
from homeserver.accounts.sessions import Session
from homeserver.api.access import Instants
from homeserver.api.client import rooms as rooms_api
from homeserver.api.connection import EdgeFactory
from homeserver.api.edge import Attendants, Edge
from homeserver.api.limits import RateLimits
from homeserver.api.metrics import Metrics
from homeserver.policy import Act
from homeserver.rooms.delayed import Bounds, DelayedEvents, Senders
from homeserver.rooms.delayed import World as DelayedWorld
from homeserver.rooms.doors import Doors, build_doors
from homeserver.rooms.rooms import CAPACITY, Rooms
from homeserver.rooms.seal import Seal
from homeserver.storage.database import Change, Database
from tests.kit.databases import give_sqlite, reactor_in_use
from tests.kit.wire import Reply, Wire, encode_request

SERVER = ServerName("parta.test")
START_S = 1_700_000_000
V3 = "/_matrix/client/v3"


class Judge:
    """A policy that refuses what a test names: types of acts; and remembers what it was asked."""

    def __init__(self) -> None:
        self.refused: dict[type[Act], Exception] = {}
        self.asked: list[Act] = []

    async def check(self, act: Act, /) -> None:
        self.asked.append(act)
        if type(act) in self.refused:
            raise self.refused[type(act)]

    def refuse(self, *acts: type[Act], because: Exception | None = None) -> None:
        """Refuse these acts from now on."""
        self.refused |= dict.fromkeys(acts, because or Refused("test", "not today"))


@dataclass(kw_only=True, eq=False)
class Person:
    """Somebody at a device. Methods that do something fail the test when the server refuses; `call` does not."""

    case: "HouseCase"
    user_id: UserID
    device_id: DeviceID
    token: str

    async def call(self, method: str, path: str, json: object = None, **query: object) -> Reply:
        """Make a request; a path that begins with no API is one of v3. It is quoted already."""
        return await self.case.call(method, path, json, token=self.token, **query)

    async def ok(self, method: str, path: str, json: object = None, **query: object) -> Any:
        """Make a request that succeeds; its answer."""
        reply = await self.call(method, path, json, **query)
        assert reply.status == 200, (method, path, reply.status, reply.body)
        return reply.json

    async def refused(self, method: str, path: str, json: object = None, **query: object) -> tuple[int, str]:
        """Make a request that is refused; status and errcode."""
        reply = await self.call(method, path, json, **query)
        assert reply.status >= 400, (method, path, reply.status, reply.body)
        return reply.status, reply.errcode

    async def create(self, **wanted: object) -> str:
        """Create a room; its ID."""
        room_id: str = (await self.ok("POST", "/createRoom", wanted))["room_id"]
        return room_id

    async def join(self, room: str) -> None:
        await self.ok("POST", f"/join/{quote(room)}", {})

    async def leave(self, room: str) -> None:
        await self.ok("POST", f"/rooms/{quote(room)}/leave", {})

    async def invite(self, room: str, other: "Person", **more: object) -> None:
        await self.ok("POST", f"/rooms/{quote(room)}/invite", {"user_id": other.user_id, **more})

    async def act(self, what: str, room: str, other: "Person", **more: object) -> Reply:
        """Kick, ban or unban somebody, or try to."""
        return await self.call("POST", f"/rooms/{quote(room)}/{what}", {"user_id": other.user_id, **more})

    async def say(self, room: str, body: str = "hi", *, txn: str | None = None) -> str:
        """Send a message; its event ID."""
        content = {"msgtype": "m.text", "body": body}
        return await self.send(room, "m.room.message", content, txn=txn)

    async def send(self, room: str, kind: str, content: object, *, txn: str | None = None) -> str:
        path = f"/rooms/{quote(room)}/send/{quote(kind)}/{quote(txn or self.case.new_txn(), safe='')}"
        event_id: str = (await self.ok("PUT", path, content))["event_id"]
        return event_id

    async def put(self, room: str, kind: str, content: object, key: str = "") -> str:
        """Set state; the event's ID."""
        event_id: str = (await self.ok("PUT", state_path(room, kind, key), content))["event_id"]
        return event_id

    async def redact(self, room: str, event_id: str, *, txn: str | None = None, **body: object) -> str:
        path = f"/rooms/{quote(room)}/redact/{quote(event_id, safe='')}/{txn or self.case.new_txn()}"
        redaction: str = (await self.ok("PUT", path, body))["event_id"]
        return redaction

    async def event(self, room: str, event_id: str) -> Any:
        return await self.ok("GET", f"/rooms/{quote(room)}/event/{quote(event_id, safe='')}")

    async def messages(self, room: str, **query: object) -> Any:
        """A page of history, backwards unless `dir="f"`."""
        return await self.ok("GET", f"/rooms/{quote(room)}/messages", **{"dir": "b", **query})

    async def bodies(self, room: str, **query: object) -> list[str]:
        """The bodies of the messages of a page, in its order."""
        page = await self.messages(room, **{"limit": 100, **query})
        return [event["content"].get("body", "") for event in page["chunk"] if event["type"] == "m.room.message"]

    async def state(self, room: str, kind: str, key: str = "") -> Any:
        """The content of a state event."""
        return await self.ok("GET", state_path(room, kind, key))


class HouseCase(TestCase):
    """A house of rooms; `alice`, `bob`, `carol` and `dave` have a device each."""

    db: Database
    default_version = "12"
    capacity = CAPACITY

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        if not hasattr(self, "db"):
            give_sqlite(self)
        self.clock = Clock()
        self.clock.advance(START_S)
        self.policy = Judge()
        self.profiles: dict[UserID, Profile] = {}
        self.sessions: dict[str, Session] = {}
        self._txns = count(1)
        self.told: list[Change] = []
        self.db.on_commit = lambda position, changes: self.told.extend(changes)
        self.restart()
        self.alice, self.bob, self.carol, self.dave = (self.person(name) for name in ("alice", "bob", "carol", "dave"))

    def restart(self) -> None:
        """Begin anew: nothing is left but the database, sessions and profiles."""
        seal = Seal(
            server=SERVER,
            key=SigningKey("a_1", bytes(32)),
            now_ms=self.now_ms,
            token_bytes=secrets.token_bytes,
            next_id=self.db.next_id,
        )
        rooms = Rooms(self.db, seal, capacity=self.capacity)
        self.doors: Doors = build_doors(rooms, self.db, self.policy, self._find_profile, self.default_version)
        attendants = Attendants(
            reactor=self.clock,
            instants=Instants(self.now_ms),
            find_session=self._find_session,
            limits=RateLimits(enabled=False, now_ms=self.now_ms),
            metrics=Metrics(),
            access=None,
            spool_dir=None,
        )
        outside = DelayedWorld(
            clock=self.clock,
            now_ms=self.now_ms,
            make_id=seal.make_opaque,
            may_send=lambda user_id: True,
            explain=lambda fault: None,
        )
        senders = Senders(
            sending=self.doors.sending, settings=self.doors.settings, transactions=self.doors.transactions
        )
        self.later = DelayedEvents(self.db, senders, Bounds(max_delay_ms=1, max_scheduled=0), outside)
        routes = rooms_api.routes(self.doors, self.later, self.now_ms, SERVER, self.clock)
        self.factory = EdgeFactory(Edge(routes, attendants))

    async def _find_session(self, token: str) -> Session | None:
        return self.sessions.get(token)

    async def _find_profile(self, user_id: UserID) -> Profile | None:
        return self.profiles.get(user_id)

    def now_ms(self) -> int:
        """The time on the clock."""
        return int(self.clock.seconds() * 1000)

    def person(self, name: str, device: str = "PHONE", **session: Any) -> Person:
        """Somebody, or somebody's further device."""
        user_id, device_id, token = UserID(f"@{name}:{SERVER}"), DeviceID(device), f"{name}-{device}"
        self.sessions[token] = Session(user_id=user_id, device_id=device_id, token_hash=b"", **session)
        self.profiles.setdefault(user_id, Profile(displayname=name.title()))
        return Person(case=self, user_id=user_id, device_id=device_id, token=token)

    def new_txn(self) -> str:
        """A transaction id that was not used before."""
        return f"t{next(self._txns)}"

    async def call(
        self, method: str, path: str, json: object = None, *, token: str | None = None, **query: object
    ) -> Reply:
        """Make a request."""
        body = json if isinstance(json, bytes) else None if json is None else msgspec.json.encode(json)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        search = "?" + urlencode({name: _text(value) for name, value in query.items()}) if query else ""
        wire = Wire(self.factory)
        waiting = wire.reply()
        where = path if path.startswith("/_") else V3 + path
        wire.send(encode_request(method, where + search, headers, body))
        reply = await waiting
        await deferLater(reactor_in_use(), 0)  # the server is still writing it
        wire.hang_up()
        return reply


def state_path(room: str, kind: str, key: str = "") -> str:
    """The path of a state event."""
    return f"/rooms/{quote(room)}/state/{quote(kind, safe='')}/{quote(key, safe='')}"


def ids(events: Any) -> list[str]:
    """The IDs of events in client form."""
    return list(_ids(events))


def _ids(events: Any) -> Iterator[str]:
    for event in events:
        yield event["event_id"]


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
