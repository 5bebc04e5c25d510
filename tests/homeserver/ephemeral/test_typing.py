"""Who is typing, and who may say so."""

from typing import Any

from homeserver.policy import Ephemeral
from homeserver.streams import streams
from tests.kit.databases import on_both_databases
from tests.kit.syncs import SyncCase, Syncer, ephemeral


@on_both_databases
class TypingNotices(SyncCase):
    presence = False

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat")
        await self.bob.join(self.room)
        await self.bob.sync()

    async def hear(self, who: Syncer | None = None, **query: Any) -> list[list[str]]:
        """Who is said to be typing, in each event of the next sync."""
        answer = await (who or self.bob).sync(**query)
        return [content["user_ids"] for content in ephemeral(answer, self.room, "m.typing")]

    async def test_who_types_is_told_and_who_stops(self) -> None:
        await self.alice.type(self.room)
        assert await self.hear() == [[self.alice.user_id]]
        assert await self.hear() == []
        await self.alice.type(self.room, False)
        assert await self.hear() == [[]]

    async def test_typing_ends_by_itself(self) -> None:
        await self.alice.type(self.room, timeout=4000)
        await self.hear()
        self.clock.advance(3)
        assert await self.hear() == []
        self.clock.advance(1)
        assert await self.hear() == [[]]

    async def test_whoever_says_it_again_types_longer_and_that_is_no_news(self) -> None:
        await self.alice.type(self.room, timeout=4000)
        await self.hear()
        self.clock.advance(3)
        await self.alice.type(self.room, timeout=4000)
        self.clock.advance(3)
        assert await self.hear() == []
        self.clock.advance(1)
        assert await self.hear() == [[]]

    async def test_nobody_types_for_ever(self) -> None:
        await self.alice.type(self.room, timeout=10**9)
        await self.hear()
        self.clock.advance(120)
        assert await self.hear() == [[]]

    async def test_a_first_sync_tells_who_is_typing(self) -> None:
        await self.alice.type(self.room)
        assert await self.hear(self.person("bob", "FRESH")) == [[self.alice.user_id]]
        await self.alice.type(self.room, False)
        assert await self.hear(self.person("bob", "FRESHER")) == []

    async def test_who_comes_back_after_a_while_learns_who_stopped_meanwhile(self) -> None:
        await self.alice.type(self.room)
        assert await self.hear() == [[self.alice.user_id]]
        self.clock.advance(streams.IDLE_S + 1)
        self.clock.advance(streams.SWEEP_S)
        assert self.streams.find_room(self.room) is None
        assert await self.hear() == [[]]
        assert await self.hear() == []

    async def test_typing_is_left_out_where_it_is_not_wanted(self) -> None:
        await self.alice.type(self.room)
        assert await self.hear(filter={"room": {"ephemeral": {"not_types": ["m.typing"]}}}) == []

    async def test_only_members_type_and_only_for_themselves(self) -> None:
        path = f"/rooms/{self.room}/typing/"
        for who, whose in ((self.carol, self.carol), (self.bob, self.alice)):
            assert await who.refused("PUT", path + whose.user_id, {"typing": True}) == (403, "M_FORBIDDEN")
        nowhere = f"/rooms/!nowhere:parta.test/typing/{self.bob.user_id}"
        one = await self.bob.call("PUT", nowhere, {"typing": True})
        other = await self.carol.call("PUT", path + self.carol.user_id, {"typing": False})
        assert (one.status, one.body) == (other.status, other.body)
        await self.bob.leave(self.room)
        assert await self.bob.refused("PUT", path + self.bob.user_id, {"typing": True}) == (403, "M_FORBIDDEN")

    async def test_the_policy_is_asked(self) -> None:
        self.policy.refuse(Ephemeral)
        path = f"/rooms/{self.room}/typing/{self.alice.user_id}"
        assert await self.alice.refused("PUT", path, {"typing": True}) == (403, "M_FORBIDDEN")
        assert await self.hear() == []

    async def test_bad_bodies_are_refused(self) -> None:
        path = f"/rooms/{self.room}/typing/{self.alice.user_id}"
        for body in ({}, {"typing": "yes"}, {"typing": True, "timeout": "long"}):
            assert await self.alice.refused("PUT", path, body) == (400, "M_BAD_JSON")

    async def test_at_the_end_nobody_types(self) -> None:
        await self.alice.type(self.room)
        await self.hear()
        self.typing.close()
        assert await self.hear() == [[]]
