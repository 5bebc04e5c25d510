"""Old messages are shown no more, and then there are none."""

import dataclasses
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.rooms.retention import Rules
from homeserver.storage.retention import set_horizon
from tests.kit.people import V3
from tests.kit.server import ServerCase

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("content", "kind", "lifetime"),
    [
        (None, None, 100),
        ({}, None, 100),
        ({"max_lifetime": 50}, None, 50),
        ({"max_lifetime": 5}, None, 10),
        ({"max_lifetime": 5000}, None, 1000),
        ({"max_lifetime": "50"}, None, 100),
        ({"max_lifetime": True}, None, 100),
        ({"max_lifetime": -1}, None, 100),
        ({"min_lifetime": 500}, None, 500),
        (None, "pupils", 70),
        ({"max_lifetime": 20}, "pupils", 20),
    ],
)
def test_a_room_says_how_long_it_keeps_messages_within_the_bounds(
    content: dict[str, Any] | None, kind: str | None, lifetime: int
) -> None:
    rules = Rules(default_ms=100, shortest_ms=10, longest_ms=1000, kinds={"pupils": 70})
    assert rules.lifetime(kind, content) == lifetime


def test_without_rules_messages_are_kept_for_ever() -> None:
    assert Rules(kinds={}).lifetime(None, None) is None
    assert Rules(kinds={}).lifetime(None, {"max_lifetime": 7}) == 7


class Keeping(ServerCase):
    """Rooms that do not keep all."""

    configuration = {"retention": {"enabled": True, "longest_days": 365}}

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.alice = await self.register("alice")
        self.room = await self.alice.create_room(name="Forgetful", preset="public_chat")
        for text in ("old one", "old two"):
            await self.alice.send(self.room, text)

    def move_clock(self, by_ms: int) -> None:
        """Let it be later, for rounds and new events."""
        rooms = self.server.rooms.doors.rooms
        now_ms = rooms.seal.now_ms
        rooms.seal = dataclasses.replace(rooms.seal, now_ms=lambda: now_ms() + by_ms)

    async def keep(self, hours: int) -> None:
        """Let the room keep messages for so long."""
        await self.alice.set_state(self.room, "m.room.retention", {"max_lifetime": hours * HOUR_MS})

    async def test_what_is_old_goes_and_what_is_young_stays(self) -> None:
        await self.keep(2)
        assert await self.server.retention.go_round() == 0
        self.move_clock(3 * HOUR_MS)
        await self.alice.send(self.room, "young")
        assert await self.server.retention.go_round() == 2
        assert await self.alice.texts(self.room) == ["young"]
        state = await self.alice.ok("GET", f"/rooms/{quote(self.room)}/state/m.room.name")
        assert state == {"name": "Forgetful"}
        await self.restart()
        assert await self.alice.texts(self.room) == ["young"]

    async def test_the_last_message_is_emptied_as_the_next_is_built_on_it(self) -> None:
        await self.keep(1)
        await self.alice.send(self.room, "the very last words")
        self.move_clock(2 * HOUR_MS)
        await self.server.retention.go_round()
        assert await self.alice.texts(self.room) == []
        files = [file for file in self.place.data_dir.glob("parta.db*") if file.is_file()]
        assert not any(b"the very last words" in file.read_bytes() for file in files)
        await self.alice.send(self.room, "and on")
        assert await self.alice.texts(self.room) == ["and on"]

    async def test_what_is_behind_the_horizon_is_shown_nowhere_before_it_is_removed(self) -> None:
        event_id = await self.alice.send(self.room, "old three")
        await self.alice.sync()
        live = await self.server.rooms.doors.rooms.load(self.room)
        assert live is not None
        self.move_clock(HOUR_MS)
        horizon_ms = live.horizon_ms = self.server.rooms.doors.rooms.seal.now_ms()
        await self.server.core.database.write(set_horizon, live.nid, horizon_ms)
        assert await self.alice.texts(self.room) == []
        assert (await self.alice.call("GET", f"/rooms/{quote(self.room)}/event/{quote(event_id)}")).status == 404
        self.alice.since = None
        assert "old" not in str((await self.alice.sync())["rooms"]["join"][self.room]["timeline"])

    async def test_rooms_that_say_nothing_keep_what_the_server_lets_them(self) -> None:
        self.move_clock(366 * 24 * HOUR_MS)
        await self.server.retention.go_round()
        assert await self.alice.texts(self.room) == []

    async def test_clients_learn_the_rules(self) -> None:
        path = V3.replace("v3", "unstable/org.matrix.msc1763/retention/configuration")
        answer = await self.alice.ok("GET", path)
        assert answer == {"policies": {"*": {}}, "limits": {"max_lifetime": {"max": 365 * 24 * HOUR_MS}}}


class KeepingOnPostgreSQL(Keeping):
    """The same on PostgreSQL."""

    dialect = "postgresql"
