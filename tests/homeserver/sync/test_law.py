"""The law of sync: a first sync and all later ones, folded, are what a fresh first sync tells.

Histories are random but for their seed: people come and go, are put out and let in, speak, take back, read and set;
they sync now and then, with different filters, and the server begins anew now and then.
"""

import os
import random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from homeserver.rooms import room as live_room
from homeserver.rooms import rooms as live_rooms
from homeserver.streams import feeds
from tests.kit.databases import on_both_databases
from tests.kit.folding import FoldedClient, FoldedRoom, members_of, shown_state
from tests.kit.syncs import SyncCase, Syncer

SEEDS = int(os.environ.get("PARTA_LAW_SEEDS", "12"))
FIRST = int(os.environ.get("PARTA_LAW_FIRST", "0"))
STEPS = 90
NAMES = ("ann", "ben", "cyd", "dan", "eve")


def wanted(**room: Any) -> dict[str, Any]:
    return {"room": {"include_leave": True, **room}}


WAYS: tuple[dict[str, Any], ...] = (
    {"filter": wanted(timeline={"limit": 100})},
    {"filter": wanted(timeline={"limit": 2})},
    {"filter": wanted(timeline={"limit": 3}), "use_state_after": True},
    {"filter": wanted(timeline={"limit": 4}, state={"lazy_load_members": True})},
    {"filter": wanted(timeline={"limit": 2}, state={"lazy_load_members": True}), "use_state_after": True},
    {"filter": wanted(timeline={"limit": 5, "types": ["m.room.message"], "unread_thread_notifications": True})},
    {
        "filter": wanted(
            timeline={"limit": 3, "not_types": ["m.room.member", "m.room.topic"]}, state={"not_types": ["m.room.topic"]}
        )
    },
)


@dataclass(eq=False)
class Client:
    """Somebody's device that syncs in one way, and what it knows by now."""

    syncer: Syncer
    way: dict[str, Any]
    knows: FoldedClient = field(default_factory=FoldedClient)

    async def sync(self, **query: Any) -> None:
        self.knows.fold(await self.syncer.sync(**_encoded(self.way), **query))

    @property
    def is_lazy(self) -> bool:
        state: dict[str, Any] = self.way["filter"]["room"].get("state", {})
        return bool(state.get("lazy_load_members"))


def _encoded(way: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name != "filter" else msgspec.json.encode(value).decode() for name, value in way.items()}


class History:
    """A random history of some rooms."""

    def __init__(self, case: "LawOfSync", seed: int) -> None:
        self.case = case
        self.seed = seed
        self.chance = random.Random(seed)
        self.people = [case.person(f"{name}{seed}", "ACTS") for name in NAMES]
        self.clients = [
            Client(case.person(f"{name}{seed}", f"D{at}"), self.chance.choice(WAYS))
            for name in NAMES
            for at in range(2)
        ]
        self.rooms: list[str] = []
        self.events: dict[str, list[str]] = {}
        self.forgotten: set[tuple[str, str]] = set()

    async def run(self) -> None:
        await self.create()
        for _ in range(STEPS):
            self.case.clock.advance(0.001)
            await self.chance.choice(self.deeds())()
            for client in self.chance.sample(self.clients, self.chance.randrange(3)):
                await client.sync(**({"full_state": True} if self.chance.random() < 0.05 else {}))
        for client in self.clients:
            await client.sync()
            await client.sync()

    async def hurry(self) -> None:
        """The same with everybody at once: nobody waits for anybody, and all clients wait for news."""
        await self.create()
        calm = [deed for deed in self.deeds() if deed not in (self.restart, self.create)]
        over = False

        async def act(steps: int) -> None:
            for _ in range(steps):
                self.case.clock.advance(0.001)
                await self.chance.choice(calm)()

        async def follow(client: Client) -> None:
            while not over:
                await client.sync(timeout=self.chance.choice((0, 1000)))

        followers = [Deferred.fromCoroutine(follow(client)) for client in self.clients]
        await gatherResults([Deferred.fromCoroutine(act(STEPS // 3)) for _ in range(5)])
        over = True
        while not all(follower.called for follower in followers):
            self.case.clock.advance(1)
            await self.case.settle()
        await gatherResults(followers)
        for client in self.clients:
            await client.sync()
            await client.sync()

    def deeds(self) -> list[Any]:
        often = [self.say] * 6 + [self.join] * 4 + [self.invite] * 3 + [self.leave] * 2 + [self.set_state] * 3
        often += [self.expel] * 3 + [self.read] * 4 + [self.redact] * 2 + [self.rename] * 2
        return [
            *often, self.create, self.knock, self.forget, self.set_data, self.tag, self.hide, self.lock, self.type,
            self.say_much, self.restart,
        ]  # fmt: skip

    def pick(self) -> tuple[Syncer, str]:
        return self.chance.choice(self.people), self.chance.choice(self.rooms)

    async def create(self) -> None:
        by = self.chance.choice(self.people)
        more: dict[str, Any] = {"name": "A room"} if self.chance.random() < 0.5 else {}
        visibility = self.chance.choice(("shared", "shared", "joined", "invited", "world_readable"))
        initial = [
            {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": visibility}}
        ]
        preset = self.chance.choice(("public_chat", "private_chat"))
        room = await by.create(preset=preset, initial_state=initial, **more)
        self.rooms.append(room)
        self.events[room] = []

    async def say(self) -> None:
        by, room = self.pick()
        content: dict[str, Any] = {"msgtype": "m.text", "body": "hi"}
        known = self.events[room]
        kind = "m.room.message"
        if known and self.chance.random() < 0.3:
            content["m.relates_to"] = {"rel_type": "m.thread", "event_id": known[0]}
        if known and self.chance.random() < 0.15:
            kind = "m.reaction"
            content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": self.chance.choice(known), "key": "+"}}
        if self.chance.random() < 0.3:
            content["m.mentions"] = {"user_ids": [self.chance.choice(self.people).user_id]}
        path = f"/rooms/{quote(room)}/send/{kind}/{self.case.new_txn()}"
        reply = await by.call("PUT", path, content)
        if reply.status == 200:
            known.append(reply.json["event_id"])

    async def say_much(self) -> None:
        for _ in range(8):
            await self.say()

    async def join(self) -> None:
        by, room = self.pick()
        await by.call("POST", f"/join/{quote(room)}", {})

    async def leave(self) -> None:
        by, room = self.pick()
        await by.call("POST", f"/rooms/{quote(room)}/leave", {})

    async def forget(self) -> None:
        by, room = self.pick()
        await by.call("POST", f"/rooms/{quote(room)}/leave", {})
        if (await by.call("POST", f"/rooms/{quote(room)}/forget", {})).status == 200:
            self.forgotten.add((by.user_id, room))

    async def knock(self) -> None:
        by, room = self.pick()
        await by.call("POST", f"/knock/{quote(room)}", {})

    async def invite(self) -> None:
        by, room = self.pick()
        await by.call("POST", f"/rooms/{quote(room)}/invite", {"user_id": self.chance.choice(self.people).user_id})

    async def expel(self) -> None:
        by, room = self.pick()
        await by.act(self.chance.choice(("kick", "ban", "unban", "unban")), room, self.chance.choice(self.people))

    async def set_state(self) -> None:
        by, room = self.pick()
        kind, key, content = self.chance.choice(
            (
                ("m.room.name", "", {"name": self.chance.choice(("A room", "Another", ""))}),
                ("m.room.topic", "", {"topic": self.case.new_txn()}),
                ("org.example.seat", self.chance.choice("abc"), {"taken": self.case.new_txn()}),
            )
        )
        await by.call("PUT", f"/rooms/{quote(room)}/state/{kind}/{key}", content)

    async def hide(self) -> None:
        by, room = self.pick()
        visibility = self.chance.choice(("shared", "joined", "invited"))
        await by.call(
            "PUT", f"/rooms/{quote(room)}/state/m.room.history_visibility/", {"history_visibility": visibility}
        )

    async def lock(self) -> None:
        by, room = self.pick()
        rule = self.chance.choice(("public", "invite", "knock"))
        await by.call("PUT", f"/rooms/{quote(room)}/state/m.room.join_rules/", {"join_rule": rule})

    async def rename(self) -> None:
        by, room = self.pick()
        content = {"membership": "join", "displayname": self.case.new_txn()}
        if (await by.call("GET", f"/rooms/{quote(room)}/joined_members")).status == 200:
            await by.call("PUT", f"/rooms/{quote(room)}/state/m.room.member/{by.user_id}", content)

    async def redact(self) -> None:
        by, room = self.pick()
        if self.events[room]:
            target = quote(self.chance.choice(self.events[room]), safe="")
            await by.call("PUT", f"/rooms/{quote(room)}/redact/{target}/{self.case.new_txn()}", {})

    async def read(self) -> None:
        by, room = self.pick()
        if self.events[room]:
            kind = self.chance.choice(("m.read", "m.read", "m.read.private"))
            event_id = self.chance.choice(self.events[room])
            body = self.chance.choice(({}, {}, {"thread_id": "main"}, {"thread_id": self.events[room][0]}))
            await by.call("POST", f"/rooms/{quote(room)}/receipt/{kind}/{quote(event_id, safe='')}", body)

    async def set_data(self) -> None:
        by, room = self.pick()
        scope = self.chance.choice(("", f"/rooms/{quote(room)}"))
        await by.call("PUT", f"/user/{by.user_id}{scope}/account_data/org.example.{self.chance.choice('ab')}", {"x": 1})

    async def tag(self) -> None:
        by, room = self.pick()
        await by.call("PUT", f"/user/{by.user_id}/rooms/{quote(room)}/tags/u.{self.chance.choice('ab')}", {})

    async def type(self) -> None:
        by, room = self.pick()
        await by.call("PUT", f"/rooms/{quote(room)}/typing/{by.user_id}", {"typing": self.chance.random() < 0.6})

    async def restart(self) -> None:
        self.case.typing.close()
        for client in self.clients:
            await client.sync()
        self.case.restart()

    async def check(self) -> None:
        for at, client in enumerate(self.clients):
            fresh = Client(self.case.person(f"{client.syncer.user_id[1:].partition(':')[0]}", f"F{at}"), client.way)
            await fresh.sync()
            self.compare(client, fresh)

    def compare(self, client: Client, fresh: Client) -> None:
        """Fail unless both know the same."""
        where = f"seed {self.seed}, {client.syncer.user_id}, {client.way}"
        mine, its = client.knows, fresh.knows
        assert mine.data == its.data, where
        told = {room_id: room for room_id, room in mine.rooms.items() if self._is_told(client, room_id, room, its)}
        assert _sections(told) == _sections(its.rooms), (where, _sections(told), _sections(its.rooms))
        for room_id, room in told.items():
            compare_rooms(room, its.rooms[room_id], f"{where}, {room_id}", lazy=client.is_lazy)

    def _is_told(self, client: Client, room_id: str, room: FoldedRoom, its: FoldedClient) -> bool:
        """A forgotten room stays with those who saw it, and is not told to others."""
        forgotten = (client.syncer.user_id, room_id) in self.forgotten and room.section == "leave"
        return not forgotten or room_id in its.rooms


def _sections(rooms: dict[str, FoldedRoom]) -> dict[str, str]:
    return {room_id: room.section for room_id, room in rooms.items()}


def compare_rooms(mine: FoldedRoom, its: FoldedRoom, where: str, *, lazy: bool) -> None:
    """Fail unless both clients know the same of a room."""
    if mine.section in ("invite", "knock"):
        assert _types(mine.stripped) == _types(its.stripped), where
        return
    members = members_of(its) if lazy else None
    assert shown_state(mine, members=members) == shown_state(its, members=members), where
    short = min(len(mine.timeline), len(its.timeline))
    assert short or not (mine.timeline or its.timeline), where
    ends = [[event["event_id"] for event in each.timeline[-short:]] if short else [] for each in (mine, its)]
    assert ends[0] == ends[1], where
    if mine.section == "join":
        assert mine.data == its.data, where
        assert mine.receipts == its.receipts, where
        assert (mine.unread, mine.threads) == (its.unread, its.threads), where
        assert mine.typing == its.typing, where
        known = {name: mine.summary.get(name) for name in its.summary}
        assert known == its.summary, where


def _types(stripped: list[Any]) -> set[tuple[str, str]]:
    return {(event["type"], event["state_key"]) for event in stripped}


@on_both_databases
class LawOfSync(SyncCase):
    timeout = 600

    async def test_what_was_told_bit_by_bit_is_what_is_told_at_once(self) -> None:
        for seed in range(FIRST, FIRST + SEEDS):
            history = History(self, seed)
            await history.run()
            await history.check()

    async def test_so_it_is_when_everybody_hurries(self) -> None:
        for seed in range(FIRST, FIRST + SEEDS // 2):
            history = History(self, seed)
            await history.hurry()
            await history.check()


class LawInLittleMemory(LawOfSync):
    """The same where memory holds next to nothing, so that much is read from the tables."""

    capacity = 30

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.patch(feeds, "MOST_EVENTS", 3)
        self.patch(feeds, "MOST_MARKS", 3)
        for module in (live_room, live_rooms):
            self.patch(module, "MOST_RECENT", 5)
        await super().setUp()
