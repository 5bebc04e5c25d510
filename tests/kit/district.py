"""The whole server of a region of schools, asked over a wire in memory; nothing in it is made for tests.

    class Stories(DistrictCase):
        async def test_a_story(self) -> None:
            teacher = await self.log_in("teacher1")     # of the demonstration school
            await teacher.say(await self.room(Kind.PUPILS, "9Б"), "Доброе утро!")

The clock moves only when a test moves it. `restart` begins anew with nothing but what is stored.
"""

import secrets
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from config.settings import Limits, Listener, Log, Media, Passwords, Settings
from federation.ids import RoomID, UserID
from homeserver.schools.demo import PASSWORD, make_demo
from homeserver.schools.rights import Kind
from homeserver.schools.rooms import RoomKey, room_keys
from homeserver.schools.school import School
from homeserver.server import Server, build_server
from tests.kit.databases import make_database, reactor_in_use
from tests.kit.schools import OCTOBER_MS, SERVER, Clock
from tests.kit.wire import Reply, Wire, encode_request

V3 = "/_matrix/client/v3"
OFFICE = "/_parta/school/v1/organisations"


@dataclass(kw_only=True, eq=False)
class Client:
    """Somebody's client, with a session. `do` fails the test when the server refuses, `call` does not."""

    case: "DistrictCase"
    user_id: UserID
    token: str

    async def call(self, method: str, path: str, json: object = None, **query: object) -> Reply:
        """Make a request; a path without a prefix is one of the client API."""
        return await self.case.call(method, path, json, token=self.token, **query)

    async def do(self, method: str, path: str, json: object = None, **query: object) -> Any:
        """Make a request that succeeds; its answer."""
        reply = await self.call(method, path, json, **query)
        assert reply.status == 200, (method, path, reply.status, reply.body)
        return reply.json

    async def say(self, room: str, body: str = "hi", kind: str = "m.room.message", **more: object) -> str:
        """Send a message; its event ID."""
        content = {"msgtype": "m.text", "body": body, **more}
        event_id: str = (await self.do("PUT", self.case.send_path(room, kind), content))["event_id"]
        return event_id

    async def try_to_say(self, room: str, body: str = "hi", kind: str = "m.room.message", **more: object) -> Reply:
        """Send a message, or be refused."""
        return await self.call("PUT", self.case.send_path(room, kind), {"msgtype": "m.text", "body": body, **more})

    async def heard(self, room: str) -> list[str]:
        """The bodies of the messages in a room, oldest first."""
        page = await self.do("GET", f"/rooms/{quote(room)}/messages", dir="b", limit=100)
        events = [event for event in page["chunk"] if event["type"] == "m.room.message"]
        return [event["content"].get("body", "") for event in reversed(events)]

    async def rooms(self) -> set[str]:
        """The rooms one is joined to."""
        return set((await self.do("GET", "/joined_rooms"))["joined_rooms"])


class DistrictCase(TestCase):
    """A region with the demonstration school, at some time in October."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.place = make_database("sqlite")
        self.addCleanup(self.place.remove)
        self.clock = Clock(OCTOBER_MS)
        self._txns = count(1)
        self.server: Server | None = None
        self.addCleanup(self.close)
        await self.restart()
        bureau = self.running.bureau
        self.org_id = await make_demo(bureau.office, bureau.desk, bureau.passwords)

    @property
    def running(self) -> Server:
        """The server."""
        assert self.server is not None
        return self.server

    async def restart(self) -> None:
        """Begin anew: nothing is left but what is stored."""
        await self.close()
        settings = Settings(
            server_name=SERVER,
            data_dir=self.place.data_dir,
            database=self.place.settings,
            listeners=(Listener(port=0, resources=("client", "school", "admin")),),
            limits=Limits(rates=False),
            passwords=Passwords(time_cost=1, memory_kib=8),
            media=Media(path=self.place.data_dir / "media"),
            log=Log(level="error"),
        )
        self.server = build_server(settings, reactor_in_use(), self.clock, secrets.token_bytes)
        await self.server.prepare()

    async def close(self) -> None:
        """End the server."""
        server, self.server = self.server, None
        if server is not None:
            server.metrics.stop() if hasattr(server.metrics, "stop") else None
            await server.people.last_seen.stop()
            await server.core.database.close()

    async def call(
        self, method: str, path: str, json: object = None, *, token: str | None = None, **query: object
    ) -> Reply:
        """Make a request."""
        body = json if isinstance(json, bytes) else None if json is None else msgspec.json.encode(json)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        search = "?" + urlencode({name: str(value) for name, value in query.items()}) if query else ""
        whole = path if path.startswith("/_") else V3 + path
        wire = Wire(self.running.doors[0].factory)
        waiting = wire.reply()
        wire.send(encode_request(method, quote(whole, safe="/!@$:%?=&") + search, headers, body))
        reply = await waiting
        await deferLater(reactor_in_use(), 0)  # the server is still writing it
        wire.hang_up()
        return reply

    async def log_in(self, login: str, password: str = PASSWORD) -> Client:
        """Log somebody in."""
        reply = await self.try_to_log_in(login, password)
        assert reply.status == 200, reply.body
        return Client(case=self, user_id=UserID(reply.json["user_id"]), token=reply.json["access_token"])

    async def try_to_log_in(self, login: str, password: str = PASSWORD) -> Reply:
        """Log somebody in, or be refused."""
        identifier = {"type": "m.id.user", "user": login}
        wanted = {"type": "m.login.password", "identifier": identifier, "password": password}
        return await self.call("POST", "/login", wanted)

    async def school(self) -> School:
        """The demonstration school as it is."""
        return await self.running.bureau.desk.load(self.org_id)

    async def class_id(self, title: str) -> str:
        """The id of a class."""
        return next(c.class_id for c in (await self.school()).classes.values() if c.title == title)

    async def room(self, kind: Kind, class_title: str = "", owner: str = "", peer: str = "") -> RoomID:
        """The room of that kind."""
        class_id = await self.class_id(class_title) if class_title else ""
        return room_keys(await self.school())[RoomKey(kind, class_id, owner, peer)]

    def send_path(self, room: str, kind: str = "m.room.message") -> str:
        """The path to send an event by, with a transaction id that was not used before."""
        return f"/rooms/{quote(room)}/send/{quote(kind, safe='')}/t{next(self._txns)}"
