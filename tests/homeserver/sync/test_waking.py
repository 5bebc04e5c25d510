"""A commit that tells of several things wakes nobody before all of them are known."""

from twisted.internet.defer import Deferred

from tests.kit.databases import on_both_databases
from tests.kit.notes import Gate
from tests.kit.syncs import SyncCase, bodies


@on_both_databases
class Waking(SyncCase):
    async def test_what_is_committed_together_with_a_receipt_is_not_missed(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        first = await self.alice.say(room, "first")
        await self.bob.sync()
        waiting = self.bob.wait()
        gate = Gate()
        gate.hold_writer(self.db)
        read = Deferred.fromCoroutine(self.alice.read(room, first))
        said = Deferred.fromCoroutine(self.alice.say(room, "second"))
        gate.open()
        await read
        await said
        heard = await waiting
        assert "second" in bodies(heard, room) + bodies(await self.bob.sync(), room)
