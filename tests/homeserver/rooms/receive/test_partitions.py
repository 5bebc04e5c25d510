"""Servers that were cut off from each other: after healing they agree on state and history, whatever happened."""

import os
from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec
from twisted.trial.unittest import TestCase

from federation.ids import EventID, StateKey, UserID
from homeserver.rooms.seal import Draft
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, Standing, load_page
from tests.kit.nodes import Net, Node

NAMES = ["a.test", "b.test", "c.test", "d.test"]


def load_history(txn: Txn, ends: Iterable[EventID]) -> dict[str, bool | None]:
    """Some events and all that come before them, and whether they were rejected; None for what cannot be had."""
    rows = txn.all("SELECT event_id, standing, json FROM events WHERE group_nid > 0")
    placed = {event_id: (standing, msgspec.json.decode(raw)["prev_events"]) for event_id, standing, raw in rows}
    history: dict[str, bool | None] = {}
    ahead = [str(end) for end in ends]
    while ahead:
        event_id = ahead.pop()
        if event_id not in history:
            standing, before = placed.get(event_id, (None, ()))
            history[event_id] = None if standing is None else standing == Standing.REJECTED
            ahead += before
    return history


class PartitionCase(TestCase):
    timeout = 120

    async def live(self, version: str, seed: int, steps: int = 40) -> Net:
        """A life of cuts, losses and restarts, and healing at its end."""
        random = Random(f"{version} {seed}")
        net = Net(self, version, NAMES[: random.choice([3, 4])], random)
        await net.begin()
        for _ in range(steps):
            await self.step(net, random)
        await net.heal()
        return net

    async def step(self, net: Net, random: Random) -> None:
        chance = random.random()
        if chance < 0.1:
            at = random.randrange(1, len(net.nodes))
            mixed = random.sample([node.name for node in net.nodes], len(net.nodes))
            net.cut(mixed[:at], mixed[at:])
        elif chance < 0.15:
            net.cut()
        elif chance < 0.18:
            random.choice(net.nodes).begin()
        elif chance < 0.4:
            await net.deliver(share=random.random(), lost=0.2)
        else:
            node = random.choice(net.nodes)
            await node.send(self.choose(node, random))

    def choose(self, node: Node, random: Random) -> Any:
        other = random.choice(node.net.nodes).user_id
        what = random.random()
        if what < 0.4:
            return node.draft("m.room.message", {"body": str(random.random())})
        if what < 0.65:
            return node.draft("m.room.topic", {"topic": str(random.random())}, "")
        if what < 0.75:
            return node.move(random.choice(["leave", "join"]))
        if what < 0.85:
            return node.move(random.choice(["ban", "leave", "invite"]), other)
        if what < 0.93:
            users = {each.user_id: random.choice([0, 50, 60, 80]) for each in node.net.nodes[1:]}
            first = {} if node.net.version.creators_are_supreme else {node.net.nodes[0].user_id: 100}
            return node.draft("m.room.power_levels", {"users": users | first, "state_default": 50}, "")
        return node.draft("m.room.join_rules", {"join_rule": random.choice(["public", "invite"])}, "")

    async def assert_agreed(self, net: Net) -> None:
        """All that say they are in the room agree that they are, and nobody else, on its state and its history; so do
        they after a restart.
        """
        rooms = {node.name: await node.room() for node in net.nodes}
        inside = [node for node in net.nodes if node.name in rooms[node.name].shown.servers]
        views = [await self.view(node) for node in inside]
        for node, view in zip(inside, views, strict=True):
            self.assertEqual(set(rooms[node.name].shown.servers), {each.name for each in inside}, node.name)
            for mine, first in zip(view, views[0], strict=True):
                self.assertEqual(mine, first, node.name)
            node.begin()
            self.assertEqual(await self.view(node), view, node.name)

    async def view(self, node: Node) -> tuple[dict[StateKey, EventID], set[EventID], dict[str, bool | None]]:
        """The state of the room there, its last events, and all that came before."""
        head = (await node.room()).shown
        state = {key: held.event_id for key, held in head.state.items()}
        ends = {held.event_id for held in head.extremities}
        return state, ends, await node.db.read(load_history, ends)


SEEDS: dict[str, Iterable[int]] = {
    "6": range(4),
    "10": [*range(4), 85, 130, 149],
    "11": [*range(4), 8, 11, 19, 33, 35, 60, 108, 176],
    "12": [*range(4), 15, 16, 46, 50, 203],
}
"""Lives by version. In those of higher numbers somebody is put out, which others undo (11: 8, 19, 35), or hears of it
only when out (11: 33, 12: 16); joins by way of a server that has not heard how they left (11: 11, 108); is out by what
met elsewhere (10: 130, 11: 60, 12: 15, 46); is alone and has not heard that the others left (12: 50, 203); leaves, and
others hear of that when they have joined anew (10: 149). In some more is missing than can be had (10: 85), or what
states rest on is not written (11: 176).
"""


def find_lives(wanted: str) -> dict[str, Iterable[int]]:
    """Lives by version, as somebody asks for them by the environment: `LIVES="11/60 12/0-299"`."""
    lives: dict[str, Iterable[int]] = {}
    for each in wanted.split():
        version, _, seeds = each.partition("/")
        first, _, last = seeds.partition("-")
        lives[version] = range(int(first), int(last or first) + 1)
    return lives or SEEDS


def add_tests(version: str, seeds: Iterable[int]) -> None:
    for seed in seeds:

        async def test(self: PartitionCase, seed: int = seed) -> None:
            await self.assert_agreed(await self.live(version, seed))

        setattr(Partitions, f"test_servers_agree_in_version_{version}_after_life_{seed}", test)


class Partitions(PartitionCase):
    async def test_a_cut_of_two_and_one_is_healed(self) -> None:
        net = Net(self, "12", NAMES[:3], Random(1))
        await net.begin()
        a, b, c = net.nodes
        net.cut({"a.test", "b.test"}, {"c.test"})
        for number in range(30):
            await a.send(a.draft("m.room.message", {"body": f"a {number}"}))
            await b.send(b.draft("m.room.topic", {"topic": f"b {number}"}, ""))
            await c.send(c.draft("m.room.name", {"name": f"c {number}"}, ""))
            await net.deliver()
        await net.heal()
        await self.assert_agreed(net)
        _, _, history = await self.view(a)
        self.assertEqual({event.event_id for node in net.nodes for _, event in node.owed} - set(history), set())

    async def test_a_join_comes_after_a_leave_that_nobody_had_heard_of(self) -> None:
        net = Net(self, "11", NAMES[:3], Random(1))
        await net.begin()
        b = net.node("b.test")
        net.cut({"b.test"}, {"a.test", "c.test"})
        await b.send(b.move("leave"))
        (leave,) = (await b.room()).shown.extremities
        net.cut()
        await b.send(b.move("join"))
        (join,) = (await b.room()).shown.extremities
        self.assertEqual(join.membership, "join")
        history = await net.node("a.test").db.read(load_history, [join.event_id])
        self.assertIn(leave.event_id, history)
        await net.heal()
        await self.assert_agreed(net)
        self.assertIn("b.test", (await net.node("c.test").room()).shown.servers)

    async def test_all_that_was_said_while_ours_were_away_is_history_also_if_it_comes_late(self) -> None:
        net = Net(self, "11", NAMES[:2], Random(1))
        await net.begin()
        a, b = net.nodes
        anna = UserID("@anna:a.test")
        said: list[RoomEvent] = []
        for number in range(3):
            net.cut({"a.test"}, {"b.test"})
            await b.send(b.move("leave"))  # nobody hears of that now
            for kind, content in (("member", "join"), ("message", str(number)), ("member", "leave")):
                said.append(await a.rooms.append(await a.room(), draft_of(anna, kind, content)))
            net.cut()
            self.assertTrue(await b.send(b.move("join")))
        await net.heal()
        room = await b.room()
        page = await b.db.read(lambda txn: load_page(txn, room.record, (1 << 60, 0), 1000, backwards=True))
        self.assertEqual({held.event_id for held in said} - {held.event_id for held in page}, set())
        await self.assert_agreed(net)


def draft_of(person: UserID, kind: str, content: str) -> Draft:
    """Somebody's message, or their coming or going."""
    if kind == "message":
        return Draft(type="m.room.message", sender=person, content={"body": content})
    return Draft(type="m.room.member", sender=person, content={"membership": content}, state_key=person)


for lives in find_lives(os.environ.get("LIVES", "")).items():
    add_tests(*lives)
