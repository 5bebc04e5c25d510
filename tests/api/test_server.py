"""The whole server, put together."""

from tests.kit.server import ServerCase


class Talking(ServerCase):
    async def test_what_is_said_is_heard_also_after_a_restart(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        first = await alice.send(room, "hi", txn="1")
        await self.restart()
        assert await alice.send(room, "hi", txn="1") == first
        await bob.send(room, "ho")
        assert await alice.texts(room) == ["ho", "hi"]
