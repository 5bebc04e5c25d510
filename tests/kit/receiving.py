"""A homeserver that receives: real rooms on a real database, and around them servers made of thin air.

    @on_both_databases
    class Taking(ReceivingCase):
        async def test_a_message_arrives(self) -> None:
            await self.adopt()
            message = self.factory.message(BOB)
            await self.receive(message)
            self.assert_shown(message)

`factory` is the room as the others know it; `us` is one of ours, whose join made the room known here.
"""

import secrets
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, TypeVarTuple

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import TestCase

from federation.event import Event
from federation.ids import ServerName, UserID
from homeserver.rooms.receive.adopt import Adoption
from homeserver.rooms.receive.intake import World
from homeserver.rooms.receive.outside import Outside
from homeserver.rooms.receive.receiver import Receiver
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft, Seal
from homeserver.rooms.turns import Turns
from homeserver.storage.database import Change, Database
from homeserver.storage.events import RoomEvent
from tests.kit.databases import give_sqlite, reactor_in_use
from tests.kit.houses import Judge
from tests.kit.peer import Keys, Peer
from tests.kit.rooms import BOB, CAROL, START_MS, RoomFactory, signing_key
from tests.kit.sketches import sketch

SERVER = ServerName("parta.test")
US = UserID("@us:parta.test")


T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(work: Callable[[*Ts], T], /, *args: *Ts) -> Deferred[T]:
    """Run a function in a thread."""
    reactor = reactor_in_use()
    ran: Deferred[T] = deferToThreadPool(reactor, reactor.getThreadPool(), work, *args)
    return ran


class ReceivingCase(TestCase):
    db: Database
    version = "12"
    now_ms = START_MS

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        if not hasattr(self, "db"):
            give_sqlite(self)
        self.policy = Judge()
        self.told: list[Change] = []
        self.beside: deque[Coroutine[Any, Any, None]] = deque()
        self.addCleanup(lambda: [work.close() for work in self.beside])
        self.db.on_commit = lambda position, changes: self.told.extend(changes)
        self.begin(self.version)

    def begin(self, version: str, **more: Any) -> None:
        """Make the room as the others know it, and a homeserver that does not yet."""
        self.factory = RoomFactory(version, **more)
        self.factory.join(BOB, CAROL)
        self.peer = Peer(self.factory)
        self.restart()

    def restart(self) -> None:
        """Begin anew: nothing is left but the database."""
        self.seal = Seal(
            server=SERVER,
            key=signing_key(SERVER),
            now_ms=lambda: self.now_ms,
            token_bytes=secrets.token_bytes,
            next_id=self.db.next_id,
        )
        self.rooms = Rooms(self.db, self.seal)
        self.world = World(
            rooms=self.rooms,
            database=self.db,
            outside=Outside(self.peer, Keys(), run),
            turns=Turns(),
            policy=self.policy,
            beside=self.beside.append,
        )
        self.receiver = Receiver(self.world)
        self.adoption = Adoption(self.world)

    async def adopt(self, **more: Any) -> Room:
        """Let one of ours join, and know the room from then on."""
        state = list(self.factory.state().values())
        join = self.factory.join(US, **more)
        return await self.adoption.adopt(self.factory.version, state, self.peer.chain([*state, join]), join)

    async def room(self) -> Room:
        """The live room."""
        room = await self.rooms.load(self.factory.create.room_id)
        assert room is not None
        return room

    async def reloaded(self) -> Room:
        """The room as storage has it."""
        room = await Rooms(self.db, self.seal).load(self.factory.create.room_id)
        assert room is not None
        return room

    async def receive(self, *events: Event) -> dict[str, str]:
        """Receive events in one go; of those that were not taken, why."""
        outcomes = await self.receiver.receive_all(events[0].origin, [event.pdu() for event in events])
        return {event_id: str(outcome) for event_id, outcome in outcomes.items() if outcome is not None}

    async def rest(self) -> None:
        """Do what is to be done beside."""
        while self.beside:
            await self.beside.popleft()

    async def say(self, body: str = "ours") -> Event:
        """Let our one say something; the others know it then."""
        room = await self.room()
        held = await self.rooms.append(room, Draft(type="m.room.message", sender=US, content={"body": body}))
        return self.publish(held)

    async def put(self, kind: str, content: Any, key: str = "") -> Event:
        """Let our one set state; the others know it then."""
        room = await self.room()
        return self.publish(await self.rooms.append(room, Draft(type=kind, sender=US, content=content, state_key=key)))

    def publish(self, held: RoomEvent) -> Event:
        """Let the others know an event of ours."""
        event = held.event
        return self.factory.append(event, [self.factory.events[each] for each in event.prev_events])

    async def shown(self) -> list[str]:
        """The events that people see, in stream order."""
        return [held.event_id for held in (await self.room()).recent]

    async def assert_state(self, expected: dict[Any, Event]) -> None:
        """The current state is that one, in memory and in storage."""
        wanted = {key: event.event_id for key, event in expected.items()}
        for room in (await self.room(), await self.reloaded()):
            self.assertEqual({key: held.event_id for key, held in room.shown.state.items()}, wanted)

    async def assert_as_stored(self) -> None:
        """What memory says of the room is what the tables say."""
        self.assertEqual(sketch(await self.room()), sketch(await self.reloaded()))


def ids(events: Sequence[Event]) -> list[str]:
    """The IDs of events."""
    return [event.event_id for event in events]
