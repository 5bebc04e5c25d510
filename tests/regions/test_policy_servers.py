"""A region that is the policy server of a room, and another whose people are in it."""

from typing import Any
from urllib.parse import quote

from twisted.internet.task import deferLater

from federation.errors import PeerUnreachable
from tests.kit.databases import reactor_in_use
from tests.kit.region import RegionsCase
from tests.kit.wire import Reply

WELL_KNOWN = "/.well-known/matrix/policy_server"


class PolicyServers(RegionsCase):
    """Alice's region recommends what is said in her room; Bob is there from the south."""

    dialects = ("sqlite", "postgresql")

    async def setUp(self) -> None:
        await super().setUp()
        self.alice, self.bob = await self.north.register("alice"), await self.south.register("bob")
        levels = {"users": {self.bob.user_id: 150}}
        self.room_id = await self.alice.create_room(preset="public_chat", power_level_content_override=levels)
        keys = (await self.north.call("GET", WELL_KNOWN)).json
        await self.set_state("m.room.policy", {"via": self.north.name, **keys})
        path = f"/join/{quote(self.room_id, safe='')}?via={quote(self.north.name)}"
        await self.bob.ok("POST", path, {})

    async def set_state(self, kind: str, content: dict[str, Any]) -> None:
        await self.alice.ok("PUT", f"/rooms/{quote(self.room_id)}/state/{kind}", content)

    async def say(self, words: str) -> Reply:
        """Bob says something."""
        path = f"/rooms/{quote(self.room_id)}/send/m.room.message/{words}"
        return await self.bob.call("PUT", path, {"msgtype": "m.text", "body": words})

    async def bring_back(self) -> None:
        """Begin the north again, and let the south know."""
        await self.north.begin()
        for _ in range(4_000):
            self.south.peers.heard_from(self.north.name)
            try:
                await self.south.peers.ask(self.north.name, "GET", "/_matrix/federation/v1/version")
            except PeerUnreachable:  # somebody else's attempt is still on its way, which takes its time
                await deferLater(reactor_in_use(), 0.005)
            else:
                return
        raise AssertionError("the north did not come back")

    async def test_its_key_is_another_than_the_one_it_signs_events_with(self) -> None:
        for reply in (await self.north.call("GET", WELL_KNOWN), await self.north.call_as_server("GET", WELL_KNOWN)):
            assert reply.json["public_keys"]["ed25519"] != self.north.key.verify_key.encode()
        before = (await self.north.call("GET", WELL_KNOWN)).json
        await self.north.restart()
        assert (await self.north.call("GET", WELL_KNOWN)).json == before

    async def test_what_is_said_elsewhere_is_recommended_first(self) -> None:
        event_id = (await self.say("hello")).json["event_id"]
        room = self.south.running.rooms.doors.rooms.find(self.room_id)
        assert room is not None
        held = room.find_recent(event_id)
        assert held is not None
        assert set(held.event.signatures) == {self.north.name, self.south.name}
        assert list(held.event.signatures[self.north.name]) == ["ed25519:policy_server"]

    async def test_what_is_refused_is_told_word_for_word_and_not_said(self) -> None:
        await self.say("hello")
        name = self.south.name.partition(":")[0]
        await self.set_state("m.room.server_acl", {"allow": ["*"], "deny": [name], "allow_ip_literals": True})
        room = self.south.running.rooms.doors.rooms.find(self.room_id)
        assert room is not None
        before = room.head
        reply = await self.say("again")
        assert (reply.status, reply.errcode) == (403, "M_FORBIDDEN")
        assert "access list" in reply.json["error"]
        assert room.head is before

    async def test_without_it_nothing_is_said_until_the_room_names_none(self) -> None:
        await self.north.stop()
        assert (await self.say("hello")).status == 403
        await self.bring_back()
        assert (await self.say("hello")).status == 200

    async def test_a_room_that_another_protects_is_upgraded_with_its_leave_alone(self) -> None:
        upgrade = f"/rooms/{quote(self.room_id)}/upgrade"
        await self.north.stop()
        assert (await self.bob.call("POST", upgrade, {"new_version": "12"})).status == 403
        await self.bring_back()
        await self.bob.ok("POST", upgrade, {"new_version": "12"})
        room = self.south.running.rooms.doors.rooms.find(self.room_id)
        assert room is not None
        tombstone = room.state("m.room.tombstone")
        assert tombstone is not None
        assert self.north.name in tombstone.signatures
