"""Transactions: each is done once, whatever is repeated; what is in them is looked at one by one."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from federation.errors import Refused
from federation.ids import ServerName
from homeserver.policy import Invalid
from homeserver.rooms.receive.transactions import Transactions
from homeserver.storage.database import StorageUnavailable
from tests.kit.receiving import ReceivingCase
from tests.kit.rooms import BOB

TWO, THREE = ServerName("two.example"), ServerName("three.example")


class Doing(ReceivingCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        await self.adopt()
        self.taken: list[tuple[ServerName, Mapping[str, Any]]] = []
        self.transactions = Transactions(self.receiver)
        self.transactions.edus["m.thing"] = self.take

    async def take(self, origin: ServerName, content: Mapping[str, Any]) -> None:
        self.taken.append((origin, content))
        if "fault" in content:
            raise Refused("test", "not this one")

    async def test_each_event_has_its_result(self) -> None:
        good = self.factory.message(BOB)
        bad = self.factory.build("m.room.topic", {"topic": "mine"}, sender=BOB, state_key="")
        results = await self.transactions.receive(TWO, "t", [good.pdu(), bad.pdu()])
        self.assertEqual(results[good.event_id], {})
        self.assertEqual(list(results[bad.event_id]), ["error"])

    async def test_what_others_take_goes_to_them_by_its_type(self) -> None:
        edus = [{"edu_type": "m.thing", "content": {"n": 1}}, {"edu_type": "m.other", "content": {}}]
        await self.transactions.receive(TWO, "t", [], edus)
        self.assertEqual(self.taken, [(TWO, {"n": 1})])

    async def test_one_that_is_refused_takes_no_other_with_it(self) -> None:
        edus = [{"edu_type": "m.thing", "content": content} for content in ({"fault": 1}, {"n": 2})]
        message = self.factory.message(BOB)
        results = await self.transactions.receive(TWO, "t", [message.pdu()], [*edus, 1, {"edu_type": "m.thing"}])
        self.assertEqual(results, {message.event_id: {}})
        self.assertEqual(len(self.taken), 2)

    async def test_a_repeated_one_is_not_done_again_but_that_of_another_server_is(self) -> None:
        edus = [{"edu_type": "m.thing", "content": {}}]
        for origin in (TWO, TWO, THREE):
            await self.transactions.receive(origin, "t", [], edus)
        self.assertEqual([origin for origin, _ in self.taken], [TWO, THREE])

    async def test_a_repeated_one_waits_for_the_first(self) -> None:
        message = self.factory.message(BOB)
        running = [Deferred.fromCoroutine(self.transactions.receive(TWO, "t", [message.pdu()], [])) for _ in range(3)]
        answers = [await each for each in running]
        self.assertEqual(answers, [{message.event_id: {}}] * 3)
        self.assertEqual((await self.shown()).count(message.event_id), 1)

    async def test_one_that_failed_is_done_again(self) -> None:
        message = self.factory.message(BOB)
        failing = [True]

        async def take(origin: ServerName, content: Mapping[str, Any]) -> None:
            if failing.pop() if failing else False:
                raise StorageUnavailable("away")

        self.transactions.edus["m.thing"] = take
        edus = [{"edu_type": "m.thing", "content": {}}]
        with self.assertRaises(StorageUnavailable):
            await self.transactions.receive(TWO, "t", [message.pdu()], edus)
        self.assertEqual(await self.transactions.receive(TWO, "t", [message.pdu()], edus), {message.event_id: {}})

    async def test_too_much_is_refused(self) -> None:
        await self.transactions.receive(TWO, "most", [1] * 50, [1] * 100)
        for pdus, edus in (([1] * 51, []), ([], [1] * 101)):
            with self.assertRaises(Invalid):
                await self.transactions.receive(TWO, "more", pdus, edus)

    async def test_nothing_is_taken_for_a_room_that_all_of_ours_left(self) -> None:
        await self.put("m.room.member", {"membership": "leave"}, "@us:parta.test")
        message = self.factory.message(BOB)
        self.assertIn("error", (await self.transactions.receive(TWO, "t", [message.pdu()]))[message.event_id])
