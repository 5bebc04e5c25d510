"""What others tell of a room waits for those of ours who are on the way into it."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from federation.event import Event
from homeserver.rooms.receive.intake import Outcomes
from homeserver.rooms.remote.entries import WAIT_S, Entries
from tests.kit.databases import on_both_databases, reactor_in_use
from tests.kit.receiving import US, ReceivingCase
from tests.kit.rooms import BOB


@on_both_databases
class OnTheWay(ReceivingCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.clock = Clock()
        self.entries = Entries(self.clock)
        self.receiver.wait_for_entry = self.entries.wait_for
        self.state = list(self.factory.state().values())
        self.join = self.factory.join(US)
        self.message = self.factory.message(BOB)

    def tell(self, event: Event) -> Deferred[Outcomes]:
        return Deferred.fromCoroutine(self.receiver.receive_all(event.origin, [event.pdu()]))

    async def wait(self) -> None:
        """Wait until somebody is waited for."""
        for _ in range(4_000):
            if self.clock.getDelayedCalls():
                return
            await deferLater(reactor_in_use(), 0.005)  # another thread reads: nothing here could tell us
        raise AssertionError("nobody is waited for")

    async def come_in(self) -> None:
        chain = self.peer.chain([*self.state, self.join])
        await self.adoption.adopt(self.factory.version, self.state, chain, self.join)

    async def test_what_is_told_meanwhile_is_taken_once_they_are_in(self) -> None:
        async with self.entries.of(self.join.room_id):
            told = self.tell(self.message)
            await self.wait()
            await self.come_in()
        assert await told == {self.message.event_id: None}
        assert (await self.shown())[-1] == self.message.event_id
        assert not self.clock.getDelayedCalls()

    async def test_nobody_is_waited_for_for_long(self) -> None:
        async with self.entries.of(self.join.room_id):
            told = self.tell(self.message)
            await self.wait()
            self.clock.advance(WAIT_S)
            assert await told == {}
            await self.come_in()
        assert self.entries.taken == 0

    async def test_a_room_that_is_here_waits_for_nobody(self) -> None:
        await self.come_in()
        async with self.entries.of(self.join.room_id):
            assert await self.tell(self.message) == {self.message.event_id: None}

    async def test_a_room_that_nobody_wants_into_is_not_waited_for(self) -> None:
        assert await self.tell(self.message) == {}
        assert self.entries.taken == 0
