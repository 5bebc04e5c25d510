"""What a first sync tells, and what later ones do."""

from tests.kit.databases import on_both_databases
from tests.kit.houses import ids
from tests.kit.syncs import SyncCase, bodies, joined, timeline


@on_both_databases
class FirstAndLater(SyncCase):
    async def test_a_first_sync_shows_rooms_with_state_and_messages(self) -> None:
        room = await self.alice.create(preset="public_chat", name="Class")
        await self.bob.join(room)
        await self.alice.say(room, "hi")
        answer = await self.bob.sync()
        assert bodies(answer, room) == ["hi"]
        kinds = {event["type"] for event in joined(answer, room).get("state", {}).get("events", [])}
        kinds |= {event["type"] for event in timeline(answer, room)}
        assert {"m.room.create", "m.room.member", "m.room.power_levels", "m.room.name"} <= kinds

    async def test_a_later_sync_shows_what_is_new_and_no_more(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        await self.bob.sync()
        event_id = await self.alice.say(room, "hi")
        answer = await self.bob.sync()
        assert ids(timeline(answer, room)) == [event_id]
        assert "state" not in joined(answer, room)
        assert joined(answer, room)["timeline"]["limited"] is False
        again = await self.bob.sync()
        assert "rooms" not in again

    async def test_a_waiting_sync_is_answered_by_the_next_message(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        await self.bob.sync()
        waiting = self.bob.wait()
        await self.settle()
        assert not waiting.called
        await self.alice.say(room, "hi")
        assert bodies(await waiting, room) == ["hi"]
