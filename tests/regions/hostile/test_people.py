"""What evil says of people and their devices: only what it may say of its own, once, and no more than some."""

from itertools import count
from typing import Any

from homeserver.devices.remote import receiving
from homeserver.ephemeral.receiving import MOST_ROOMS
from homeserver.storage.todevice import Bounds
from tests.kit.hostile import HostileCase, Villain

NUMBERS = count()


class Case(HostileCase):
    async def edu(self, kind: str, content: Any, *, by: Villain | None = None, times: int = 1) -> None:
        """Send EDUs."""
        for _ in range(times):
            reply = await self.send([], edus=[{"edu_type": kind, "content": content}], by=by)
            assert reply.status == 200, reply

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """Be in sync."""
        await super().setUp()
        await self.us.sync()

    async def nothing_new(self, *parts: str) -> None:
        """Nothing of that is told to us."""
        news = await self.us.sync()
        for part in parts:
            assert not news.get(part, {}).get("events"), (part, news)
        room = news.get("rooms", {}).get("join", {}).get(self.room_id, {})
        assert not room.get("ephemeral", {}).get("events"), news
        self.assert_no_errors()


class ToDevice(Case):
    """Messages for devices."""

    def message(self, message_id: str, **changes: Any) -> dict[str, Any]:
        messages = {self.us.user_id: {self.us.device_id: {"n": message_id}}}
        return {"sender": self.mallory, "type": "m.x", "message_id": message_id, "messages": messages} | changes

    async def texts(self) -> list[str]:
        """What reached our device since last time."""
        return [each["content"]["n"] for each in (await self.us.sync()).get("to_device", {}).get("events", [])]

    async def test_a_message_comes_once_however_often_it_is_sent_also_over_a_restart(self) -> None:
        await self.edu("m.direct_to_device", self.message("a"), times=3)
        assert await self.texts() == ["a"]
        await self.north.restart()
        await self.edu("m.direct_to_device", self.message("a"))
        await self.edu("m.direct_to_device", self.message("b"))
        assert await self.texts() == ["b"]

    async def test_the_same_name_by_another_server_is_another_message(self) -> None:
        await self.edu("m.direct_to_device", self.message("a"))
        await self.edu("m.direct_to_device", self.message("a", sender=self.alice), by=self.west)
        assert await self.texts() == ["a", "a"]

    async def test_nobody_else_is_spoken_for(self) -> None:
        sender: Any
        for sender in (self.alice, self.us.user_id, "@x", "", None, 5, [], f"@{'x' * 300}:{self.evil.name}"):
            await self.edu("m.direct_to_device", self.message(f"{sender}"[:200], sender=sender))
        assert await self.texts() == []

    async def test_a_flood_of_one_server_leaves_room_for_the_messages_of_others(self) -> None:
        self.patch(receiving, "BOUNDS", Bounds(each=50_000, all=60_000, share=5_000, server=1 << 40))
        for _ in range(3):
            flood = [
                {"edu_type": "m.direct_to_device", "content": self.message(f"{next(NUMBERS)}")} for _ in range(100)
            ]
            assert (await self.send([], edus=flood)).status == 200
        await self.edu("m.direct_to_device", self.message("large", messages=self.large()))
        await self.edu("m.direct_to_device", self.message("honest", sender=self.alice), by=self.west)
        taken = await self.texts()
        assert taken[-1] == "honest"
        assert "large" not in taken
        assert 40 <= len(taken) <= 51
        await self.us.sync()
        await self.edu("m.direct_to_device", self.message("again"))
        assert await self.texts() == ["again"]

    def large(self) -> dict[str, Any]:
        return {self.us.user_id: {"*": {"n": "large", "x": "x" * 60_000}}}

    async def test_who_and_what_is_not_there_gets_nothing_and_takes_no_place(self) -> None:
        to: Any
        async with self.unharmed():
            for to in (
                {"@nobody:parta.test": {"*": {}}},
                {self.alice: {"*": {}}},
                {"": {"": {}}},
                {self.us.user_id: 5},
            ):
                await self.edu("m.direct_to_device", self.message("x", messages=to))
            await self.edu(
                "m.direct_to_device", self.message("x", messages={f"@u{n}:x": {"*": {}} for n in range(5000)})
            )
        await self.nothing_new("to_device")


class Saying(Case):
    """Typing, reading, being there, and devices."""

    async def test_typing_and_receipts_of_others_and_of_who_is_not_there_are_not_heard(self) -> None:
        said = await self.say()
        await self.us.sync()
        for person in (self.alice, self.us.user_id, self.eve):
            await self.edu("m.typing", {"room_id": self.room_id, "user_id": person, "typing": True})
            receipt = {"event_ids": [said.event_id], "data": {"ts": 1}}
            await self.edu("m.receipt", {self.room_id: {"m.read": {person: receipt}}})
        await self.nothing_new()
        await self.edu("m.typing", {"room_id": self.room_id, "user_id": self.mallory, "typing": True})
        (told,) = (await self.us.sync())["rooms"]["join"][self.room_id]["ephemeral"]["events"]
        assert told["content"] == {"user_ids": [self.mallory]}

    async def test_receipts_in_very_many_rooms_are_looked_at_in_some_of_them(self) -> None:
        said = await self.say()
        await self.us.sync()
        receipt = {self.room_id: {"m.read": {self.mallory: {"event_ids": [said.event_id], "data": {"ts": 1}}}}}
        before, after = (  # as they are sorted
            {f"!{sign}{number}:nowhere.test": {"m.read": {}} for number in range(MOST_ROOMS)} for sign in "!~"
        )
        await self.edu("m.receipt", {**before, **receipt})
        await self.nothing_new()
        await self.edu("m.receipt", {**receipt, **after})
        (told,) = (await self.us.sync())["rooms"]["join"][self.room_id]["ephemeral"]["events"]
        assert said.event_id in told["content"]

    async def test_presence_of_others_is_not_heard(self) -> None:
        for person in (self.alice, self.us.user_id, self.eve):
            push = [{"user_id": person, "presence": "online", "status_msg": "x", "last_active_ago": 1}]
            await self.edu("m.presence", {"push": push})
        shown = (await self.us.sync()).get("presence", {}).get("events", [])
        assert not [each for each in shown if each["sender"] in (self.alice, self.eve)]
        assert not [each for each in shown if each["content"].get("status_msg") == "x"]

    async def test_devices_and_keys_of_others_are_not_changed(self) -> None:
        mine = {"algorithms": ["m.olm.v1.curve25519-aes-sha2"], "keys": {f"ed25519:{self.us.device_id}": "x"},
                "user_id": self.us.user_id, "device_id": self.us.device_id, "signatures": {}}  # fmt: skip
        await self.us.ok("POST", "/keys/upload", {"device_keys": mine})
        wanted: Any = {"device_keys": {self.us.user_id: []}}
        before = await self.us.ok("POST", "/keys/query", wanted)
        master = {"user_id": self.us.user_id, "usage": ["master"], "keys": {"ed25519:" + "A" * 43: "A" * 43}}
        for person in (self.us.user_id, self.alice):
            keys = {**mine, "user_id": person, "keys": {f"ed25519:{self.us.device_id}": "evil"}}
            update = {"user_id": person, "device_id": self.us.device_id, "stream_id": 5, "prev_id": [], "keys": keys}
            for change in (update, {**update, "deleted": True}, {**update, "prev_id": [4]}):
                await self.edu("m.device_list_update", change)
            await self.edu("m.signing_key_update", {"user_id": person, "master_key": {**master, "user_id": person}})
        assert await self.us.ok("POST", "/keys/query", wanted) == before
        assert self.west.asked["user"] == 0
        self.assert_no_errors()

    async def test_news_of_devices_without_end_do_not_make_us_ask_without_end(self) -> None:
        self.evil.asked.clear()
        for number in range(30):
            update = {"user_id": self.mallory, "device_id": f"D{number}", "stream_id": 10 * number, "prev_id": [7]}
            await self.edu("m.device_list_update", update)
        assert self.evil.asked["user"] <= 30
        self.assert_no_errors()


class Asking(Case):
    """What evil asks about people."""

    async def test_who_is_not_there_is_made_up_by_no_question(self) -> None:
        nobody = f"@nobody:{self.north.name}"
        async with self.unharmed():
            for path in ("user/devices/{}", "query/profile?user_id={}"):
                assert (await self.ask(path.format(nobody.replace(":", "%3A")))).status == 404, path
            for path, field, value in (
                ("user/keys/query", "device_keys", []),
                ("user/keys/claim", "one_time_keys", {"D": "signed_curve25519"}),
            ):
                reply = await self.ask(path, {field: {nobody: value}}, method="POST")
                assert (reply.status, reply.json[field].get(nobody, {})) == (200, {}), reply

    async def test_it_is_not_told_of_others_than_ours(self) -> None:
        for who in (self.alice, self.mallory, "@x", "x", ""):
            for path in (f"query/profile?user_id={who}", f"user/devices/{who}"):
                assert (await self.ask(path)).status in (400, 403, 404), (path, who)
        for alias in (f"#x:{self.west.name}", "#x", "x", "%23nothing%3Ahere"):
            assert (await self.ask(f"query/directory?room_alias={alias.replace('#', '%23')}")).status in (400, 404)
        self.assert_no_errors()
