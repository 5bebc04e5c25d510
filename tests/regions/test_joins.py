"""Coming into rooms of other regions, and going out of them."""

from typing import Any
from urllib.parse import quote

from tests.kit.people import Person
from tests.kit.region import Region, RegionsCase

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
