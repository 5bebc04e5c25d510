"""Servers that are out of a room without anybody telling them are told; who never was in it is told nothing."""

from typing import Any

from federation.errors import PeerUnreachable, Refused
from federation.event import Event, parse_event
from federation.ids import ServerName, UserID
from homeserver.policy import NotFound
from homeserver.rooms.giving import Giving
from tests.kit.databases import on_both_databases
from tests.kit.receiving import US, ReceivingCase
from tests.kit.rooms import ALICE, BOB, CAROL

ONE = ServerName("one.example")
TWO = ServerName("two.example")
THREE = ServerName("three.example")
STRANGER = ServerName("stranger.example")
EVE = UserID("@eve:stranger.example")


class Case(ReceivingCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.adopt()

    async def send(self, origin: ServerName, *events: Event) -> None:
        """Let a server send events, and let all be done that is to be done beside."""
        await self.receiver.receive_all(origin, [event.pdu() for event in events])
        await self.rest()

    def learned(self) -> list[tuple[ServerName, list[str]]]:
        """Who was told of which events since this was last asked."""
        version = self.factory.version
        told = [(server, [parse_event(pdu, version).event_id for pdu in pdus]) for server, pdus in self.peer.told]
        self.peer.told.clear()
        return told

    async def servers(self) -> set[str]:
        return set((await self.room()).shown.servers)


class Crossing(Case):
    """Alice kicks Bob and closes the room; Bob, who has not heard of that, changes his name. We hear of all but that
    the room is closed.
    """

    async def setUp(self) -> None:
        await super().setUp()
        before = self.factory.head
        assert before is not None
        self.renamed = self.factory.join(BOB, after=before)
        kick = self.factory.kick(ALICE, BOB, after=before)
        self.closed = self.factory.set_join_rule("invite", after=kick)
        await self.send(TWO, self.renamed)
        await self.send(ONE, kick)
        self.assertIn(TWO, await self.servers())
        self.assertEqual(self.learned(), [])


@on_both_databases
class Theirs(Crossing):
    async def test_who_is_out_by_what_meets_here_is_told(self) -> None:
        await self.send(ONE, self.closed)
        self.assertNotIn(TWO, await self.servers())
        self.assertEqual(self.learned(), [(TWO, [self.closed.event_id])])

    async def test_what_people_wrote_is_not_told(self) -> None:
        message = self.factory.message(CAROL, "not for two", after=self.closed)
        self.peer.lies["get_missing_events"] = lambda true: {"events": []}
        await self.send(THREE, message)
        self.assertNotIn(TWO, await self.servers())
        ((server, (pdu,)),) = self.peer.told
        self.assertEqual((server, pdu["content"]), (TWO, {}))
        self.assertEqual(self.learned(), [(TWO, [message.event_id])])

    async def test_who_sends_as_if_nothing_had_happened_is_told_again_but_seldom(self) -> None:
        await self.send(ONE, self.closed)
        self.learned()
        self.restart()
        for number in range(3):
            await self.send(TWO, self.factory.message(BOB, str(number), after=self.renamed))
        self.assertEqual(self.learned(), [(TWO, [self.closed.event_id])])

    async def test_who_could_not_be_told_is_told_next_time(self) -> None:
        def fail(_: dict[str, Any]) -> dict[str, Any]:
            raise PeerUnreachable("away")

        self.peer.lies["send"] = fail
        await self.send(ONE, self.closed)
        self.learned()
        del self.peer.lies["send"]
        await self.send(TWO, self.factory.message(BOB, "hello?", after=self.renamed))
        self.assertEqual(self.learned(), [(TWO, [self.closed.event_id])])

    async def test_they_may_ask_for_what_came_until_then_and_for_nothing_later(self) -> None:
        later = self.factory.message(CAROL, "later", after=self.closed)
        await self.send(ONE, self.closed)
        await self.send(THREE, later)
        giving = Giving(self.rooms, self.db)
        self.assertTrue(await giving.event(TWO, self.closed.event_id))
        self.assertTrue((await giving.state(TWO, self.closed.room_id, self.closed.event_id)).state)
        with self.assertRaises(NotFound):
            await giving.event(TWO, later.event_id)
        with self.assertRaises(Refused):
            await giving.state(TWO, later.room_id, later.event_id)
        with self.assertRaises(NotFound):
            await giving.event(STRANGER, self.closed.event_id)

    async def test_who_is_put_out_by_somebody_hears_of_that_from_them(self) -> None:
        await self.send(ONE, self.factory.kick(ALICE, CAROL, after=self.closed))
        self.assertNotIn(THREE, await self.servers())
        self.assertNotIn(THREE, [server for server, _ in self.learned()])


@on_both_databases
class Ours(Case):
    async def go(self) -> list[str]:
        """Ours says something and leaves; both events."""
        self.now_ms += 60_000
        said = await self.say("bye")
        left = await self.put("m.room.member", {"membership": "leave"}, US)
        return [said.event_id, left.event_id]

    async def test_who_sends_into_a_room_that_ours_left_is_told_that(self) -> None:
        join = self.factory.state()["m.room.member", US]
        said, left = await self.go()
        await self.send(TWO, self.factory.message(BOB, "still there?", after=join))
        ((server, pdus),) = self.peer.told
        self.assertEqual(pdus[-2]["content"]["body"], "bye")
        self.assertEqual(self.learned(), [(TWO, [join.event_id, said, left])])
        await self.send(TWO, self.factory.message(BOB, "hello?"))
        self.assertEqual(self.learned(), [])

    async def test_who_was_put_out_before_is_not_told_what_ours_wrote(self) -> None:
        join = self.factory.state()["m.room.member", US]
        await self.send(ONE, self.factory.kick(ALICE, BOB))
        said, left = await self.go()
        await self.send(TWO, self.factory.message(BOB, "still there?", after=join))
        self.assertNotIn("bye", str(self.peer.told))
        self.assertEqual(self.learned(), [(TWO, [join.event_id, said, left])])

    async def test_a_farewell_is_not_answered(self) -> None:
        await self.go()
        await self.send(TWO, self.factory.leave(BOB))
        self.assertEqual(self.learned(), [])

    async def test_a_stranger_learns_nothing_of_who_was_there(self) -> None:
        await self.go()
        self.factory.join(EVE)
        await self.send(STRANGER, self.factory.message(EVE, "who is there?"))
        self.assertEqual(self.learned(), [])


@on_both_databases
class Strangers(Case):
    async def test_a_server_that_never_was_in_the_room_is_told_nothing(self) -> None:
        forged = self.factory.build("m.room.message", {"body": "in?"}, sender=EVE)
        await self.send(STRANGER, forged)
        self.assertNotIn(STRANGER, await self.servers())
        self.assertEqual(self.learned(), [])
