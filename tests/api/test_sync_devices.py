"""What a sync tells a device: messages to it, whose keys changed, how many of its own are left."""

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from homeserver.sync import reading
from tests.kit.databases import reactor_in_use
from tests.kit.keys import device_keys, one_time_keys
from tests.kit.people import V3, Person
from tests.kit.server import ServerCase
from tests.kit.wire import Wire, encode_request

ENCRYPTION = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]


def messages(answer: Any) -> list[Any]:
    """The contents of the messages to the device."""
    return [event["content"] for event in answer.get("to_device", {}).get("events", [])]


def lists(answer: Any) -> tuple[set[str], set[str]]:
    """People whose keys changed, and those with whom no encrypted room is shared any more."""
    told = answer.get("device_lists", {})
    return set(told.get("changed", ())), set(told.get("left", ()))


class SyncOfDevices(ServerCase):
    configuration = {"presence": False}

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")
        for person in (self.alice, self.bob):
            await person.sync()

    async def send(self, *numbers: int) -> None:
        for number in numbers:
            body = {"messages": {self.bob.user_id: {self.bob.device_id: {"n": number}}}}
            await self.alice.ok("PUT", f"/sendToDevice/m.test/{number}", body)

    async def publish(self, person: Person, **other: Any) -> None:
        """Change a person's keys."""
        await person.ok("POST", "/keys/upload", {"device_keys": device_keys(person.user_id, person.device_id, **other)})

    async def encrypted_room(self, *others: Person) -> str:
        room = await self.alice.create_room(preset="public_chat", initial_state=ENCRYPTION)
        for other in others:
            await other.join(room)
        return room

    async def test_messages_come_until_the_client_shows_that_it_has_them(self) -> None:
        await self.send(1, 2)
        since = self.bob.since
        for _ in range(2):
            self.bob.since = since
            assert messages(await self.bob.sync()) == [{"n": 1}, {"n": 2}]
        assert messages(await self.bob.sync()) == []
        self.bob.since = since
        assert messages(await self.bob.sync()) == []

    async def test_messages_come_in_turns_where_there_are_many(self) -> None:
        self.patch(reading, "MOST_MESSAGES", 2)
        from homeserver.sync import answers  # its copy of the bound is changed

        self.patch(answers, "MOST_MESSAGES", 2)
        await self.send(1, 2, 3, 4, 5)
        seen: list[Any] = []
        for _ in range(3):
            seen += messages(await self.bob.sync(timeout=1000))
        assert seen == [{"n": number} for number in range(1, 6)]
        assert messages(await self.bob.sync()) == []

    async def test_messages_outlive_a_restart_and_are_removed_after_it(self) -> None:
        await self.send(1)
        assert messages(await self.bob.sync()) == [{"n": 1}]
        await self.restart()
        await self.send(2)
        assert messages(await self.bob.sync()) == [{"n": 2}]
        fresh = await self.bob.ok("GET", "/sync")
        assert messages(fresh) == [{"n": 2}]

    async def test_a_message_ends_a_wait(self) -> None:
        waiting = Deferred.fromCoroutine(self.bob.sync(timeout=30_000))
        await self.send(1)
        assert messages(await waiting) == [{"n": 1}]

    async def test_another_device_gets_nothing_of_it(self) -> None:
        tablet = await self.log_in("bob")
        await tablet.sync()
        await self.send(1)
        assert messages(await tablet.sync()) == []

    async def test_one_time_keys_are_counted_in_every_answer(self) -> None:
        assert (await self.bob.sync())["device_one_time_keys_count"] == {"signed_curve25519": 0}
        keys = one_time_keys("A", "B")
        waiting = Deferred.fromCoroutine(self.bob.sync(timeout=30_000))
        await self.bob.ok("POST", "/keys/upload", {"one_time_keys": keys})
        assert (await waiting)["device_one_time_keys_count"] == {"signed_curve25519": 2}
        claim = {"one_time_keys": {self.bob.user_id: {self.bob.device_id: "signed_curve25519"}}}
        await self.alice.ok("POST", "/keys/claim", claim)
        assert (await self.bob.sync())["device_one_time_keys_count"] == {"signed_curve25519": 1}
        await self.restart()
        assert (await self.bob.sync())["device_one_time_keys_count"] == {"signed_curve25519": 1}

    async def test_unused_fallback_keys_are_named(self) -> None:
        assert (await self.bob.sync())["device_unused_fallback_key_types"] == []
        keys = one_time_keys("F", fallback=True)
        await self.bob.ok("POST", "/keys/upload", {"fallback_keys": keys})
        assert (await self.bob.sync())["device_unused_fallback_key_types"] == ["signed_curve25519"]

    async def test_changed_keys_are_told_to_those_who_share_a_room(self) -> None:
        carol = await self.register("carol")
        await carol.sync()
        await self.encrypted_room(self.bob)
        await self.bob.sync()
        for known in (True, False):
            if not known:
                await self.restart()
            await self.publish(self.alice, algorithms=[f"known: {known}"])
            assert lists(await self.bob.sync()) == ({self.alice.user_id}, set())
            assert lists(await self.bob.sync()) == (set(), set())
            assert lists(await carol.sync()) == (set(), set())

    async def test_changed_keys_end_a_wait_also_of_somebody_who_does_not_sync(self) -> None:
        await self.encrypted_room(self.bob)
        await self.restart()
        await self.bob.sync()
        waiting = Deferred.fromCoroutine(self.bob.sync(timeout=30_000))
        await deferLater(reactor_in_use(), 0.05)
        await self.publish(self.alice)
        assert lists(await waiting)[0] == {self.alice.user_id}

    async def test_what_was_missed_can_be_asked_for(self) -> None:
        async def missed(since: str | None) -> tuple[set[str], set[str]]:
            answer = await self.alice.ok("GET", "/keys/changes", **{"from": since, "to": self.alice.since})
            return set(answer["changed"]), set(answer["left"])

        carol = await self.register("carol")
        plain = await self.alice.create_room(preset="public_chat", invite=[carol.user_id])
        room = await self.encrypted_room()
        await self.alice.sync()
        first = self.alice.since
        assert await missed(first) == (set(), set())
        await self.bob.join(room)
        await self.bob.join(plain)
        assert await missed(first) == ({self.bob.user_id}, set())
        await self.alice.sync()
        second = self.alice.since
        await self.bob.leave(room)
        await self.publish(carol)
        assert await missed(second) == (set(), {self.bob.user_id})
        await carol.join(room)
        await self.publish(self.alice)
        assert await missed(second) == ({self.alice.user_id, carol.user_id}, {self.bob.user_id})
        await self.alice.sync()
        third = self.alice.since
        await self.alice.leave(room)
        assert await missed(third) == (set(), {carol.user_id})

    async def test_a_first_sync_tells_of_no_lists(self) -> None:
        await self.encrypted_room(self.bob)
        assert "device_lists" not in await self.bob.ok("GET", "/sync")

    async def test_whoever_comes_into_an_encrypted_room_is_met_and_whoever_leaves_is_lost(self) -> None:
        for again in (False, True):
            room = await self.encrypted_room()
            await self.alice.sync()
            await self.bob.sync()
            await self.bob.join(room)
            if again:
                await self.restart()
            assert self.bob.user_id in lists(await self.alice.sync())[0]
            assert self.alice.user_id in lists(await self.bob.sync())[0]
            await self.bob.leave(room)
            if again:
                await self.restart()
            assert lists(await self.alice.sync())[1] == {self.bob.user_id}
            assert lists(await self.bob.sync())[1] == {self.alice.user_id}

    async def test_who_shares_another_encrypted_room_is_not_lost(self) -> None:
        rooms = [await self.encrypted_room(self.bob) for _ in range(2)]
        await self.alice.sync()
        await self.bob.sync()
        await self.bob.leave(rooms[0])
        assert lists(await self.alice.sync()) == (set(), set())
        assert lists(await self.bob.sync()) == (set(), set())

    async def test_a_plain_room_tells_of_no_lists(self) -> None:
        room = await self.alice.create_room(preset="public_chat")
        await self.alice.sync()
        await self.bob.join(room)
        assert "device_lists" not in await self.alice.sync()
        await self.alice.set_state(room, "m.room.encryption", ENCRYPTION[0]["content"])
        assert self.bob.user_id in lists(await self.alice.sync())[0]

    async def test_account_data_and_push_rules_come_first_whole_and_then_as_they_change(self) -> None:
        answer = await self.bob.ok("GET", "/sync")
        first = {event["type"]: event["content"] for event in answer["account_data"]["events"]}
        assert first["m.push_rules"] == await self.bob.ok("GET", "/pushrules/")
        await self.bob.ok("PUT", f"/user/{self.bob.user_id}/account_data/org.example.x", {"a": 1})
        events = (await self.bob.sync())["account_data"]["events"]
        assert events == [{"type": "org.example.x", "content": {"a": 1}}]
        await self.bob.ok("PUT", "/pushrules/global/room/!x", {"actions": []})
        for again in (False, True):
            if again:
                await self.bob.ok("DELETE", "/pushrules/global/room/!x")
                await self.restart()
            (event,) = (await self.bob.sync())["account_data"]["events"]
            assert event["type"] == "m.push_rules"
            assert event["content"] == await self.bob.ok("GET", "/pushrules/")
        wanted = {"account_data": {"types": ["org.example.x"]}}
        events = (await self.bob.ok("GET", "/sync", filter=wanted))["account_data"]["events"]
        assert [event["type"] for event in events] == ["org.example.x"]

    async def test_data_of_a_room_come_with_the_room(self) -> None:
        room = await self.encrypted_room(self.bob)
        await self.bob.sync()
        path = f"/user/{self.bob.user_id}/rooms/{quote(room)}/tags/u.x"
        await self.bob.ok("PUT", path, {"order": 0.5})
        told = (await self.bob.sync())["rooms"]["join"][room]
        assert told["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {"u.x": {"order": 0.5}}}}]

    async def test_who_hangs_up_waits_no_more(self) -> None:
        wire = Wire(self.factory)
        path = f"{V3}/sync?timeout=30000&since={self.bob.since}"
        wire.send(encode_request("GET", path, {"Authorization": f"Bearer {self.bob.token}"}))
        feed = self.server.core.streams._feeds[self.bob.user_id]  # type: ignore[index]
        for _ in range(100):
            if feed.waiters:
                break
            await deferLater(reactor_in_use(), 0.01)
        assert len(feed.waiters) == 1
        wire.hang_up()
        await deferLater(reactor_in_use(), 0)
        assert not feed.waiters

    async def test_a_session_that_is_ended_hears_no_more(self) -> None:
        room = await self.alice.create_room(preset="public_chat")
        await self.bob.join(room)
        tablet = await self.log_in("bob")
        await self.bob.sync()
        waiting = Deferred.fromCoroutine(self.bob.sync(timeout=30_000))
        await deferLater(reactor_in_use(), 0.05)
        await tablet.ok("POST", "/logout/all", {})
        await self.alice.send(room, "secret")
        assert "rooms" not in await waiting
        assert await self.bob.refused("GET", "/sync") == (401, "M_UNKNOWN_TOKEN")
