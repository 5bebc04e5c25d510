"""Coming into rooms of other regions, and going out of them."""

from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from federation.event import parse_template, seal_event
from federation.transport.tasks import side_by_side
from federation.versions import ROOM_VERSIONS
from tests.kit.people import Person
from tests.kit.region import Region, RegionsCase, now_ms

VERSIONS = ("1", "6", "10", "11", "12")


def state_of(region: Region, room_id: str) -> dict[tuple[str, str], str]:
    """The state of a room as a region has it in memory."""
    room = region.running.rooms.doors.rooms.find(room_id)
    assert room is not None
    return {key: held.event_id for key, held in room.shown.state.items()}


class JoinsCase(RegionsCase):
    """Alice is in the north, Bob in the south."""

    dialects = ("sqlite", "postgresql")

    async def setUp(self) -> None:
        await super().setUp()
        self.alice = await self.north.register("alice")
        self.bob = await self.south.register("bob")

    async def join(self, person: Person, room_id: str, *via: Region) -> Any:
        """Join by way of some regions; the reply."""
        query = "&".join(f"via={quote(region.name)}" for region in via)
        return await person.call("POST", f"/join/{quote(room_id, safe='')}?{query}", {})

    async def membership(self, region: Region, room_id: str, person: Person) -> str | None:
        """What somebody is in a room, as a region knows it."""
        room = await region.running.rooms.doors.rooms.load(room_id)
        assert room is not None
        return room.membership(person.user_id)  # type: ignore[arg-type]

    async def relay(self, person: Person, room_id: str, of: Region, to: Region) -> None:
        """Let a region know somebody's membership as another has it, whatever else goes between them."""
        room = await of.running.rooms.doors.rooms.load(room_id)
        assert room is not None
        event = room.state("m.room.member", person.user_id)
        assert event is not None
        body = {"origin": of.name, "origin_server_ts": now_ms(), "pdus": [event.pdu()]}
        answer = await of.peers.ask(to.name, "PUT", f"/_matrix/federation/v1/send/{event.depth}", body=body)
        assert answer == {"pdus": {event.event_id: {}}}


class Joining(JoinsCase):
    async def test_somebody_joins_a_room_of_another_region_in_every_version(self) -> None:
        for version in VERSIONS:
            room_id = await self.alice.create_room(preset="public_chat", room_version=version, name=f"v{version}")
            reply = await self.join(self.bob, room_id, self.north)
            assert reply.status == 200, (version, reply.body)
            assert reply.json == {"room_id": room_id}
            assert state_of(self.south, room_id) == state_of(self.north, room_id)
            members = await self.bob.ok("GET", f"/rooms/{quote(room_id)}/joined_members")
            assert set(members["joined"]) == {self.alice.user_id, self.bob.user_id}

    async def test_a_joiner_sees_the_room_in_their_sync(self) -> None:
        room_id = await self.alice.create_room(preset="public_chat", name="Olympiad")
        await self.bob.sync()
        assert (await self.join(self.bob, room_id, self.north)).status == 200
        room = (await self.bob.sync())["rooms"]["join"][room_id]
        shown = [*room["state"]["events"], *room["timeline"]["events"]]
        assert {"name": "Olympiad"} in [event["content"] for event in shown]
        assert self.alice.user_id in [event["state_key"] for event in shown if event["type"] == "m.room.member"]

    async def test_two_people_who_join_at_once_are_both_in(self) -> None:
        carol = await self.south.register("carol")
        room_id = await self.alice.create_room(preset="public_chat")
        replies = await side_by_side([self.join(person, room_id, self.north) for person in (self.bob, carol)])
        assert [reply.status for reply in replies] == [200, 200]
        for person in (self.bob, carol):
            assert await self.membership(self.south, room_id, person) == "join"

    async def test_a_room_that_all_have_left_is_joined_again_with_what_happened_meanwhile(self) -> None:
        room_id = await self.alice.create_room(preset="public_chat")
        await self.join(self.bob, room_id, self.north)
        await self.bob.leave(room_id)
        await self.alice.set_state(room_id, "m.room.name", {"name": "Later"})
        assert (await self.join(self.bob, room_id, self.north)).status == 200
        room = self.south.running.rooms.doors.rooms.find(room_id)
        assert room is not None
        name = room.state("m.room.name")
        assert name is not None
        assert name.content == {"name": "Later"}
        assert await self.membership(self.south, room_id, self.bob) == "join"
        assert await self.membership(self.north, room_id, self.bob) == "join"

    async def test_a_room_that_is_forgotten_is_joined_again(self) -> None:
        room_id = await self.alice.create_room(preset="public_chat")
        await self.join(self.bob, room_id, self.north)
        await self.bob.leave(room_id)
        await self.bob.ok("POST", f"/rooms/{quote(room_id)}/forget", {})
        assert (await self.join(self.bob, room_id, self.north)).status == 200
        assert room_id in (await self.bob.ok("GET", "/joined_rooms"))["joined_rooms"]

    async def test_servers_are_tried_until_one_is_there(self) -> None:
        west = self.make_region("west")
        room_id = await self.alice.create_room(preset="public_chat")
        assert (await self.join(self.bob, room_id, west, self.south, self.north)).status == 200

    async def test_nobody_gets_in_who_may_not_or_where_nobody_helps(self) -> None:
        room_id = await self.alice.create_room()
        refused = await self.join(self.bob, room_id, self.north)
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
        refused = await self.join(self.bob, room_id)
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
        refused = await self.join(self.bob, "!" + "x" * 43, self.north)
        assert (refused.status, refused.errcode) == (404, "M_NOT_FOUND")
        self.cut(self.north)
        assert (await self.join(self.bob, room_id, self.north)).status == 502
        assert await self.south.running.rooms.doors.rooms.load(room_id) is None

    async def test_what_is_joined_is_there_after_a_restart(self) -> None:
        room_id = await self.alice.create_room(preset="public_chat")
        await self.join(self.bob, room_id, self.north)
        before = state_of(self.south, room_id)
        await self.south.restart()
        assert await self.membership(self.south, room_id, self.bob) == "join"
        assert state_of(self.south, room_id) == before

    async def test_the_older_form_is_answered_too_and_members_may_be_left_out(self) -> None:
        for name in ("Named", None):
            room_id = await self.alice.create_room(preset="public_chat", name=name)
            for version, omits in (("v1", False), ("v2", True)):
                person = f"@{version}{name}:{self.south.name}"
                ask = self.south.peers.ask
                path = f"/_matrix/federation/v1/make_join/{quote(room_id, safe='')}/{quote(person, safe='')}"
                proposed = await ask(self.north.name, "GET", path, query=[("ver", "12")])
                version_of = ROOM_VERSIONS[proposed["room_version"]]
                fields = parse_template(proposed["event"], version_of, origin_server_ts=now_ms())
                event = seal_event(version_of, fields, server=self.south.name, key=self.south.key)
                path = f"/_matrix/federation/{version}/send_join/{quote(room_id, safe='')}/{event.event_id}"
                omit = [("omit_members", "true")] if omits else []
                answer = await ask(self.north.name, "PUT", path, query=omit, body=event.pdu())
                assert answer["members_omitted"] == omits
                assert self.north.name in answer["servers_in_room"]
                members = {pdu["state_key"] for pdu in answer["state"] if pdu["type"] == "m.room.member"}
                assert (self.alice.user_id in members) == (not omits or name is None)
                given = {pdu["type"] for pdu in (*answer["state"], *answer["auth_chain"])}
                assert {"m.room.create", "m.room.power_levels", "m.room.join_rules"} <= given

    async def test_a_proposal_names_the_server_that_makes_it_and_that_signs_the_join_too_in_every_version(
        self,
    ) -> None:
        for version in ROOM_VERSIONS:
            room_id = await self.alice.create_room(preset="public_chat", room_version=version)
            person = f"@v{version}:{self.south.name}"
            path = f"/_matrix/federation/v1/make_join/{quote(room_id, safe='')}/{quote(person, safe='')}"
            proposed = await self.south.peers.ask(self.north.name, "GET", path, query=[("ver", version)])
            assert (proposed["room_version"], proposed["event"]["origin"]) == (version, self.north.name)
            fields = parse_template(proposed["event"], ROOM_VERSIONS[version], origin_server_ts=now_ms())
            fields = replace(fields, opaque=f"made-for-{version}")
            event = seal_event(ROOM_VERSIONS[version], fields, server=self.south.name, key=self.south.key)
            path = f"/_matrix/federation/v2/send_join/{quote(room_id, safe='')}/{quote(event.event_id, safe='')}"
            answer = await self.south.peers.ask(self.north.name, "PUT", path, body=event.pdu())
            assert set(answer["event"].pop("signatures")) == {self.north.name, self.south.name}
            assert answer["event"] == {name: value for name, value in event.pdu().items() if name != "signatures"}


class Restricted(JoinsCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.carol = await self.south.register("carol")
        self.space = await self.alice.create_room(preset="public_chat", creation_content={"type": "m.space"})

    async def restrict(self, version: str) -> str:
        """A room of Alice's for those in her space, into which she alone can let people."""
        allow = [{"type": "m.room_membership", "room_id": self.space}]
        rules = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
        return await self.alice.create_room(
            room_version=version, initial_state=[rules], power_level_content_override={"invite": 50}
        )

    async def test_who_is_in_the_space_is_let_in_by_the_other_region_and_nobody_else(self) -> None:
        await self.join(self.bob, self.space, self.north)
        for version in ("8", "10", "12"):
            room_id = await self.restrict(version)
            assert (await self.join(self.carol, room_id, self.north)).status == 403
            reply = await self.join(self.bob, room_id, self.north)
            assert reply.status == 200, reply.body
            for region in (self.north, self.south):
                room = region.running.rooms.doors.rooms.find(room_id)
                assert room is not None
                event = room.state("m.room.member", self.bob.user_id)
                assert event is not None
                assert set(event.signatures) == {self.north.name, self.south.name}

    async def test_a_region_in_the_room_that_may_let_nobody_in_asks_one_that_may(self) -> None:
        room_id = await self.restrict("12")
        for person in (self.bob, self.carol):
            await self.join(person, self.space, self.north)
        await self.relay(self.carol, self.space, self.south, self.north)
        assert (await self.join(self.bob, room_id, self.north)).status == 200
        reply = await self.join(self.carol, room_id)
        assert reply.status == 200, reply.body
        for region in (self.north, self.south):
            assert await self.membership(region, room_id, self.carol) == "join"
