"""A server that was put out of a room learns that it is in it again; nobody has it take anything of a room it left."""

from typing import Any

from federation.event import Event
from homeserver.storage.purge import set_blocked
from tests.kit.databases import on_both_databases
from tests.kit.receiving import US, ReceivingCase
from tests.kit.rooms import ALICE, BOB, CAROL, START_MS


class Case(ReceivingCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.levels = self.factory.set_levels(users={CAROL: 50})
        await self.adopt()

    async def rows(self) -> int:
        """How much the tables hold."""
        return await self.db.read(
            lambda txn: sum(
                int(count)
                for table in ("events", "state_groups", "gaps", "state_changes")
                for (count,) in txn.all(f"SELECT COUNT(*) FROM {table}")
            )
        )

    async def put_out(self) -> Event:
        """Carol kicks ours, while elsewhere her power is taken from her; only the kick is heard here."""
        before = self.factory.head
        assert before is not None
        taken = self.factory.set_levels(users={CAROL: 0}, after=before)
        kick = self.factory.kick(CAROL, US, after=before)
        self.assertEqual(await self.receive(kick), {})
        self.assertNotIn(US, (await self.room()).joined_members)
        return self.factory.message(BOB, "you are in", after=[taken, kick])

    async def put_out_for_good(self) -> Event:
        """Alice kicks ours; what is said after that."""
        self.assertEqual(await self.receive(self.factory.kick(ALICE, US)), {})
        return self.factory.message(BOB, "not for you")

    async def assert_out(self, *events: Event) -> None:
        """Nothing is taken of some events, or written."""
        before = await self.rows()
        self.assertEqual(set(await self.receive(*events)), {event.event_id for event in events})
        self.assertNotIn(US, (await self.room()).joined_members)
        self.assertEqual(await self.rows(), before)
        await self.assert_as_stored()


@on_both_databases
class Returning(Case):
    async def test_a_kick_that_was_undone_elsewhere_is_undone_here_by_the_next_event(self) -> None:
        message = await self.put_out()
        self.assertEqual(await self.receive(message), {})
        await self.assert_state(self.factory.state())
        self.assertIn(US, (await self.room()).joined_members)
        self.assertEqual((await self.shown())[-1], message.event_id)
        await self.assert_as_stored()
        ours = await self.say("back")
        self.assertEqual(ours.prev_events, (message.event_id,))

    async def test_it_is_so_with_a_state_that_another_server_tells(self) -> None:
        message = await self.put_out()
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        self.assertEqual(await self.receive(message), {})
        self.assertIn(US, (await self.room()).joined_members)
        await self.assert_as_stored()

    async def test_it_is_so_after_a_restart(self) -> None:
        message = await self.put_out()
        self.restart()
        self.assertEqual(await self.receive(message), {})
        await self.assert_state(self.factory.state())

    async def test_who_was_put_out_for_good_stays_out(self) -> None:
        await self.assert_out(await self.put_out_for_good())

    async def test_who_left_stays_out(self) -> None:
        await self.put("m.room.member", {"membership": "leave"}, US)
        await self.assert_out(self.factory.message(BOB))

    async def test_an_operator_who_blocked_the_room_is_heeded(self) -> None:
        message = await self.put_out()
        await self.db.write(set_blocked, message.room_id, US, START_MS)
        await self.assert_out(message)


@on_both_databases
class Lying(Case):
    async def test_a_state_from_before_the_kick_puts_nobody_back(self) -> None:
        old = {"pdu_ids": [event.event_id for event in self.factory.state().values()], "auth_chain_ids": []}
        await self.put_out_for_good()
        unknown = self.factory.message(BOB, "between")
        after = self.factory.message(BOB, "after", after=unknown)
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        self.peer.lies["state_ids"] = lambda true: old
        await self.assert_out(after)
        self.assertEqual(self.peer.asked["state_ids"], 1)

    async def test_a_server_that_was_not_there_is_not_listened_to(self) -> None:
        message = await self.put_out()
        outcomes = await self.receiver.receive_all("stranger.example", [message.pdu()])  # type: ignore[arg-type]
        self.assertIsNotNone(outcomes[message.event_id])
        self.assertEqual(sum(self.peer.asked.values()), 0)

    async def test_each_server_is_listened_to_now_and_then(self) -> None:
        await self.put_out_for_good()
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        self.peer.lies["state_ids"] = lambda true: {"pdu_ids": [], "auth_chain_ids": []}
        for number in range(5):
            self.factory.message(BOB, f"unheard {number}")
            await self.assert_out(self.factory.message(BOB, str(number)))
        self.assertEqual(self.peer.asked["get_missing_events"], 3)  # by way of three servers, once
        self.factory.message(CAROL, "unheard")
        await self.assert_out(self.factory.message(CAROL))
        self.assertEqual(self.peer.asked["get_missing_events"], 6)

    async def test_a_forged_join_of_ours_puts_nobody_back(self) -> None:
        await self.put_out_for_good()
        forged: Any = self.factory.build_member(US, US, "join").pdu()
        forged["signatures"] = {"parta.test": {"ed25519:a_1": "A" * 86}}
        outcomes = await self.receiver.receive_all(BOB.partition(":")[2], [forged])  # type: ignore[arg-type]
        self.assertTrue(all(outcome is not None for outcome in outcomes.values()))
        self.assertNotIn(US, (await self.room()).joined_members)
