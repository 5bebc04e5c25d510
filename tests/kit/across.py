"""Two regions with a room between them, and a wire that a test meddles with.

    class Told(AcrossCase):
        async def test_it_is_told(self) -> None:
            room = await self.share()                      # Alice's, in the north; Bob of the south has joined
            await self.alice.send(room, "hello")
            await self.until_told(room, ["hello"])

`meddle` puts something between a region and what it asks of others; `crash` ends a region as a kill does.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
from twisted.internet.task import deferLater

from federation.transport.agent import Incoming, Outgoing
from tests.kit.databases import reactor_in_use
from tests.kit.people import Person
from tests.kit.region import Region, RegionsCase

Go: TypeAlias = Callable[[Outgoing], Awaitable[Incoming]]
Meddler: TypeAlias = Callable[[Outgoing, Go], Awaitable[Incoming]]


def is_transaction(request: Outgoing) -> bool:
    """Whether a request brings a transaction."""
    return "/federation/v1/send/" in request.url


def txn_of(request: Outgoing) -> str:
    """The ID of the transaction that a request brings."""
    return request.url.rpartition("/")[2]


def body_of(request: Outgoing) -> Any:
    """What a request brings."""
    return msgspec.json.decode(request.body or b"{}")


class AcrossCase(RegionsCase):
    """Alice is in the north, Bob in the south."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """Let both be there."""
        await super().setUp()
        self.alice, self.bob = await self.north.register("alice"), await self.south.register("bob")

    async def share(self, *others: Person, **wanted: object) -> str:
        """A room of Alice's that Bob and others have joined."""
        room = await self.alice.create_room(preset="public_chat", **wanted)
        for person in (self.bob, *others):
            await self.join(person, room)
        return room

    async def join(self, person: Person, room: str) -> None:
        """Join a room of the north's."""
        await person.ok("POST", f"/join/{room}?server_name={self.north.name}", {})

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that comes over the network."""
        for _ in range(4_000):
            if holds():
                return
            await deferLater(reactor_in_use(), 0.005)  # another connection: nothing here could tell us
        raise AssertionError("it did not come")

    async def settle(self, *regions: Region) -> None:
        """Wait until regions, or the north, have told the others all that they can."""
        running = [region.running for region in regions or (self.north,)]
        await self.until(lambda: all(each.ephemera.is_idle and each.sending.is_idle for each in running))

    async def read(self, person: Person, room: str) -> list[str]:
        """The texts of a room as somebody reads them, the oldest first."""
        page = await person.ok("GET", f"/rooms/{room}/messages", dir="b", limit=1000)
        return [event["content"]["body"] for event in reversed(page["chunk"]) if "body" in event["content"]]

    def meddle(self, region: Region, meddler: Meddler) -> list[Outgoing]:
        """Put something between a region and the others; the transactions that it sends from now on."""
        outward: Any = region.running.core.outward
        go, sent = outward.ask, []

        async def ask(request: Outgoing) -> Incoming:
            if not is_transaction(request):
                return await go(request)  # type: ignore[no-any-return]  # it is what `Outward` gives
            sent.append(request)
            return await meddler(request, go)

        outward.ask = ask
        return sent

    def watch(self, region: Region) -> list[Outgoing]:
        """The transactions that a region sends from now on."""

        async def pass_on(request: Outgoing, go: Go) -> Incoming:
            return await go(request)

        return self.meddle(region, pass_on)

    async def crash(self, region: Region) -> None:
        """End a region's server so that it writes nothing down any more."""
        await region.running.core.database.close()
        await region.stop()

    async def begin_again(self, region: Region) -> list[Outgoing]:
        """Begin a region that has ended; the transactions that it sends from the first on."""
        self.cut(region)
        await region.begin()
        sent = self.watch(region)
        self.heal()
        return sent
