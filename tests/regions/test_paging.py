"""Paging through a room whose history has forked: what comes late of a branch hides nothing of the other."""

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
