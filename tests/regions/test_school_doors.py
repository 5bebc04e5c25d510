"""A school's region among others: its people and rooms are for nobody elsewhere, and nobody can tell what there is."""

from typing import Any
from urllib.parse import quote

from federation.event import parse_template, seal_event
from federation.versions import ROOM_VERSIONS
from homeserver.schools.demo import PASSWORD, make_demo
from homeserver.schools.rooms import room_keys
from homeserver.storage.database import Dialect
from tests.kit.people import Person
from tests.kit.region import Region, RegionsCase, now_ms
from tests.kit.rooms import RoomFactory
from tests.kit.wire import Reply

V1 = "/_matrix/federation/v1"
ROLES = ("teacher1", "pupil1", "parent1", "admin1", "dismissed")


class SchoolDoors(RegionsCase):
    """North is a region of schools, south a plain one; both are members."""

    mode = "list"

    def make_region(self, name: str, dialect: Dialect = "sqlite", **changes: Any) -> Region:
        """As there, but that north is of schools."""
        if name == "north":
            changes = {"policy": "school", "registration": {"mode": "closed"}, **changes}
        return super().make_region(name, dialect, **changes)

    async def setUp(self) -> None:
        await super().setUp()
        bureau = self.north.running.bureau
        self.org_id = await make_demo(bureau.office, bureau.desk, bureau.passwords)
        self.bob = await self.south.register("bob")
        self.people = [await self.north.log_in(role, PASSWORD) for role in ROLES]

    async def rooms(self) -> list[str]:
        """All rooms of the school."""
        return list(room_keys(await self.north.running.bureau.desk.load(self.org_id)).values())

    async def test_nobody_of_the_school_comes_into_a_room_elsewhere_or_learns_whether_it_is_there(self) -> None:
        room_id = await self.bob.create_room(preset="public_chat", room_alias_name="trap")
        via = f"?via={quote(self.south.name)}"
        for person in self.people:
            refusals = set()
            for room in (room_id, "!" + "x" * 43, f"#trap:{self.south.name}", f"#none:{self.south.name}"):
                for door in ("join", "knock"):
                    reply = await person.call("POST", f"/{door}/{quote(room, safe='')}{via}", {})
                    refusals.add((reply.status, reply.body))
            assert len(refusals) == 1, refusals
            assert {status for status, _ in refusals} == {403}
            looked = [await self.look(person, f"#{name}:{self.south.name}") for name in ("trap", "none")]
            assert looked[0].status == 404
            assert (looked[0].status, looked[0].body) == (looked[1].status, looked[1].body)
        room = await self.south.running.rooms.doors.rooms.load(room_id)
        assert room is not None
        assert set(room.shown.servers) == {self.south.name}

    async def look(self, person: Person, alias: str) -> Reply:
        return await person.call("GET", f"/directory/room/{quote(alias, safe='')}")

    async def test_nobody_of_the_school_asks_anybody_elsewhere_in(self) -> None:
        for person in self.people:
            wanted = {"invite": [self.bob.user_id], "is_direct": True, "preset": "private_chat"}
            assert (await person.call("POST", "/createRoom", wanted)).status == 403
            for room in await self.rooms():
                reply = await person.call("POST", f"/rooms/{quote(room)}/invite", {"user_id": self.bob.user_id})
                assert reply.status == 403

    async def test_nobody_elsewhere_asks_anybody_of_the_school_in_or_learns_whether_they_are_there(self) -> None:
        room_id = await self.bob.create_room()
        nobody = f"@nobody:{self.north.name}"
        path = f"/rooms/{quote(room_id)}/invite"
        refusals = set()
        for user_id in (*(person.user_id for person in self.people), nobody):
            reply = await self.bob.call("POST", path, {"user_id": user_id})
            refusals.add((reply.status, reply.body))
        assert len(refusals) == 1, refusals
        assert {status for status, _ in refusals} == {403}
        for person in self.people:
            assert "invite" not in (await person.sync()).get("rooms", {})

    async def test_nobody_elsewhere_comes_into_a_room_of_the_school_or_learns_whether_it_is_there(self) -> None:
        for move in ("join", "knock", "leave"):
            refusals = set()
            for room in (*await self.rooms(), "!" + "x" * 43):
                path = f"{V1}/make_{move}/{quote(room, safe='')}/{quote(self.bob.user_id, safe='')}"
                query = "?" + "&".join(f"ver={version}" for version in ROOM_VERSIONS)
                reply = await self.north.call_signed(self.south.name, self.south.key, "GET", path + query)
                refusals.add((reply.status, reply.body))
            assert len(refusals) == 1, (move, refusals)

    async def test_an_event_that_was_not_proposed_lets_nobody_in(self) -> None:
        for room_id in await self.rooms():
            room = await self.north.running.rooms.doors.rooms.load(room_id)
            assert room is not None
            stage = RoomFactory(room.version)
            template = stage.build_member(stage.creator, stage.creator, "join").pdu()
            template |= {"room_id": room_id, "sender": self.bob.user_id, "state_key": self.bob.user_id}
            last = [held.event_id for held in room.shown.extremities]
            fields = parse_template({**template, "prev_events": last}, room.version, origin_server_ts=now_ms())
            event = seal_event(room.version, fields, server=self.south.name, key=self.south.key)
            path = f"/_matrix/federation/v2/send_join/{quote(room_id, safe='')}/{quote(event.event_id, safe='')}"
            reply = await self.north.call_signed(self.south.name, self.south.key, "PUT", path, event.pdu())
            assert reply.status == 404
            room = await self.north.running.rooms.doors.rooms.load(room_id)
            assert room is not None
            assert set(room.shown.servers) == {self.north.name}
