"""Receipts and read markers: for whose eyes they are, and what they may point to."""

from typing import Any
from urllib.parse import quote

from homeserver.policy import Ephemeral
from tests.kit.databases import on_both_databases
from tests.kit.syncs import SyncCase, Syncer, ephemeral, joined


@on_both_databases
class ReadReceipts(SyncCase):
    presence = False

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat")
        await self.bob.join(self.room)
        self.events = [await self.alice.say(self.room) for _ in range(3)]
        for person in (self.alice, self.bob):
            await person.sync()

    def path(self, event_id: str, kind: str = "m.read") -> str:
        return f"/rooms/{quote(self.room)}/receipt/{kind}/{quote(event_id, safe='')}"

    async def hear(self, who: Syncer) -> dict[tuple[str, str, str, str | None], int]:
        """The receipts of the next sync: event, kind, person and thread, to when they were given."""
        answer = await who.sync()
        return {
            (event_id, kind, user_id, receipt.get("thread_id")): receipt["ts"]
            for content in ephemeral(answer, self.room, "m.receipt")
            for event_id, kinds in content.items()
            for kind, people in kinds.items()
            for user_id, receipt in people.items()
        }

    async def test_a_receipt_is_told_to_everybody(self) -> None:
        self.clock.advance(1)
        await self.bob.read(self.room, self.events[0])
        expected = {(self.events[0], "m.read", self.bob.user_id, None): self.now_ms()}
        assert await self.hear(self.alice) == expected
        assert await self.hear(self.bob) == expected
        assert await self.hear(self.person("alice", "FRESH")) == expected
        assert await self.hear(self.alice) == {}

    async def test_a_private_receipt_is_told_to_nobody_else(self) -> None:
        await self.bob.read(self.room, self.events[0], "m.read.private")
        assert await self.hear(self.alice) == {}
        assert await self.hear(self.person("alice", "FRESH")) == {}
        assert [key[1] for key in await self.hear(self.bob)] == ["m.read.private"]
        self.restart()
        assert await self.hear(self.person("alice", "FRESHER")) == {}
        assert [key[1] for key in await self.hear(self.person("bob", "FRESH"))] == ["m.read.private"]

    async def test_receipts_survive_a_restart(self) -> None:
        since = self.alice.since
        await self.bob.read(self.room, self.events[1])
        await self.bob.read(self.room, self.events[2], "m.read.private")
        self.restart()
        self.alice.since = since
        assert [key[0] for key in await self.hear(self.alice)] == [self.events[1]]

    async def test_receipts_of_threads_stand_beside_the_others(self) -> None:
        await self.bob.read(self.room, self.events[0])
        await self.bob.read(self.room, self.events[0], thread_id="main")
        keys = set(await self.hear(self.alice))
        assert {key[3] for key in keys} == {None, "main"}
        await self.bob.read(self.room, self.events[1], thread_id="main")
        assert [key[0] for key in await self.hear(self.alice)] == [self.events[1]]

    async def test_a_receipt_does_not_go_back(self) -> None:
        await self.bob.read(self.room, self.events[2])
        await self.hear(self.alice)
        await self.bob.read(self.room, self.events[0])
        await self.bob.read(self.room, self.events[2])
        assert await self.hear(self.alice) == {}

    async def test_a_receipt_is_for_an_event_of_that_thread(self) -> None:
        content = {"body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": self.events[0]}}
        reply = await self.alice.send(self.room, "m.room.message", content)
        await self.bob.read(self.room, reply, thread_id=self.events[0])
        await self.bob.read(self.room, self.events[0], thread_id=self.events[0])
        for event_id, thread in ((reply, "main"), (self.events[1], self.events[0])):
            answer = await self.bob.refused("POST", self.path(event_id), {"thread_id": thread})
            assert answer == (400, "M_INVALID_PARAM")

    async def test_a_thread_has_a_name(self) -> None:
        for thread in ("", 1, None, {}, "x" * 300):
            answer = await self.bob.refused("POST", self.path(self.events[0]), {"thread_id": thread})
            assert answer == (400, "M_INVALID_PARAM")
        fully = self.path(self.events[0], "m.fully_read")
        assert await self.bob.refused("POST", fully, {"thread_id": "main"}) == (400, "M_INVALID_PARAM")

    async def test_a_receipt_needs_an_event_of_the_room(self) -> None:
        other = await self.alice.create()
        elsewhere = await self.alice.say(other)
        for event_id in ("$nothing", elsewhere, "x"):
            assert await self.bob.refused("POST", self.path(event_id), {}) == (400, "M_INVALID_PARAM")
        assert await self.bob.refused("POST", self.path(self.events[0], "m.seen"), {}) == (400, "M_INVALID_PARAM")

    async def test_only_members_give_receipts(self) -> None:
        assert await self.carol.refused("POST", self.path(self.events[0]), {}) == (403, "M_FORBIDDEN")
        await self.bob.leave(self.room)
        assert await self.bob.refused("POST", self.path(self.events[0]), {}) == (403, "M_FORBIDDEN")
        nowhere = f"/rooms/!nowhere:parta.test/receipt/m.read/{quote(self.events[0], safe='')}"
        one, other = await self.bob.call("POST", nowhere, {}), await self.carol.call("POST", self.path("$x"), {})
        assert (one.status, one.body) == (other.status, other.body)

    async def test_the_policy_is_asked(self) -> None:
        self.policy.refuse(Ephemeral)
        assert await self.bob.refused("POST", self.path(self.events[0]), {}) == (403, "M_FORBIDDEN")
        assert await self.hear(self.alice) == {}

    async def test_markers_move_all_at_once(self) -> None:
        body = {"m.fully_read": self.events[0], "m.read": self.events[1], "m.read.private": self.events[2]}
        await self.bob.ok("POST", f"/rooms/{quote(self.room)}/read_markers", body)
        answer = await self.bob.sync()
        assert joined(answer, self.room)["account_data"]["events"] == [
            {"type": "m.fully_read", "content": {"event_id": self.events[0]}}
        ]
        (content,) = ephemeral(answer, self.room, "m.receipt")
        assert content.keys() == {self.events[1], self.events[2]}
        assert [key[0] for key in await self.hear(self.alice)] == [self.events[1]]

    async def test_of_bad_markers_none_moves(self) -> None:
        path = f"/rooms/{quote(self.room)}/read_markers"
        body = {"m.fully_read": self.events[0], "m.read": "$nothing"}
        assert await self.bob.refused("POST", path, body) == (400, "M_INVALID_PARAM")
        assert await self.bob.refused("POST", path, {"m.read": 1}) == (400, "M_BAD_JSON")
        await self.bob.ok("POST", path, {})
        assert "rooms" not in await self.bob.sync()

    async def test_the_fully_read_marker_is_set_by_the_receipt_door_too(self) -> None:
        await self.bob.read(self.room, self.events[0], "m.fully_read")
        answer: Any = joined(await self.bob.sync(), self.room)
        assert answer["account_data"]["events"][0]["content"] == {"event_id": self.events[0]}
        assert "ephemeral" not in answer
        path = f"/user/{self.bob.user_id}/rooms/{quote(self.room)}/account_data/m.fully_read"
        assert (await self.bob.refused("PUT", path, {"event_id": "$x"}))[0] == 405
