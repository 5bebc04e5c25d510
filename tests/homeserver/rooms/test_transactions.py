"""What devices sent lately: no request happens twice, and memory has a bound."""

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import TestCase

from federation.ids import DeviceID, EventID, UserID
from homeserver.rooms.transactions import MOST_REQUESTS, Request, Transactions
from homeserver.storage.database import Database
from homeserver.storage.events import Origin
from tests.kit.databases import give_sqlite


class Once(TestCase):
    db: Database

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        give_sqlite(self)
        self.transactions = Transactions(self.db, most_held=10)
        self.sent: list[str] = []

    def origin(self, txn_id: str, device: str = "PHONE") -> Origin:
        return Origin(UserID("@alice:parta.test"), DeviceID(device), txn_id)

    async def once(self, txn_id: str, device: str = "PHONE", fault: Exception | None = None) -> EventID:
        async def send() -> EventID:
            if fault is not None:
                raise fault
            self.sent.append(txn_id)
            return EventID(f"${len(self.sent)}")

        return await self.transactions.once(self.origin(txn_id, device), Request("!room", "m.x", txn_id), send)

    async def test_the_second_time_is_the_first(self) -> None:
        first = await self.once("t")
        self.assertEqual(await self.once("t"), first)
        self.assertNotEqual(await self.once("u"), first)
        self.assertEqual(self.sent, ["t", "u"])

    async def test_a_failure_is_not_remembered(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            await self.once("t", fault=ZeroDivisionError())
        await self.once("t")
        self.assertEqual(self.sent, ["t"])

    async def test_who_waits_for_another_ones_request_shares_its_fate(self) -> None:
        gate: Deferred[None] = Deferred()

        async def send() -> EventID:
            await gate
            raise ZeroDivisionError

        request, origin = Request("!room", "m.x", "t"), self.origin("t")
        waiting = [ensureDeferred(self.transactions.once(origin, request, send)) for _ in range(3)]
        await self.db.read(lambda txn: None)
        gate.callback(None)
        for each in waiting:
            with self.assertRaises(ZeroDivisionError):
                await each

    async def test_what_was_sent_counts_though_its_sender_hung_up(self) -> None:
        gate: Deferred[None] = Deferred()

        async def send() -> EventID:
            await gate
            self.sent.append("t")
            return EventID("$1")

        await self.once("warm")
        request, origin = Request("!room", "m.x", "t"), self.origin("t")
        going = ensureDeferred(self.transactions.once(origin, request, send))
        going.addErrback(lambda failure: None)
        going.cancel()
        gate.callback(None)
        self.assertEqual(await self.once("t"), "$1")
        self.assertEqual(self.sent, ["warm", "t"])

    async def test_memory_is_bounded_by_device_and_in_all(self) -> None:
        for number in range(MOST_REQUESTS + 5):
            await self.once(str(number))
        before = len(self.sent)
        await self.once(str(MOST_REQUESTS))
        self.assertEqual(len(self.sent), before)
        await self.once("0")
        self.assertEqual(len(self.sent), before + 1)
        # another device pushes the first one out, of which nothing is in the tables here
        await self.once("x", "TABLET")
        await self.once("y", "DESK")
        await self.once(str(MOST_REQUESTS))
        self.assertEqual(self.sent[-1], str(MOST_REQUESTS))
