"""The doors of accounts and devices: the real parts on a real database, asked over a wire in memory.

    class Doors(DoorsCase):
        async def test_a_door(self) -> None:
            alice = await self.register("alice")
            reply = await alice.call("GET", "/account/whoami")

The clock stands until a test moves it with `advance`. With `policy` a test decides what may be done; `rooms` remembers
what the rooms of people were told.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import msgspec
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from config.settings import Passwords as Cost
from config.settings import Registration as Rules
from federation.errors import Refused
from federation.ids import DeviceID, ServerName, UserID
from homeserver.accounts.accounts import Accounts
from homeserver.accounts.data import ClientConfig, Filters
from homeserver.accounts.interactive import Interactive
from homeserver.accounts.login import Logins
from homeserver.accounts.nonces import Nonces
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.profile import Profiles
from homeserver.accounts.propagation import Propagations
from homeserver.accounts.registration import Registration
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.tokens import Mint
from homeserver.api.access import Instants
from homeserver.api.admin import register as admin_register
from homeserver.api.client import (
    account,
    backup,
    capabilities,
    contacts,
    data,
    dehydrated,
    devices,
    fallback,
    filters,
    keys,
    login,
    loginpage,
    profile,
    register,
    todevice,
)
from homeserver.api.connection import EdgeFactory
from homeserver.api.edge import Attendants, Edge
from homeserver.api.limits import RateLimits
from homeserver.api.metrics import Metrics
from homeserver.devices.backup import Backups
from homeserver.devices.crosssigning import CrossSigning
from homeserver.devices.dehydrated import DehydratedDevices
from homeserver.devices.devices import Devices
from homeserver.devices.keys import Keys
from homeserver.devices.lastseen import LastSeen
from homeserver.devices.todevice import ToDevice
from homeserver.policy import Act
from homeserver.storage.changes import UserDataChanged
from homeserver.storage.database import Change, Database
from tests.kit.databases import give_sqlite, reactor_in_use
from tests.kit.wire import Reply, Wire, encode_request

SERVER = ServerName("parta.test")
START_S = 1_700_000_000
PASSWORD = "correct horse battery"
V3 = "/_matrix/client/v3"
CHEAP = Cost(time_cost=1, memory_kib=8)


class Judge:
    """A policy that refuses what a test names: types of acts, or pairs of a type and the person it is about."""

    def __init__(self) -> None:
        self.refused: set[Any] = set()
        self.asked: list[Act] = []

    async def check(self, act: Act, /) -> None:
        self.asked.append(act)
        if self.refused & {type(act), (type(act), getattr(act, "person", act.by))}:
            raise Refused("test", "not today")


class RoomsOfTest:
    """The rooms of people: remembers whom it brought in line and whom it took out."""

    def __init__(self) -> None:
        self.shown: list[UserID] = []
        self.left: list[UserID] = []
        self.fault: Exception | None = None

    async def show_profile(self, user_id: UserID, /) -> None:
        if self.fault is not None:
            raise self.fault
        self.shown.append(user_id)

    async def leave_all(self, user_id: UserID, /) -> None:
        if self.fault is not None:
            raise self.fault
        self.left.append(user_id)


@dataclass(kw_only=True)
class Client:
    """Somebody's client, with a session."""

    case: "DoorsCase"
    user_id: UserID
    token: str
    device_id: DeviceID
    refresh_token: str | None = None
    ip: str = "10.0.0.1"

    async def call(self, method: str, path: str, json: object = None, **more: Any) -> Reply:
        """Make a request with the session's token."""
        return await self.case.call(method, path, json, token=self.token, ip=self.ip, **more)


class DoorsCase(TestCase):
    """A server of accounts and devices and nothing else; `rules` and `rates` are the class's to set."""

    db: Database
    rules = Rules(mode="open", guests=True, shared_secret="squeamish ossifrage")
    rates = False
    cost = CHEAP

    def setUp(self) -> None:
        if not hasattr(self, "db"):
            give_sqlite(self)
        self.clock = Clock()
        self.clock.advance(START_S)
        self.policy = Judge()
        self.rooms = RoomsOfTest()
        self.told: list[Change] = []
        self.build()

    def now_ms(self) -> int:
        """The time on the clock."""
        return int(self.clock.seconds() * 1000)

    def advance(self, **spans: float) -> None:
        """Let time pass: `minutes=5`, `days=1`."""
        seconds = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
        self.clock.advance(sum(seconds[unit] * number for unit, number in spans.items()))

    def build(self) -> None:
        """Put the parts together, as after a start: nothing is left but the database."""
        mint = Mint(secrets.token_bytes, self.now_ms)
        limits = RateLimits(enabled=self.rates, now_ms=self.now_ms)
        self.passwords = Passwords(self.cost, reactor_in_use(), secrets.token_bytes)
        self.propagations = Propagations(self.db, self.rooms)
        self.sessions = Sessions(self.db, self.policy, mint, self.now_ms)
        self.accounts = Accounts(self.db, self.policy, self.passwords, self.propagations, self.now_ms, limits.check)
        self.registration = Registration(self.db, self.passwords, mint, self.rules, SERVER, self.now_ms)
        self.interactive = Interactive(self.accounts, self.registration, mint, SERVER, self.now_ms)
        self.logins = Logins(self.db, self.policy, self.accounts, mint)
        self.profiles = Profiles(self.db, self.policy, self.propagations)
        self.devices = Devices(self.db, self.now_ms, lambda user_id, found: list(found))
        self.last_seen = LastSeen(self.db, self.clock, self.now_ms)
        self.keys = Keys(self.db, self.policy)
        self.cross_signing = CrossSigning(self.db, self.policy)
        self.to_device = ToDevice(self.db, self.policy, self.now_ms)
        secret = self.rules.shared_secret
        nonces = None if secret is None else Nonces(secret, mint, self.now_ms)
        routes = (
            *login.routes(self.logins, self.sessions, SERVER),
            *loginpage.routes(SERVER),
            *fallback.routes(self.interactive, SERVER),
            *register.routes(self.registration, self.interactive, self.logins, SERVER),
            *account.routes(self.accounts, self.interactive),
            *contacts.routes(self.interactive),
            *devices.routes(self.devices, self.interactive),
            *profile.routes(self.profiles),
            *data.routes(ClientConfig(self.db), {"m.push_rules": self._push_rules}),
            *filters.routes(Filters(self.db)),
            *keys.routes(self.keys, self.cross_signing, self.interactive),
            *todevice.routes(self.to_device),
            *backup.routes(Backups(self.db)),
            *dehydrated.routes(DehydratedDevices(self.db, self.now_ms)),
            *capabilities.routes(self.policy, capabilities.Abilities(default_version="12")),
            *admin_register.routes(self.registration, nonces, SERVER),
        )
        self.db.on_commit = self._tell
        attendants = Attendants(
            reactor=self.clock,
            instants=Instants(self.now_ms),
            find_session=self.sessions.find,
            note_seen=self.last_seen.note,
            limits=limits,
            metrics=Metrics(),
            access=None,
            spool_dir=None,
        )
        self.factory = EdgeFactory(Edge(routes, attendants))

    def _tell(self, position: int, changes: Any) -> None:
        self.told += changes
        self.sessions.heed(position, changes)

    async def _push_rules(self, user_id: UserID) -> bytes:
        return b'{"global":{}}'

    def news(self, kind: str) -> list[UserID]:
        """Whose data of that kind changed since this was last asked, in order."""
        changes = [change for change in self.told if isinstance(change, UserDataChanged) and change.kind == kind]
        self.told = [change for change in self.told if change not in changes]
        return [change.user_id for change in changes]

    async def call(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        token: str | None = None,
        body: bytes | None = None,
        ip: str = "10.0.0.1",
        language: str | None = None,
    ) -> Reply:
        """Make a request; a path that begins with no API is one of v3."""
        if json is not None:
            body = msgspec.json.encode(json)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        headers |= {} if language is None else {"Accept-Language": language}
        where = path if path.startswith("/_") else V3 + path
        wire = Wire(self.factory, ip=ip)
        waiting = wire.reply()
        wire.send(encode_request(method, where, headers, body))
        reply = await waiting
        await deferLater(reactor_in_use(), 0)  # the server is still writing it
        wire.hang_up()
        return reply

    async def register(self, name: str, **fields: Any) -> Client:
        """A new person with a session; `fields` go into the request."""
        body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}, **fields}
        return self.client(await self.call("POST", "/register", body))

    async def log_in(self, name: str, **fields: Any) -> Client:
        """A new session of a person."""
        return self.client(await self.call("POST", "/login", login_body(name, **fields)))

    def client(self, reply: Reply) -> Client:
        """The client that was given that session."""
        self.assertEqual(reply.status, 200, reply.body)
        given = reply.json
        return Client(
            case=self,
            user_id=given["user_id"],
            token=given["access_token"],
            device_id=given["device_id"],
            refresh_token=given.get("refresh_token"),
        )

    def assert_refused(self, reply: Reply, status: int, errcode: str) -> None:
        """The reply is that error."""
        self.assertEqual((reply.status, reply.json.get("errcode")), (status, errcode), reply.body)

    async def assert_ended(self, client: Client, *, soft: bool = False) -> None:
        """The client's session is no more."""
        reply = await client.call("GET", "/account/whoami")
        self.assert_refused(reply, 401, "M_UNKNOWN_TOKEN")
        self.assertIs(reply.json["soft_logout"], soft)

    async def assert_lives(self, client: Client) -> None:
        """The client's session opens its doors."""
        reply = await client.call("GET", "/account/whoami")
        self.assertEqual(reply.status, 200, reply.body)


def login_body(name: str, **fields: Any) -> dict[str, Any]:
    """A login with the password that people of tests have."""
    identifier = {"type": "m.id.user", "user": name}
    return {"type": "m.login.password", "identifier": identifier, "password": PASSWORD, **fields}
