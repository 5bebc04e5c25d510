"""Telling 200 servers at once: nobody waits for another, and what is told to all is made once."""

from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from federation.errors import PeerRefused, PeerUnreachable
from federation.ids import ServerName
from homeserver.outbox.servers import Sending, World
from homeserver.outbox.servers.destination import MOST_FLEETING
from homeserver.storage.changes import Audience, EventAdded
from tests.kit.databases import reactor_in_use
from tests.kit.server import ServerCase

OTHERS = [ServerName(f"s{number}.test") for number in range(200)]


class Wire:
    """What is asked of other servers: `bodies` by server; those in `away` are not there, `slow` ones never answer."""

    def __init__(self) -> None:
        self.bodies: dict[ServerName, list[msgspec.Raw]] = {}
        self.away: frozenset[ServerName] = frozenset()
        self.slow: frozenset[ServerName] = frozenset()
        self.shut: frozenset[ServerName] = frozenset()

    async def ask(self, destination: ServerName, method: str, path: str, *, body: Any = None, **_: Any) -> Any:
        self.bodies.setdefault(destination, []).append(body)
        if destination in self.away:
            raise PeerUnreachable("away")
        if destination in self.shut:
            raise PeerRefused(403, "M_FORBIDDEN", "no", {})
        if destination in self.slow:
            await Deferred[None]()
        return {"pdus": {}}

    def retry_ms(self, server: ServerName) -> int:
        return 0


class FannedOut(ServerCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        core = self.server.core
        self.wire, self.alice = Wire(), await self.register("alice")
        self.room = await self.alice.create_room()
        self.sending = Sending(
            World(
                server=core.world.server_name,
                database=core.database,
                rooms=self.server.rooms.doors.rooms,
                peers=self.wire,
                clock=reactor_in_use(),
                now_ms=core.world.now_ms,
                token_bytes=core.world.token_bytes,
            )
        )
        await self.sending.resume()
        self.addCleanup(self.sending.stop)

    async def say(self, *texts: str) -> None:
        """Let everybody be told of messages."""
        audience = Audience(dict.fromkeys(OTHERS, 1), None, None)
        for text in texts:
            event_id = await self.alice.send(self.room, text)
            live = self.server.rooms.doors.rooms.find(self.room)
            held = live.find_recent(event_id) if live else None
            assert held is not None
            self.sending.heed(held.stream, [EventAdded(position=held.stream, event=held, audience=audience)])

    async def breathe(self) -> None:
        for _ in range(20):
            await deferLater(reactor_in_use(), 0)

    async def test_everybody_gets_the_same_bytes_made_once(self) -> None:
        await self.say("one")
        await self.breathe()
        bodies = [body for each in self.wire.bodies.values() for body in each]
        self.assertEqual((len(self.wire.bodies), len(bodies)), (200, 200))
        self.assertTrue(all(body is bodies[0] for body in bodies))
        self.assertEqual(sorted(msgspec.json.decode(bodies[0])), ["edus", "origin", "origin_server_ts", "pdus"])

    async def test_one_that_never_answers_holds_up_nobody(self) -> None:
        self.wire.slow = frozenset(OTHERS[:1])
        await self.say("one")
        await self.breathe()
        await self.say("two")
        await self.breathe()
        self.assertEqual([len(self.wire.bodies[server]) for server in OTHERS[:2]], [1, 2])
        self.assertFalse(self.sending.is_told(OTHERS[0]))
        self.assertTrue(all(self.sending.is_told(server) for server in OTHERS[1:]))

    async def test_nothing_is_held_for_those_that_are_away(self) -> None:
        self.wire.away = frozenset(OTHERS)
        await self.say("one")
        await self.breathe()
        await self.say(*[str(number) for number in range(30)])
        for number in range(1_000):
            self.sending.tell("m.typing", {"n": number}, OTHERS, number)
        await self.breathe()
        measured = self.sending.measure()
        self.assertEqual((measured["destinations_behind"], measured["events_to_servers"]), (200, 0))
        kept = sum(len(each.fleeting) for each in self.sending._destinations.values())
        self.assertEqual(kept, 0)

    async def test_what_is_not_kept_is_bounded_and_its_latest_is_told(self) -> None:
        self.wire.slow = frozenset(OTHERS)
        await self.say("one")
        await self.breathe()
        for number in range(1_000):
            self.sending.tell("m.typing", {"n": number}, OTHERS[:1], number)
        waiting = self.sending._destinations[OTHERS[0]].fleeting
        self.assertEqual(len(waiting), MOST_FLEETING)
        self.assertIn(b"999", list(waiting.values())[-1])

    async def test_one_that_calls_is_tried_again_at_once_unless_it_is_there_and_answers_badly(self) -> None:
        self.wire.away, self.wire.shut = frozenset(OTHERS[:1]), frozenset(OTHERS[1:2])
        await self.say("one")
        await self.breathe()
        for server in OTHERS[:2]:
            self.sending.note_heard(server)
        self.assertTrue(self.sending._destinations[OTHERS[0]].is_busy)
        self.assertFalse(self.sending._destinations[OTHERS[1]].is_busy)
