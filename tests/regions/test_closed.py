"""A closed federation: whoever is not a member, or no longer, finds every door shut, and is not called either."""

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from twisted.internet.task import deferLater

from federation.errors import Refused
from federation.ids import ServerName
from federation.signatures import sign_json
from federation.transport.agent import Unreachable
from tests.kit.databases import reactor_in_use
from tests.kit.region import DAY_MS, Region, RegionsCase, now_ms
from tests.kit.wire import Reply

VERSION = "/_matrix/federation/v1/version"
STATES = ("unlisted", "suspended", "membership ended", "list expired", "no list")


def fill(path: str) -> str:
    """A declared path with something for each of its parameters."""
    return re.sub(r"\{(\w+)\}", lambda name: "%21x" if "room" in name[1].lower() else "x", path)


class Closed(RegionsCase):
    """North and south are members; south then is so no longer, for one reason after the other."""

    mode = "list"

    async def shut_out(self, state: str) -> None:
        """Let north see south as that state says."""
        members: dict[str, Any] = {region.name: {"status": "member"} for region in self.regions}
        more: dict[str, Any] = {}
        if state == "unlisted":
            del members[self.south.name]
        elif state == "suspended":
            members[self.south.name]["status"] = "suspended"
        elif state == "membership ended":
            members[self.south.name]["valid_until_ts"] = now_ms()
        self.publish(self.build_list(regions=members, **more))
        if state == "list expired":
            self.north.late_ms = 40 * DAY_MS
        if state == "no list":
            self.list_file.unlink()
            self.north = self.replace_north()
            await self.north.begin()
        else:
            await self.north.running.region.regions.refresh()

    def replace_north(self) -> Region:
        """A north that has never seen a list."""
        return self.make_region("newcomer")

    async def let_in(self) -> None:
        """South is a member again."""
        self.north.late_ms = 0
        self.publish(self.build_list())
        await self.refresh()

    async def send(self, method: str, path: str, body: object = None) -> Reply:
        """A request of south's to north."""
        return await self.north.call_signed(self.south.name, self.south.key, method, path, body)

    async def doors(self) -> dict[str, Reply]:
        """What south is answered at every door that wants a signature."""
        return {
            f"{route.method} {route.path}": await self.send(
                route.method, fill(route.path), None if route.body is None else {}
            )
            for route in self.north.signed_routes
        }

    async def is_vouched_for(self) -> bool:
        """Whether north tells anybody the keys of south, asked in both ways."""
        one = await self.north.call_as_server("GET", f"/_matrix/key/v2/query/{self.south.name}")
        wanted = json.dumps({"server_keys": {self.south.name: {}}}).encode()
        many = await self.north.call_as_server("POST", "/_matrix/key/v2/query", body=wanted)
        assert one.json == many.json
        return bool(one.json["server_keys"])

    async def calls_out(self) -> int:
        """How many of the ways to ask south for something are open to north."""
        north, south = self.north, self.south.name
        signed = sign_json({"a": 1}, south, self.south.key)
        is_open = 0
        for asking in (
            north.peers.ask(south, "GET", VERSION),
            north.peers.open(south, VERSION),
            north.peers.fetch(south, VERSION, timeout_s=10, most_bytes=1000),
            north.keyring.verify(signed, south),
            north.keyring.find_key(south, self.south.key.key_id),
        ):
            try:
                answer: Any = await asking
            except Refused:
                continue
            is_open += 1
            if hasattr(answer, "read_all"):
                await answer.read_all()
        return is_open

    async def test_members_are_heard_and_called(self) -> None:
        for reply in (await self.doors()).values():
            assert (reply.status, reply.json.get("errcode")) != (401, "M_UNAUTHORIZED")
            assert "does not federate" not in reply.body.decode("latin-1")
        assert await self.is_vouched_for()
        assert await self.calls_out() == 5

    async def _who_is_out_is_out(self, state: str) -> None:
        """No door, no key, no call, whatever was known before."""
        assert await self.calls_out() == 5
        await self.shut_out(state)
        refusals = {(reply.status, reply.body) for reply in (await self.doors()).values()}
        assert len(refusals) <= 1, refusals
        assert all(status == 403 for status, _ in refusals)
        assert not await self.is_vouched_for()
        assert await self.calls_out() == 0
        await self.let_in()
        assert await self.calls_out() == 5

    async def test_a_server_that_was_never_listed_is_not_known(self) -> None:
        stranger = ServerName("stranger.test")
        with pytest.raises(Refused):
            await self.north.peers.ask(stranger, "GET", VERSION)
        for route in self.north.signed_routes:
            reply = await self.north.call_signed(stranger, self.south.key, route.method, fill(route.path))
            assert (reply.status, reply.json["errcode"]) == (403, "M_FORBIDDEN"), route.path

    async def test_unsigned_requests_open_no_door(self) -> None:
        for route in self.north.signed_routes:
            reply = await self.north.call_as_server(route.method, fill(route.path))
            assert (reply.status, reply.json["errcode"]) == (401, "M_UNAUTHORIZED"), route.path


def _add_states() -> None:
    for state in STATES:

        async def test(self: Closed, state: str = state) -> None:
            await self._who_is_out_is_out(state)

        setattr(Closed, f"test_who_is_out_is_out_{state.replace(' ', '_')}", test)


_add_states()


class Nobody(RegionsCase):
    """No federation at all."""

    configuration = {"federation": {"mode": "none", "delegate": "north.test:443"}}

    async def test_there_is_no_door_and_no_call(self) -> None:
        for path in (VERSION, "/_matrix/key/v2/server", "/.well-known/matrix/server"):
            assert (await self.north.call_as_server("GET", path)).status == 404
            assert (await self.north.call("GET", path)).status == 404
        assert self.north.server_routes == []
        with pytest.raises(Refused):
            await self.north.peers.ask(self.south.name, "GET", VERSION)

    async def test_whatever_people_do_nobody_is_called(self) -> None:
        asked: list[str] = []
        outward: Any = self.north.running.core.outward

        async def ask(request: Any) -> Any:
            asked.append(request.url)
            raise Unreachable("nobody is there")

        outward.ask = outward.open = ask
        alice, server = await self.north.register("alice"), self.south.name
        bob, alias, room_id = f"@bob:{server}", f"#lesson:{server}", f"!lesson:{server}"
        own = quote(await alice.create_room())
        who = quote(bob)
        for method, path, body, query in (
            ("POST", f"/join/{quote(alias)}", {}, {}),
            ("POST", f"/join/{quote(room_id)}", {}, {"via": server}),
            ("POST", f"/knock/{quote(room_id)}", {}, {"via": server}),
            ("POST", f"/rooms/{quote(room_id)}/leave", {}, {}),
            ("POST", f"/rooms/{own}/invite", {"user_id": bob}, {}),
            ("POST", "/createRoom", {"invite": [bob]}, {}),
            ("GET", f"/profile/{who}", None, {}),
            ("GET", f"/presence/{who}/status", None, {}),
            ("POST", "/keys/query", {"device_keys": {bob: []}}, {}),
            ("POST", "/keys/claim", {"one_time_keys": {bob: {"X": "signed_curve25519"}}}, {}),
            ("PUT", "/sendToDevice/m.x/1", {"messages": {bob: {"*": {}}}}, {}),
            ("GET", f"/directory/room/{quote(alias)}", None, {}),
            ("GET", "/publicRooms", None, {"server": server}),
            ("GET", f"/_matrix/client/v1/room_summary/{quote(room_id)}", None, {"via": server}),
            ("GET", f"/_matrix/client/v1/rooms/{quote(room_id)}/hierarchy", None, {}),
            ("GET", f"/_matrix/client/v1/media/download/{server}/x", None, {}),
            ("GET", f"/_matrix/client/v1/media/thumbnail/{server}/x", None, {"width": 1, "height": 1}),
            ("POST", "/user_directory/search", {"search_term": "bob"}, {}),
        ):
            reply = await alice.call(method, path, body, **query)
            assert reply.status < 500 or reply.status == 502, (path, reply)
        await self.settle()
        assert asked == []

    async def settle(self) -> None:
        """Let what was told to nobody's queue be looked at."""
        self.north.running.sending.hurry(self.south.name)
        for _ in range(50):
            await deferLater(reactor_in_use(), 0)
