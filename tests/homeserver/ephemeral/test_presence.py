"""Who is there, as those see it who share a room with them."""

from typing import Any

from homeserver.ephemeral.presence import LINGERS_MS, SWEEP_S
from homeserver.policy import SeePresence, SetPresence
from homeserver.streams import streams as streams_module
from tests.kit.databases import on_both_databases
from tests.kit.syncs import SyncCase, Syncer


def told(answer: Any) -> dict[str, str]:
    """The presence of each person that an answer tells of."""
    events = answer.get("presence", {}).get("events", [])
    return {event["sender"]: event["content"]["presence"] for event in events}


def path(person: Syncer) -> str:
    return f"/presence/{person.user_id}/status"


@on_both_databases
class PresenceOfPeople(SyncCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat")
        await self.bob.join(self.room)
        await self.bob.sync(set_presence="offline")

    async def test_who_syncs_is_there_and_who_does_not_soon_is_not(self) -> None:
        await self.alice.sync()
        assert told(await self.bob.sync(set_presence="offline")) == {self.alice.user_id: "online"}
        assert told(await self.bob.sync(set_presence="offline")) == {}
        self.clock.pump([SWEEP_S] * (LINGERS_MS // 1000 // SWEEP_S + 1))
        assert told(await self.bob.sync(set_presence="offline")) == {self.alice.user_id: "offline"}

    async def test_a_first_sync_tells_who_is_there(self) -> None:
        await self.alice.sync()
        assert told(await self.person("bob", "FRESH").sync(set_presence="offline")) == {self.alice.user_id: "online"}

    async def test_after_an_absence_of_the_server_presence_is_told_anew(self) -> None:
        self.restart()
        await self.alice.sync()
        assert told(await self.bob.sync(set_presence="offline")) == {self.alice.user_id: "online"}

    async def test_who_syncs_as_idle_or_away_counts_as_that(self) -> None:
        await self.alice.sync(set_presence="unavailable")
        assert told(await self.bob.sync(set_presence="offline")) == {self.alice.user_id: "unavailable"}
        await self.carol.join(self.room)
        await self.carol.sync(set_presence="offline")
        assert self.carol.user_id not in told(await self.bob.sync(set_presence="offline"))

    async def test_one_may_say_what_one_is_doing(self) -> None:
        await self.alice.sync()
        await self.bob.sync(set_presence="offline")
        await self.alice.ok("PUT", path(self.alice), {"presence": "unavailable", "status_msg": "in class"})
        self.clock.advance(3)
        shown = await self.bob.ok("GET", path(self.alice))
        assert shown == {"presence": "unavailable", "status_msg": "in class", "last_active_ago": 3000}
        (event,) = (await self.bob.sync(set_presence="offline"))["presence"]["events"]
        assert event["content"]["status_msg"] == "in class"
        await self.alice.ok("PUT", path(self.alice), {"presence": "offline"})
        assert await self.bob.ok("GET", path(self.alice)) == {"presence": "offline"}

    async def test_who_says_so_and_does_not_sync_is_soon_gone(self) -> None:
        await self.alice.ok("PUT", path(self.alice), {"presence": "online"})
        assert (await self.bob.ok("GET", path(self.alice)))["presence"] == "online"
        self.clock.pump([SWEEP_S] * (LINGERS_MS // 1000 // SWEEP_S + 1))
        assert await self.bob.ok("GET", path(self.alice)) == {"presence": "offline"}

    async def test_a_change_ends_a_wait_after_a_moment(self) -> None:
        await self.alice.sync()
        await self.bob.sync(set_presence="offline")
        waiting = self.bob.wait(set_presence="offline")
        await self.settle()
        await self.alice.ok("PUT", path(self.alice), {"presence": "unavailable"})
        await self.settle()
        assert not waiting.called
        self.clock.advance(streams_module.GATHER_S)
        assert told(await waiting) == {self.alice.user_id: "unavailable"}

    async def test_strangers_and_nobody_are_answered_alike(self) -> None:
        await self.alice.sync()
        stranger = await self.carol.call("GET", path(self.alice))
        nobody = await self.bob.call("GET", "/presence/@nobody:parta.test/status")
        assert (stranger.status, stranger.errcode) == (404, "M_NOT_FOUND")
        assert (stranger.status, stranger.body) == (nobody.status, nobody.body)
        assert (await self.alice.ok("GET", path(self.alice)))["presence"] == "online"

    async def test_the_policy_hides_and_silences(self) -> None:
        await self.alice.sync()
        self.policy.refuse(SeePresence, SetPresence)
        assert told(await self.bob.sync(set_presence="offline")) == {}
        assert await self.bob.refused("GET", path(self.alice)) == (404, "M_NOT_FOUND")
        assert await self.alice.refused("PUT", path(self.alice), {"presence": "online"}) == (403, "M_FORBIDDEN")

    async def test_one_speaks_for_oneself_and_to_the_point(self) -> None:
        assert await self.bob.refused("PUT", path(self.alice), {"presence": "online"}) == (403, "M_FORBIDDEN")
        for body in ({}, {"presence": "asleep"}, {"presence": "online", "status_msg": 1}):
            assert await self.bob.refused("PUT", path(self.bob), body) == (400, "M_BAD_JSON")
        long = {"presence": "online", "status_msg": "x" * 1001}
        assert await self.bob.refused("PUT", path(self.bob), long) == (400, "M_INVALID_PARAM")

    async def test_presence_is_left_out_where_it_is_not_wanted(self) -> None:
        await self.alice.sync()
        for wanted in ({"types": []}, {"not_senders": [self.alice.user_id]}):
            answer = await self.person("bob", "FRESH").sync(filter={"presence": wanted}, set_presence="offline")
            assert told(answer) == {}


@on_both_databases
class NoPresence(SyncCase):
    presence = False

    async def test_switched_off_nobody_is_ever_there(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        await self.alice.sync()
        await self.alice.ok("PUT", path(self.alice), {"presence": "online"})
        assert told(await self.bob.sync()) == {}
        assert await self.bob.refused("GET", path(self.alice)) == (404, "M_NOT_FOUND")
