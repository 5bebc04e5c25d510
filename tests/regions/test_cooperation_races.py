"""What ends while something of it is under way: a join, a claim's answer, a renewal; and who must not wait for whom."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from federation.ids import UserID
from federation.transport.agent import Incoming, Outgoing
from homeserver.schools.demo import PASSWORD
from tests.kit.crafting import craft, craft_member, send_events
from tests.kit.databases import reactor_in_use
from tests.kit.people import Person
from tests.kit.region import Region
from tests.regions.test_cooperation import CLAIMS, CooperationCase

HOUR_MS = 60 * 60 * 1000
TURNS = 200
"""How many turns of the reactor something gets that is not to happen."""
Go = Callable[[Outgoing], Awaitable[Incoming]]
Meddle = Callable[[Outgoing, Go], Awaitable[Incoming]]


class Racing(CooperationCase):
    """A room of the north's, into which a teacher of the south wants, or has come."""

    async def setUp(self) -> None:
        await super().setUp()
        self.cooperation_id = await self.agree()
        self.room_id = await self.open_room(self.cooperation_id)
        self.guest = await self.south.log_in("teacher1", PASSWORD)
        self.teacher = self.guest.user_id

    def meddle(self, region: Region, part: str, meddle: Meddle) -> None:
        """Put something between a region and the first of its requests whose URL has that part."""
        outward: Any = region.running.core.outward
        go: Go = outward.ask

        async def ask(request: Outgoing) -> Incoming:
            if part not in request.url or outward.ask is not ask:
                return await go(request)
            outward.ask = go
            return await meddle(request, go)

        outward.ask = ask

    async def dismiss(self) -> None:
        """The guest is dismissed at home, and the host's region has heard of it, if it listens."""
        told: Deferred[None] = Deferred()

        async def revoke(request: Outgoing, go: Go) -> Incoming:
            told.callback(None)
            return await go(request)

        self.meddle(self.south, f"{CLAIMS}/revoke", revoke)
        await self.theirs.dismiss(self.teacher)
        await told
        for _ in range(TURNS):
            await deferLater(reactor_in_use(), 0)

    async def suspend(self) -> None:
        members: dict[str, Any] = {region.name: {"status": "member"} for region in self.regions}
        members[self.south.name]["status"] = "suspended"
        self.publish(self.build_list(regions=members))
        await self.north.running.region.regions.refresh()

    async def check_out(self) -> None:
        """The guest is in nothing of the host's, and may do nothing there; nor at home."""
        for side in (self.ours, self.theirs):
            await side.round()
        room = await self.ours.room(self.room_id)
        assert room.membership(UserID(self.teacher)) in (None, "leave")
        assert await self.may(self.ours, self.teacher, self.room_id) == [False] * 3
        there = await self.south.running.rooms.doors.rooms.load(self.room_id)
        assert there is None or self.teacher not in there.joined_members

    async def test_who_is_dismissed_between_asking_and_joining_stays_outside(self) -> None:
        async def late(request: Outgoing, go: Go) -> Incoming:
            await self.dismiss()
            return await go(request)

        self.meddle(self.south, "/send_join/", late)
        assert await self.join(self.guest, self.room_id) in (401, 403, 404)
        await self.check_out()

    async def test_who_is_dismissed_while_the_host_answers_their_join_does_not_stay(self) -> None:
        async def late(request: Outgoing, go: Go) -> Incoming:
            answer = await go(request)
            await self.dismiss()
            await self.until_out(self.ours, self.teacher, self.room_id)
            return answer

        self.meddle(self.south, "/send_join/", late)
        await self.join(self.guest, self.room_id)
        await self.check_out()

    async def test_what_a_region_said_before_it_dismissed_somebody_does_not_come_to_stay(self) -> None:
        async def late(request: Outgoing, go: Go) -> Incoming:
            answer = await go(request)
            await self.dismiss()
            return answer

        self.meddle(self.north, CLAIMS, late)
        await self.join(self.guest, self.room_id)
        await self.check_out()

    async def test_nor_what_it_said_when_it_was_asked_to_say_it_again(self) -> None:
        assert await self.join(self.guest, self.room_id) == 200

        async def late(request: Outgoing, go: Go) -> Incoming:
            answer = await go(request)
            await self.dismiss()
            return answer

        self.meddle(self.north, CLAIMS, late)
        self.north.late_ms = self.south.late_ms = 3 * HOUR_MS // 2
        await self.ours.round()
        await self.check_out()

    async def test_a_region_that_is_suspended_between_asking_and_joining_stays_outside(self) -> None:
        async def late(request: Outgoing, go: Go) -> Incoming:
            await self.suspend()
            return await go(request)

        self.meddle(self.south, "/send_join/", late)
        assert await self.join(self.guest, self.room_id) in (403, 404)
        assert self.teacher not in await self.ours.members(self.room_id)

    async def test_a_region_that_is_suspended_while_it_is_asked_for_a_claim_has_nobody_let_in(self) -> None:
        async def late(request: Outgoing, go: Go) -> Incoming:
            answer = await go(request)
            await self.suspend()
            return answer

        self.meddle(self.north, CLAIMS, late)
        assert await self.join(self.guest, self.room_id) in (403, 404)
        assert self.teacher not in await self.ours.members(self.room_id)
        assert await self.may(self.ours, self.teacher, self.room_id) == [False] * 3

    async def test_no_room_waits_for_a_region_that_is_silent_about_somebody(self) -> None:
        assert await self.join(self.guest, self.room_id) == 200
        silence: Deferred[None] = Deferred()

        async def silent(request: Outgoing, go: Go) -> Incoming:
            await silence
            return await go(request)

        self.meddle(self.north, CLAIMS, silent)
        room = await self.ours.room(self.room_id)
        stranger = craft_member(self.south, room, f"@newcomer:{self.south.name}", "join")
        asking = Deferred.fromCoroutine(send_events(self.south, self.north, stranger))
        message = craft(self.south, room, sender=self.teacher, type="m.room.message", content={"body": "x"})
        saying = Deferred.fromCoroutine(send_events(self.south, self.north, message))
        await self.until(lambda room: room.find_recent(message.event_id) is not None, self.ours, self.room_id)
        assert not asking.called
        silence.callback(None)
        for waiting in (asking, saying):
            assert (await waiting).status == 200

    async def test_what_is_said_while_a_region_is_suspended_never_reaches_it(self) -> None:
        host = await self.north.log_in("teacher1", PASSWORD)
        for person in (host, self.guest):
            assert await self.join(person, self.room_id) == 200
        await self.suspend()
        await self.until_out(self.ours, self.teacher, self.room_id)
        await host.send(self.room_id, "без них")
        self.publish(self.build_list())
        await self.refresh()
        self.heal()
        await self.come_in_again(host)
        said = await self.south.running.core.database.read(_load_said)
        assert any("снова".encode() in raw for raw in said)
        assert not any("без них".encode() in raw for raw in said)

    async def come_in_again(self, host: Person) -> None:
        self.north.running.sending.hurry(self.south.name)
        await self.until_out(self.theirs, self.teacher, self.room_id)
        assert await self.join(self.guest, self.room_id) == 200
        again = await host.send(self.room_id, "снова")
        await self.until(lambda room: room.find_recent(again) is not None, self.theirs, self.room_id)
        page = await self.guest.ok("GET", f"/rooms/{quote(self.room_id)}/messages", dir="b", limit=100)
        assert any(event["content"].get("body") == "снова" for event in page["chunk"])


def _load_said(txn: Any) -> list[bytes]:
    return [bytes(raw) for (raw,) in txn.all("SELECT json FROM events WHERE type = 'm.room.message'", ())]
