"""Rooms one is not in: invitations, knocks, and what was left."""

from typing import Any
from urllib.parse import quote

from tests.kit.databases import on_both_databases
from tests.kit.syncs import SyncCase, Syncer, bodies, timeline

ALSO_LEFT = {"room": {"include_leave": True}}


def rooms(answer: Any, section: str) -> dict[str, Any]:
    """The rooms of a section of an answer."""
    told: dict[str, Any] = answer.get("rooms", {}).get(section, {})
    return told


@on_both_databases
class Departures(SyncCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat", name="Class", topic="Secrets")

    async def fresh(self, who: Syncer, **query: Any) -> Any:
        """A first sync, on a device of its own."""
        return await self.person(who.user_id[1:].partition(":")[0], "FRESH").sync(**query)

    async def test_an_invitation_shows_what_the_room_is(self) -> None:
        await self.bob.sync()
        await self.alice.invite(self.room, self.bob)
        for answer in (await self.bob.sync(), await self.fresh(self.bob)):
            told = rooms(answer, "invite")[self.room]["invite_state"]["events"]
            kinds = {(event["type"], event["state_key"]) for event in told}
            assert ("m.room.create", "") in kinds
            assert ("m.room.name", "") in kinds
            assert ("m.room.member", self.bob.user_id) in kinds
            assert ("m.room.member", self.alice.user_id) in kinds
            assert ("m.room.power_levels", "") not in kinds
            assert all(event.keys() == {"type", "state_key", "sender", "content"} for event in told)
            assert not rooms(answer, "join")

    async def test_an_invitation_is_told_once(self) -> None:
        await self.bob.sync()
        await self.alice.invite(self.room, self.bob)
        await self.bob.sync()
        assert "rooms" not in await self.bob.sync()
        await self.alice.say(self.room)
        assert "rooms" not in await self.bob.sync()

    async def test_an_invitation_by_somebody_ignored_is_not_told(self) -> None:
        await self.bob.ignore(self.alice)
        await self.bob.sync()
        await self.alice.invite(self.room, self.bob)
        for answer in (await self.bob.sync(), await self.fresh(self.bob)):
            assert not rooms(answer, "invite")

    async def test_an_invitation_that_is_refused_or_taken_back_goes(self) -> None:
        for by_bob in (True, False):
            await self.alice.invite(self.room, self.bob)
            await self.bob.sync()
            if by_bob:
                await self.bob.leave(self.room)
            else:
                await self.alice.act("kick", self.room, self.bob)
            answer = await self.bob.sync()
            (event,) = timeline(answer, self.room)
            assert event["content"]["membership"] == "leave"
            assert rooms(answer, "leave")[self.room]["state"] == {"events": []}
            assert not rooms(await self.fresh(self.bob), "invite")

    async def test_a_knock_shows_what_the_room_is(self) -> None:
        await self.alice.put(self.room, "m.room.join_rules", {"join_rule": "knock"})
        await self.bob.sync()
        await self.bob.ok("POST", f"/knock/{quote(self.room)}", {})
        for answer in (await self.bob.sync(), await self.fresh(self.bob)):
            told = rooms(answer, "knock")[self.room]["knock_state"]["events"]
            assert {"m.room.create", "m.room.member"} <= {event["type"] for event in told}
        await self.alice.invite(self.room, self.bob)
        answer = await self.bob.sync()
        assert self.room in rooms(answer, "invite")
        assert not rooms(answer, "knock")

    async def test_who_leaves_is_told_up_to_there_and_nothing_after(self) -> None:
        await self.bob.join(self.room)
        await self.bob.sync()
        await self.alice.say(self.room, "before")
        await self.bob.leave(self.room)
        await self.alice.put(self.room, "m.room.name", {"name": "Later"})
        await self.alice.say(self.room, "after")
        answer = await self.bob.sync()
        assert bodies(answer, self.room) == ["before"]
        assert timeline(answer, self.room)[-1]["content"]["membership"] == "leave"
        assert "rooms" not in await self.bob.sync()
        left = await self.fresh(self.bob, filter=ALSO_LEFT)
        assert bodies(left, self.room) == ["before"]
        told = [*timeline(left, self.room), *rooms(left, "leave")[self.room]["state"]["events"]]
        assert [e["content"]["name"] for e in told if e["type"] == "m.room.name"] == ["Class"]

    async def test_left_rooms_are_left_out_of_a_first_sync_unless_asked_for(self) -> None:
        await self.bob.join(self.room)
        await self.bob.leave(self.room)
        assert "rooms" not in await self.fresh(self.bob)
        assert self.room in rooms(await self.fresh(self.bob, filter=ALSO_LEFT), "leave")

    async def test_a_forgotten_room_is_told_no_more(self) -> None:
        await self.bob.join(self.room)
        await self.bob.leave(self.room)
        await self.bob.ok("POST", f"/rooms/{quote(self.room)}/forget", {})
        assert "rooms" not in await self.fresh(self.bob, filter=ALSO_LEFT)

    async def test_who_is_put_out_learns_of_it_and_of_nothing_after(self) -> None:
        await self.alice.put(self.room, "m.room.history_visibility", {"history_visibility": "joined"})
        for what, membership in (("kick", "leave"), ("ban", "ban")):
            await self.bob.join(self.room)
            await self.bob.sync()
            await self.alice.act(what, self.room, self.bob)
            await self.alice.say(self.room, "gossip")
            answer = await self.bob.sync()
            assert bodies(answer, self.room) == []
            assert timeline(answer, self.room)[-1]["content"]["membership"] == membership
        self.restart()
        assert bodies(await self.fresh(self.bob, filter=ALSO_LEFT), self.room) == []

    async def test_who_is_banned_after_leaving_learns_of_it(self) -> None:
        await self.bob.join(self.room)
        await self.bob.leave(self.room)
        await self.bob.sync()
        await self.alice.say(self.room, "gossip")
        await self.alice.act("ban", self.room, self.bob)
        for answer in (await self.bob.sync(), await self.fresh(self.bob, filter=ALSO_LEFT)):
            (event,) = timeline(answer, self.room)
            assert event["content"]["membership"] == "ban"
            assert rooms(answer, "leave")[self.room]["timeline"]["limited"] is True

    async def test_the_state_after_leaving_is_that_of_leaving(self) -> None:
        await self.bob.join(self.room)
        await self.bob.sync()
        await self.alice.put(self.room, "m.room.name", {"name": "Then"})
        await self.bob.leave(self.room)
        await self.alice.put(self.room, "m.room.name", {"name": "Later"})
        answer = await self.bob.sync(use_state_after=True)
        told = rooms(answer, "leave")[self.room]["state_after"]["events"]
        assert {e["type"]: e["content"].get("name") for e in told} == {"m.room.name": "Then", "m.room.member": None}

    async def test_who_leaves_and_comes_back_between_two_syncs_is_told_the_room_anew(self) -> None:
        await self.alice.put(self.room, "m.room.history_visibility", {"history_visibility": "joined"})
        await self.bob.join(self.room)
        await self.bob.sync()
        await self.bob.leave(self.room)
        await self.alice.say(self.room, "hidden")
        await self.alice.put(self.room, "m.room.name", {"name": "Meanwhile"})
        await self.bob.join(self.room)
        await self.alice.say(self.room, "back")
        answer = await self.bob.sync()
        assert bodies(answer, self.room) == ["back"]
        told = rooms(answer, "join")[self.room]
        assert told["timeline"]["limited"] is True
        assert {"name": "Meanwhile"} in [event["content"] for event in told["state"]["events"]]

    async def test_who_comes_and_goes_between_two_syncs_is_told_what_they_saw(self) -> None:
        await self.bob.sync()
        await self.bob.join(self.room)
        await self.alice.say(self.room, "hello")
        await self.bob.leave(self.room)
        await self.alice.say(self.room, "gone")
        answer = await self.bob.sync(filter={"room": {"timeline": {"limit": 2}}})
        assert bodies(answer, self.room) == ["hello"]
        assert {"m.room.create"} <= {e["type"] for e in rooms(answer, "leave")[self.room]["state"]["events"]}

    async def test_rooms_that_are_not_wanted_are_not_told_of_in_any_section(self) -> None:
        other = await self.alice.create(preset="public_chat")
        await self.alice.invite(self.room, self.bob)
        await self.bob.join(other)
        await self.bob.leave(other)
        wanted = {"room": {"include_leave": True, "not_rooms": [self.room, other]}}
        assert "rooms" not in await self.fresh(self.bob, filter=wanted)

    async def test_data_of_a_room_come_along_when_one_leaves_or_comes_back(self) -> None:
        await self.bob.join(self.room)
        await self.bob.sync()
        await self.bob.set_data("org.example.x", {"a": 1}, self.room)
        await self.bob.leave(self.room)
        left = rooms(await self.bob.sync(), "leave")[self.room]
        assert left["account_data"]["events"] == [{"type": "org.example.x", "content": {"a": 1}}]
        await self.bob.join(self.room)
        back = rooms(await self.bob.sync(), "join")[self.room]
        assert back["account_data"]["events"] == [{"type": "org.example.x", "content": {"a": 1}}]
