"""The law of sliding sync: what a connection is told bit by bit, folded, is what a fresh one is told at once.

Histories are those of the law of sync. Connections look at more or fewer rooms, and want more or less of them, from one
request to the next; at last at all of them.
"""

import os
from dataclasses import dataclass, field
from typing import Any

from homeserver.rooms import room as live_room
from homeserver.rooms import rooms as live_rooms
from homeserver.streams import feeds
from tests.homeserver.sync.test_law import NAMES, STEPS, History
from tests.kit.databases import on_both_databases
from tests.kit.sliding import STABLE, Slider, SlidRoom, stable_window, window
from tests.kit.syncs import SyncCase, Syncer

SEEDS = int(os.environ.get("PARTA_LAW_SEEDS", "8"))
FIRST = int(os.environ.get("PARTA_LAW_FIRST", "0"))

EVERYTHING = {"account_data": {"enabled": True}, "receipts": {"enabled": True}, "typing": {"enabled": True}}
UNSTABLE_WAYS: tuple[list[list[str]], ...] = (
    [["*", "*"]],
    [["m.room.name", ""], ["m.room.topic", ""], ["org.example.seat", "*"], ["m.room.member", "$ME"]],
    [["*", "*"], ["m.room.member", "$LAZY"]],
    [["m.room.create", ""], ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]],
)
STABLE_WAYS: tuple[dict[str, Any], ...] = (
    {"include": [{}]},
    {"include": [{"type": "org.example.seat"}, {"type": "m.room.name", "state_key": ""}]},
    {"include": [{}], "exclude": [{"type": "m.room.topic"}], "lazy_members": True},
)


@dataclass(eq=False)
class Connection:
    """A connection that wants some of the state, and what it knows of account data beside rooms."""

    slider: Slider
    state: Any
    limit: int
    data: dict[Any, Any] = field(default_factory=dict)
    typing: dict[str, Any] = field(default_factory=dict)

    @property
    def is_lazy(self) -> bool:
        if isinstance(self.state, dict):
            return bool(self.state.get("lazy_members"))
        return ["m.room.member", "$LAZY"] in self.state

    async def sync(self, last: int, limit: int, **more: Any) -> None:
        shape = stable_window if self.slider.path == STABLE else window
        body = {"lists": {"all": shape(0, last, limit=limit, state=self.state)}, "extensions": EVERYTHING, **more}
        query, body = self.slider.request(body)
        reply = await self.slider.syncer.call("POST", self.slider.path, body, **query)
        if reply.status == 400:
            assert reply.errcode == "M_UNKNOWN_POS"
            self.slider.pos, self.slider.rooms, self.data, self.typing = None, {}, {}, {}
            await self.sync(last, limit, **more)
            return
        assert reply.status == 200, reply.body
        self.fold(reply.json)

    def fold(self, answer: Any) -> None:
        self.slider.take_up(answer)
        extensions = answer["extensions"]
        told = extensions.get("account_data", {})
        for event in told.get("global", ()):
            self.data[event["type"]] = event["content"]
        for room, events in told.get("rooms", {}).items():
            self.data.update({(room, event["type"]): event["content"] for event in events})
        for room, event in extensions.get("typing", {}).get("rooms", {}).items():
            self.typing[room] = sorted(event["content"]["user_ids"])


class SlidingHistory(History):
    """A random history, followed by connections."""

    def __init__(self, case: "LawOfSliding", seed: int) -> None:
        super().__init__(case, seed)  # type: ignore[arg-type]  # a case that syncs
        self.clients = []
        self.connections = [self.connect(case.person(f"{name}{seed}", f"S{at}")) for name in NAMES for at in range(2)]

    def connect(self, syncer: Syncer) -> Connection:
        stable = self.chance.random() < 0.4
        ways: Any = STABLE_WAYS if stable else UNSTABLE_WAYS
        slider = Slider(syncer, STABLE) if stable else Slider(syncer)
        return Connection(slider, self.chance.choice(ways), self.chance.choice((1, 3, 20)))

    async def follow(self, connection: Connection) -> None:
        more: dict[str, Any] = {}
        if self.rooms and self.chance.random() < 0.3:
            state: Any = connection.state
            room = self.chance.choice(self.rooms)
            more["room_subscriptions"] = {room: {"timeline_limit": 5, "required_state": state}}
        await connection.sync(self.chance.choice((0, 1, 2, 99)), self.chance.choice((1, connection.limit)), **more)

    async def run(self) -> None:
        await self.create()
        for _ in range(STEPS):
            self.case.clock.advance(0.001)
            await self.chance.choice(self.deeds())()
            for connection in self.chance.sample(self.connections, self.chance.randrange(3)):
                await self.follow(connection)
        for connection in self.connections:
            await connection.sync(99, connection.limit)

    async def check(self) -> None:
        for connection in self.connections:
            fresh = Connection(
                Slider(connection.slider.syncer, connection.slider.path, "fresh"), connection.state, connection.limit
            )
            await fresh.sync(99, connection.limit)
            self.compare_connections(connection, fresh)

    def compare_connections(self, mine: Connection, its: Connection) -> None:
        where = f"seed {self.seed}, {mine.slider.syncer.user_id}, {mine.state}, {mine.limit}"
        for room_id, room in its.slider.rooms.items():
            assert room_id in mine.slider.rooms, (where, room_id)
            compare(mine.slider.rooms[room_id], room, (where, room_id), lazy=mine.is_lazy)
            assert (mine.typing.get(room_id) or []) == (its.typing.get(room_id) or []), (where, room_id)
        assert {key: mine.data.get(key) for key in its.data} == its.data, where
        others = mine.slider.rooms.keys() - its.slider.rooms.keys()
        gone = [mine.slider.rooms[room_id].fields["membership"] for room_id in others]
        assert set(gone) <= {"leave", "ban"}, (where, others, gone)


def compare(mine: SlidRoom, its: SlidRoom, where: Any, *, lazy: bool) -> None:
    """Fail unless both know the same of a room."""
    known = {name: value for name, value in mine.fields.items() if value is not None}
    if known.get("is_dm") is False:
        del known["is_dm"]
    if "name" in its.fields:
        known.pop("heroes", None)
    assert known == its.fields, (where, known, its.fields)
    mine_state = {key: event["event_id"] for key, event in mine.state.items()}
    its_state = {key: event["event_id"] for key, event in its.state.items()}
    if lazy:
        mine_state = {key: value for key, value in mine_state.items() if key in its_state or key[0] != "m.room.member"}
    assert mine_state == its_state, (where, mine_state, its_state)
    assert [event["type"] for event in mine.stripped] == [event["type"] for event in its.stripped], where
    short = min(len(mine.timeline), len(its.timeline))
    ends = [[event["event_id"] for event in each.timeline[-short:]] if short else [] for each in (mine, its)]
    assert ends[0] == ends[1], (where, ends)
    assert len(mine.timeline) >= len(its.timeline) or mine.limited, (where, ends)


@on_both_databases
class LawOfSliding(SyncCase):
    timeout = 600

    async def test_what_was_told_bit_by_bit_is_what_is_told_at_once(self) -> None:
        for seed in range(FIRST, FIRST + SEEDS):
            history = SlidingHistory(self, seed)
            await history.run()
            await history.check()


class SlidingLawInLittleMemory(LawOfSliding):
    """The same where memory holds next to nothing, so that much is read from the tables."""

    capacity = 30

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.patch(feeds, "MOST_EVENTS", 3)
        self.patch(feeds, "MOST_MARKS", 3)
        for module in (live_room, live_rooms):
            self.patch(module, "MOST_RECENT", 5)
        await super().setUp()
