"""Killed at any moment: what was acknowledged is there, what was half fetched leaves nothing wrong."""

import contextlib
from typing import Any

from federation.event import Event
from homeserver.storage.database import Txn
from homeserver.storage.received import find_known
from tests.kit.receiving import ReceivingCase
from tests.kit.rooms import ALICE, BOB, CAROL
from tests.kit.sketches import sketch


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """What asks or writes, and dies at the n-th time."""

    def __init__(self, inner: Any, name: str, lives: list[int]) -> None:
        self._inner = inner
        self._name = name
        self._lives = lives

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._name:
            return found

        def die_or_do(*args: Any, **more: Any) -> Any:
            self._lives[0] -= 1
            if self._lives[0] < 0:
                raise Killed
            return found(*args, **more)

        return die_or_do


class Kills(ReceivingCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.adopt()

    def happen(self) -> list[Event]:
        """A gap with state, a fork and a redaction in it; the events that are sent of it."""
        before = self.factory.head
        self.factory.send("m.room.topic", {"topic": "one"}, sender=ALICE, state_key="")
        self.factory.leave(CAROL)
        self.factory.join(CAROL)
        message = self.factory.message(BOB)
        two = self.factory.send("m.room.topic", {"topic": "two"}, sender=ALICE, state_key="", after=before)
        merge = self.factory.message(BOB, after=[message, two])
        redaction = self.factory.send("m.room.redaction", {"redacts": message.event_id}, sender=ALICE)
        return [two, merge, redaction]

    async def survive(self, lives: int) -> bool:
        """Receive with so many steps to live, begin anew, receive again; whether it lived through the first time."""
        events = self.happen()
        left = [lives]
        peer, database = self.peer, self.db
        self.peer, self.db = Mortal(peer, "ask", left), Mortal(database, "write", left)  # type: ignore[assignment]
        self.restart()
        acknowledged: dict[str, str] = {}
        try:
            acknowledged = await self.receive(*events)
            lived = True
        except Killed:
            lived = False
        self.assertEqual(acknowledged, {})
        self.peer, self.db = peer, database
        self.restart()
        if lived:
            known = await self.db.read(find_known, [event.event_id for event in events])
            self.assertTrue(all(known[event.event_id].group for event in events))
        await self.assert_as_stored()
        self.assertEqual(await self.receive(*events), {})
        await self.assert_state(self.factory.state())
        await self.assert_as_stored()
        self.assertEqual(len(await self.shown()), len(set(await self.shown())))
        return lived

    async def test_at_every_step_of_a_gap(self) -> None:
        lives = 0
        while not await self.survive(lives):
            lives += 1
        self.assertGreater(lives, 2)

    async def test_at_every_step_behind_a_gap_that_is_not_filled(self) -> None:
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        lives = 0
        while not await self.survive(lives):
            lives += 1
        self.assertGreater(lives, 3)

    async def test_an_adoption_is_there_as_a_whole_or_not_at_all(self) -> None:
        self.begin("11")
        database = self.db
        self.db = Mortal(database, "write", [0])  # type: ignore[assignment]
        self.restart()
        state = list(self.factory.state().values())
        with contextlib.suppress(Killed):
            await self.adopt()
        self.db = database
        self.restart()
        count = await self.db.read(_count_rows, self.factory.create.event_id)
        self.assertEqual(count, 0)
        join = self.factory.head
        assert join is not None
        room = await self.adoption.adopt(self.factory.version, state, self.peer.chain([*state, join]), join)
        self.assertEqual(sketch(room)["state"], self.factory.ids())


def _count_rows(txn: Txn, event_id: str) -> int:
    row = txn.one("SELECT COUNT(*) FROM events WHERE event_id = ?", (event_id,))
    return 0 if row is None else int(row[0])
