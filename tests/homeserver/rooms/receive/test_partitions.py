"""Servers that were cut off from each other: after healing they agree on state and history, whatever happened."""

from random import Random
from typing import Any

from twisted.trial.unittest import TestCase

from homeserver.storage.database import Txn
from tests.kit.nodes import Net, Node
from tests.kit.receiving import sketch

NAMES = ["a.test", "b.test", "c.test", "d.test"]


def load_history(txn: Txn) -> dict[str, bool]:
    """All events that have a place, and whether they were rejected."""
    rows = txn.all("SELECT event_id, standing FROM events WHERE group_nid > 0")
    return {event_id: standing == 2 for event_id, standing in rows}


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
        # who was put out hears no more; who is in, as all say that are, agrees with them
        inside = [node for node in net.nodes if node.user_id in (await node.room()).joined_members]
        people = [set((await node.room()).joined_members) for node in inside]
        joined = [node for node in net.nodes if people and node.user_id in set.intersection(*people)]
        rooms = [await node.room() for node in joined]
        states = [{key: held.event_id for key, held in room.shown.state.items()} for room in rooms]
        for node, state in zip(joined, states, strict=True):
            self.assertEqual(state, states[0], node.name)
        histories = [await node.db.read(load_history) for node in joined]
        for node, history in zip(joined, histories, strict=True):
            common = {event_id: history[event_id] for event_id in history.keys() & histories[0].keys()}
            self.assertEqual(common, {event_id: histories[0][event_id] for event_id in common}, node.name)
        for node, room in zip(joined, rooms, strict=True):
            node.begin()
            self.assertEqual(sketch(room)["state"], sketch(await node.room())["state"])


def add_tests(version: str) -> None:
    for seed in range(4):

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
        histories = [set(await node.db.read(load_history)) for node in net.nodes]
        said = {event.event_id for node in net.nodes for event in node.sent}
        for history in histories:
            self.assertEqual(said - history, set())


for each in ("6", "10", "11", "12"):
    add_tests(each)
