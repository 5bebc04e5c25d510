"""The law of messages to devices: each comes to each device once and in order, whatever answers are lost on the way.

Histories are random but for their seed: messages are sent to some devices or all, answers come or are lost, the server
begins anew now and then.
"""

import random
from typing import Any
from unittest.mock import patch

from homeserver.storage.database import Dialect, Txn
from homeserver.sync import answers, reading
from tests.kit.people import Person
from tests.kit.server import ServerCase

SEEDS = 4
STEPS = 60
ANSWER_HOLDS = 3


class Device:
    """A device: what it must have got by now, and what it got."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.due: list[int] = []
        self.got: list[int] = []

    async def sync(self, *, lost: bool = False) -> int:
        """Sync; a lost answer leaves the device where it was. Gives how many messages came."""
        since = self.person.since
        answer = await self.person.sync()
        numbers = [event["content"]["n"] for event in answer.get("to_device", {}).get("events", [])]
        if lost:
            self.person.since = since
        else:
            self.got += numbers
        return len(numbers)


class LawOfMessagesToDevices(ServerCase):
    configuration = {"presence": False}
    timeout = 300

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        for module in (answers, reading):
            patched = patch.object(module, "MOST_MESSAGES", ANSWER_HOLDS)
            patched.start()
            self.addCleanup(patched.stop)

    async def test_each_message_comes_once_and_in_order(self) -> None:
        for seed in range(SEEDS):
            await self.play(seed, random.Random(seed))

    async def play(self, seed: int, chance: random.Random) -> None:
        alice = await self.register(f"alice{seed}")
        devices = [Device(await self.register(f"bob{seed}"))]
        devices += [Device(await self.log_in(f"bob{seed}")) for _ in range(2)]
        for device in devices:
            await device.sync()
        for number in range(STEPS):
            await self.send(alice, devices, number, chance)
            if chance.random() < 0.05:
                await self.restart()
            for device in chance.sample(devices, chance.randrange(3)):
                await device.sync(lost=chance.random() < 0.3)
        for device in devices:
            while await device.sync():
                pass
            assert device.got == device.due, (seed, device.got, device.due)
        await self.restart()
        assert await self.server.core.database.read(_count) == 0
        for device in devices:
            assert await device.sync() == 0

    async def send(self, alice: Person, devices: list[Device], number: int, chance: random.Random) -> None:
        """Send one message to some devices or to all; now and then twice, as a client does that heard no answer."""
        reached = chance.sample(devices, chance.randrange(1, 4))
        names = ["*"] if len(reached) == len(devices) else [device.person.device_id for device in reached]
        body: dict[str, Any] = {"messages": {devices[0].person.user_id: {name: {"n": number} for name in names}}}
        for _ in range(2 if chance.random() < 0.2 else 1):
            await alice.ok("PUT", f"/sendToDevice/m.test/{number}", body)
        for device in reached:
            device.due.append(number)


class LawOfMessagesToDevicesOnPostgreSQL(LawOfMessagesToDevices):
    dialect: Dialect = "postgresql"


def _count(txn: Txn) -> int:
    row = txn.one("SELECT COUNT(*) FROM to_device")
    return -1 if row is None else int(row[0])
