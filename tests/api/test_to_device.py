"""Messages from device to device."""

from typing import Any

import msgspec

from homeserver.policy import SendToDevice
from homeserver.storage import todevice as stored
from tests.kit.databases import on_both_databases
from tests.kit.doors import SERVER, Client, DoorsCase
from tests.kit.wire import Reply


@on_both_databases
class ToDevice(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice = await self.register("alice", device_id="PHONE")
        self.bob = await self.register("bob", device_id="DESK")
        self.laptop = await self.log_in("bob", device_id="LAPTOP")

    async def send(
        self, messages: object, txn_id: str = "1", kind: str = "m.test", client: Client | None = None
    ) -> Reply:
        path = f"/sendToDevice/{kind}/{txn_id}"
        return await (client or self.alice).call("PUT", path, {"messages": messages})

    async def waiting(self, client: Client, limit: int = 100, upto: int | None = None) -> list[Any]:
        position = self.db.position if upto is None else upto
        found = await self.db.read(stored.pending, client.user_id, client.device_id, position, limit)
        return [msgspec.json.decode(one.message) for one in found]

    async def contents(self, client: Client) -> list[Any]:
        return [message["content"] for message in await self.waiting(client)]

    async def test_a_message_waits_for_the_device_it_is_for_and_no_other(self) -> None:
        reply = await self.send({self.bob.user_id: {"DESK": {"a": 1}}})
        self.assertEqual((reply.status, reply.json), (200, {}))
        expected = {"sender": self.alice.user_id, "type": "m.test", "content": {"a": 1}}
        self.assertEqual(await self.waiting(self.bob), [expected])
        for client in (self.laptop, self.alice):
            self.assertEqual(await self.waiting(client), [])
        self.assertEqual(self.news("to_device"), [self.bob.user_id])

    async def test_a_star_is_every_device_and_a_device_of_its_own_gets_its_own(self) -> None:
        await self.send({self.bob.user_id: {"*": {"to": "all"}, "LAPTOP": {"to": "laptop"}}})
        self.assertEqual(await self.contents(self.bob), [{"to": "all"}])
        self.assertEqual(await self.contents(self.laptop), [{"to": "laptop"}])

    async def test_messages_wait_in_the_order_they_came(self) -> None:
        for number in range(5):
            await self.send({self.bob.user_id: {"DESK": {"n": number}}}, str(number))
        self.assertEqual(await self.contents(self.bob), [{"n": n} for n in range(5)])
        self.assertEqual(len(await self.waiting(self.bob, limit=2)), 2)

    async def test_what_was_received_is_removed_and_the_rest_waits_on(self) -> None:
        for number in range(3):
            await self.send({self.bob.user_id: {"*": {"n": number}}}, str(number))
        first = await self.db.read(stored.pending, self.bob.user_id, self.bob.device_id, self.db.position, 2)
        upto = first[-1].position
        self.assertEqual([m["content"]["n"] for m in await self.waiting(self.bob, upto=upto)], [0, 1])
        self.assertEqual(await self.db.write(stored.remove, self.bob.user_id, self.bob.device_id, upto), 2)
        self.assertEqual(await self.db.write(stored.remove, self.bob.user_id, self.bob.device_id, upto), 0)
        self.assertEqual(await self.contents(self.bob), [{"n": 2}])
        self.assertEqual(len(await self.contents(self.laptop)), 3)

    async def test_the_same_transaction_sends_once(self) -> None:
        for content in ({"n": 1}, {"n": 1}, {"n": "other"}):
            self.assertEqual((await self.send({self.bob.user_id: {"DESK": content}})).json, {})
        self.build()
        await self.send({self.bob.user_id: {"DESK": {"n": 1}}})
        self.assertEqual(await self.contents(self.bob), [{"n": 1}])

    async def test_a_transaction_is_of_one_device_one_type_and_one_day(self) -> None:
        tablet = await self.log_in("alice", device_id="TABLET")
        message = {self.bob.user_id: {"DESK": {}}}
        await self.send(message)
        await self.send(message, client=tablet)
        await self.send(message, kind="m.other")
        await self.send(message, "2")
        self.assertEqual(len(await self.waiting(self.bob)), 4)
        self.advance(hours=25)
        await self.send(message, "2")
        self.assertEqual(len(await self.waiting(self.bob)), 5)
        count = await self.db.read(
            lambda txn: txn.one("SELECT COUNT(*) FROM device_transactions WHERE device_id = 'PHONE'")
        )
        self.assertEqual(count, (1,))

    async def test_logging_out_ends_the_queue_and_forgets_the_transactions(self) -> None:
        await self.send({self.bob.user_id: {"*": {}}})
        await self.bob.call("POST", "/logout")
        again = await self.log_in("bob", device_id="DESK")
        self.assertEqual(await self.waiting(again), [])
        self.assertEqual(len(await self.waiting(self.laptop)), 1)
        await self.alice.call("POST", "/logout")
        self.alice = await self.log_in("alice", device_id="PHONE")
        await self.send({self.bob.user_id: {"DESK": {}}})
        self.assertEqual(len(await self.waiting(again)), 1)

    async def test_the_queue_stays_when_the_device_logs_in_again(self) -> None:
        await self.send({self.bob.user_id: {"DESK": {}}})
        self.assertEqual(len(await self.waiting(await self.log_in("bob", device_id="DESK"))), 1)

    async def test_who_is_unknown_foreign_or_refused_gets_nothing_and_the_sender_does_not_learn_it(self) -> None:
        self.policy.refused.add((SendToDevice, self.bob.user_id))
        carol = await self.register("carol", device_id="DESK")
        people = (self.bob.user_id, f"@nobody:{SERVER}", "@bob:elsewhere.test", carol.user_id)
        replies = [await self.send({person: {"DESK": {}}}, str(n)) for n, person in enumerate(people)]
        self.assertEqual({(reply.status, reply.body) for reply in replies}, {(200, b"{}")})
        self.assertEqual((await self.send({carol.user_id: {"NONE": {}}}, "9")).status, 200)
        self.assertEqual((len(await self.waiting(self.bob)), len(await self.waiting(carol))), (0, 1))
        self.assertIn(SendToDevice(by=self.alice.user_id, person=carol.user_id, type="m.test"), self.policy.asked)

    async def test_one_may_send_to_oneself(self) -> None:
        await self.send({self.alice.user_id: {"*": {"a": 1}}})
        self.assertEqual(await self.contents(self.alice), [{"a": 1}])

    async def test_bodies_of_the_wrong_shape_are_refused_and_nothing_is_sent(self) -> None:
        bob = self.bob.user_id
        for body in ({}, [], {"messages": []}, {"messages": {bob: []}}, {"messages": {bob: {"DESK": "x"}}},
                     {"messages": {bob: {"DESK": None}}}):  # fmt: skip
            reply = await self.alice.call("PUT", "/sendToDevice/m.test/1", body)
            self.assert_refused(reply, 400, "M_BAD_JSON")
        for messages, errcode in (
            ({bob: {"*": {}}, "bob": {"*": {}}}, "M_INVALID_PARAM"),
            ({bob: {"*": {"a": "x" * 65536}}}, "M_TOO_LARGE"),
            ({f"@u{n}:x.y": {} for n in range(5001)}, "M_INVALID_PARAM"),
        ):
            self.assert_refused(await self.send(messages), 400, errcode)
        self.assert_refused(await self.send({bob: {"*": {}}}, kind="x" * 256), 400, "M_INVALID_PARAM")
        self.assert_refused(await self.send({bob: {"*": {}}}, "x" * 256), 400, "M_INVALID_PARAM")
        self.assert_refused(await self.call("PUT", "/sendToDevice/m.test/1", {"messages": {}}), 401, "M_MISSING_TOKEN")
        self.assertEqual(await self.waiting(self.bob), [])
        self.assertEqual((await self.send({bob: {"*": {}}})).status, 200)
        self.assertEqual(len(await self.waiting(self.bob)), 1)
