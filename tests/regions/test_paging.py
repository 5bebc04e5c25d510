"""Paging through a room whose history is with another server, or has forked: what comes late of a branch hides nothing
of the other.
"""

from typing import Any
from urllib.parse import quote

from twisted.internet.task import deferLater

from tests.kit.databases import reactor_in_use
from tests.kit.neighbours import NeighboursCase


class Forked(NeighboursCase):
    async def test_paging_back_gives_both_branches_whole_from_the_end_and_from_a_sync(self) -> None:
        room_id = await self.share()
        sieve = quote('{"room":{"timeline":{"limit":1}}}')
        since = (await self.alice.ok("GET", f"/sync?filter={sieve}"))["next_batch"]
        self.cut(self.north)
        late = await self.bob.send_event(room_id, "m.room.message", {"msgtype": "m.text", "body": "late"})
        said = [
            await self.alice.send_event(room_id, "m.room.message", {"msgtype": "m.text", "body": f"line {number}"})
            for number in range(20)
        ]
        self.heal()
        answer: dict[str, Any] = {}
        for _ in range(500):  # until it has come, as the last of all
            answer = await self.alice.ok("GET", f"/sync?filter={sieve}&since={since}")
            timeline = answer["rooms"]["join"][room_id]["timeline"]
            if timeline["events"][0]["event_id"] == late:
                break
            await deferLater(reactor_in_use(), 0.02)
        else:
            raise AssertionError("it has not come")
        for start in ("", f"&from={timeline['prev_batch']}"):
            page = await self.alice.ok("GET", f"/rooms/{quote(room_id)}/messages?dir=b&limit=100{start}")
            read = [event["event_id"] for event in page["chunk"]]
            assert [event_id for event_id in read if event_id in said] == said[::-1], start
            assert start or late in read

    async def test_who_has_come_in_meanwhile_sees_the_other_branch_and_who_has_gone_does_not(self) -> None:
        room_id = await self.share()
        carol, dave = await self.north.register("carol"), await self.north.register("dave")
        await dave.join(room_id)
        await self.hears(room_id, dave, "join")
        await dave.leave(room_id)
        await self.hears(room_id, dave, "leave")
        self.cut(self.north)
        await self.bob.send(room_id, "crossing")
        await carol.join(room_id)
        assert "crossing" not in await carol.texts(room_id)
        self.heal()
        for _ in range(500):
            if "crossing" in await self.alice.texts(room_id):
                break
            await deferLater(reactor_in_use(), 0.02)
        assert "crossing" in await carol.texts(room_id)
        assert "crossing" not in await dave.texts(room_id)


class Entered(NeighboursCase):
    """Bob reads back from where his first sync of a room begins, which is where his server came into it."""

    async def said(self, room_id: str, *texts: str) -> None:
        for text in texts:
            await self.alice.send(room_id, text)

    async def read_back(self, room_id: str, start: str) -> list[str]:
        page = await self.bob.ok("GET", f"/rooms/{quote(room_id)}/messages", dir="b", limit=100, **{"from": start})
        return [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]

    async def enter_and_sync(self, room_id: str) -> str:
        await self.enter(self.bob, room_id)
        start: str = (await self.bob.sync())["rooms"]["join"][room_id]["timeline"]["prev_batch"]
        return start

    async def test_what_was_said_before_the_first_join_is_read_from_the_first_sync(self) -> None:
        room_id = await self.alice.create_room(preset="public_chat")
        await self.said(room_id, "one", "two", "three")
        assert await self.read_back(room_id, await self.enter_and_sync(room_id)) == ["three", "two", "one"]

    async def test_what_was_said_while_nobody_of_the_server_was_in_is_read_from_the_sync_of_the_next_join(self) -> None:
        room_id = await self.alice.create_room(preset="public_chat")
        await self.said(room_id, "one")
        await self.read_back(room_id, await self.enter_and_sync(room_id))
        await self.bob.leave(room_id)
        await self.hears(room_id, self.bob, "leave")
        await self.said(room_id, "two", "three")
        assert await self.read_back(room_id, await self.enter_and_sync(room_id)) == ["three", "two", "one"]
