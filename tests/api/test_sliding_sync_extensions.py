"""What sliding sync tells beside rooms, and what it makes of bad input."""

from typing import Any
from urllib.parse import quote

from homeserver.storage.accounts import NewAccount, append_account
from homeserver.storage.devices import append_device
from homeserver.storage.todevice import append_messages, pending
from tests.kit.databases import on_both_databases
from tests.kit.sliding import STABLE, UNSTABLE, Slider, stable_window, window
from tests.kit.syncs import SyncCase, Syncer

ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
ON = {"enabled": True}
ALL = {"all": window(0, 9)}


class ExtensionCase(SyncCase):
    """People with rooms who want one extension."""

    extension = ""

    async def extended(self, phone: Slider, wanted: dict[str, Any] | None = None, **body: Any) -> Any:
        """What the extension tells, None when nothing."""
        body.setdefault("lists", ALL)
        answer = await phone.ask(extensions={self.extension: {**ON, **(wanted or {})}}, **body)
        return answer["extensions"].get(self.extension)


@on_both_databases
class ToDevice(ExtensionCase):
    """Messages to the device."""

    extension = "to_device"

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        await self.db.write(_add_device, self.bob)

    async def send(self, to: Syncer, *bodies: str) -> None:
        events = [b'{"type":"m.x","content":{"body":"%b"}}' % body.encode() for body in bodies]
        await self.db.write(append_messages, [(to.user_id, to.device_id, event) for event in events])

    async def waiting(self, of: Syncer) -> int:
        found = await self.db.read(pending, of.user_id, of.device_id, 1 << 60, 1000)
        return len(found)

    async def test_messages_are_told_until_they_are_acknowledged(self) -> None:
        await self.send(self.bob, "a", "b")
        phone = Slider(self.bob)
        first = await self.extended(phone)
        assert [event["content"]["body"] for event in first["events"]] == ["a", "b"]
        assert await self.extended(phone) == first
        assert await self.waiting(self.bob) == 2
        second = await self.extended(phone, {"since": first["next_batch"]})
        assert "events" not in second
        await self.settle()
        assert await self.waiting(self.bob) == 0
        assert "events" not in await self.extended(phone, {"since": first["next_batch"]})

    async def test_messages_outlive_the_connection_and_the_server(self) -> None:
        await self.send(self.bob, "a")
        first = await self.extended(Slider(self.bob))
        await self.send(self.bob, "b")
        self.restart()
        second = await self.extended(Slider(self.bob), {"since": first["next_batch"]})
        assert [event["content"]["body"] for event in second["events"]] == ["b"]
        await self.settle()
        assert await self.waiting(self.bob) == 1

    async def test_only_so_many_messages_come_at_once(self) -> None:
        await self.send(self.bob, *"abcde")
        phone, heard, since = Slider(self.bob), [], {}
        for _ in range(3):
            told = await self.extended(phone, {"limit": 2, **since})
            heard.append([event["content"]["body"] for event in told["events"]])
            since = {"since": told["next_batch"]}
        assert heard == [["a", "b"], ["c", "d"], ["e"]]
        assert "events" not in await self.extended(phone, {"limit": 2, **since})

    async def test_a_message_wakes_who_waits(self) -> None:
        phone = Slider(self.bob)
        first = await self.extended(phone)
        wanted = {"to_device": {**ON, "since": first["next_batch"]}}
        waits = phone.wait(lists=ALL, extensions=wanted)
        await self.settle()
        await self.send(self.bob, "wake up")
        answer = await waits
        assert [event["content"]["body"] for event in answer["extensions"]["to_device"]["events"]] == ["wake up"]
        assert answer["rooms"] == {}

    async def test_no_messages_are_told_where_none_are_wanted(self) -> None:
        await self.send(self.bob, "a")
        answer = await Slider(self.bob).ask(extensions={"to_device": {"enabled": False}, "e2ee": ON})
        assert "to_device" not in answer["extensions"]
        assert await self.waiting(self.bob) == 1

    async def test_tokens_that_are_none_are_refused(self) -> None:
        for since in ("x", "", "-1", "1.5", "9" * 30, str(1 << 50)):
            wanted = {"to_device": {**ON, "since": since}}
            assert await Slider(self.bob).refused(extensions=wanted) == (400, "M_INVALID_PARAM"), since


def _add_device(txn: Any, of: Syncer) -> None:
    append_account(txn, NewAccount(user_id=of.user_id, created_ms=0))
    append_device(txn, of.user_id, of.device_id, None, 0)


@on_both_databases
class Keys(ExtensionCase):
    """The keys of the device, and whose changed."""

    extension = "e2ee"

    async def test_key_counts_are_told_at_first_and_no_lists(self) -> None:
        told = await self.extended(Slider(self.alice))
        assert told == {"device_one_time_keys_count": {"signed_curve25519": 0}, "device_unused_fallback_key_types": []}

    async def test_who_comes_into_an_encrypted_room_is_told_wherever_that_is(self) -> None:
        room = await self.alice.create(preset="public_chat", initial_state=[ENCRYPTION])
        await self.alice.create()
        phone, top = Slider(self.alice), {"top": window(0, 0)}
        nothing = {"nothing": window(50, 60)}
        await self.extended(phone, lists=top)
        await self.bob.join(room)
        assert (await self.extended(phone, lists=nothing))["device_lists"] == {
            "changed": [self.bob.user_id],
            "left": [],
        }
        await self.bob.leave(room)
        assert (await self.extended(phone, lists=nothing))["device_lists"] == {
            "changed": [],
            "left": [self.bob.user_id],
        }
        assert "device_lists" not in await self.extended(phone, lists=nothing)

    async def test_who_enters_an_encrypted_room_is_told_who_is_there(self) -> None:
        room = await self.alice.create(preset="public_chat", initial_state=[ENCRYPTION])
        phone = Slider(self.bob)
        await self.extended(phone)
        await self.bob.join(room)
        assert (await self.extended(phone))["device_lists"]["changed"] == [self.alice.user_id]

    async def test_plain_rooms_have_no_lists(self) -> None:
        room = await self.alice.create(preset="public_chat")
        phone = Slider(self.alice)
        await self.extended(phone)
        await self.bob.join(room)
        assert "device_lists" not in await self.extended(phone)


@on_both_databases
class AccountData(ExtensionCase):
    """Account data."""

    extension = "account_data"

    async def test_all_of_ones_own_is_told_at_first_and_then_what_changes(self) -> None:
        await self.alice.set_data("org.example.a", {"x": 1})
        phone = Slider(self.alice)
        told = await self.extended(phone)
        assert {event["type"] for event in told["global"]} == {"org.example.a", "m.push_rules"}
        assert await self.extended(phone) is None
        await self.alice.set_data("org.example.b", {"x": 2})
        assert (await self.extended(phone))["global"] == [{"type": "org.example.b", "content": {"x": 2}}]

    async def test_that_of_rooms_is_told_with_the_rooms_that_are_looked_at(self) -> None:
        room, other = await self.alice.create(), await self.alice.create()
        for each in (room, other):
            await self.alice.set_data("org.example.a", {"of": each}, each)
        phone = Slider(self.alice)
        told = await self.extended(phone, lists={"top": window(0, 0)})
        assert told["rooms"] == {other: [{"type": "org.example.a", "content": {"of": other}}]}
        told = await self.extended(phone, lists={"top": window(0, 1)})
        assert set(told["rooms"]) == {room}
        await self.alice.set_data("org.example.a", {"of": "new"}, room)
        told = await self.extended(phone, lists={"top": window(0, 1)})
        assert told["rooms"] == {room: [{"type": "org.example.a", "content": {"of": "new"}}]}

    async def test_it_may_be_wanted_of_some_rooms_only(self) -> None:
        room = await self.alice.create()
        await self.alice.set_data("org.example.a", {}, room)
        assert (await self.extended(Slider(self.alice), {"lists": []}))["rooms"] == {}
        assert set((await self.extended(Slider(self.alice), {"lists": ["all"]}))["rooms"]) == {room}
        assert set((await self.extended(Slider(self.alice), {"lists": ["*"]}))["rooms"]) == {room}
        named = {"room_subscriptions": {room: {"timeline_limit": 1, "required_state": []}}, "lists": {}}
        assert set((await self.extended(Slider(self.alice), {"rooms": [room]}, **named))["rooms"]) == {room}
        assert (await self.extended(Slider(self.alice), {"rooms": []}, **named))["rooms"] == {}

    async def test_it_wakes_who_waits(self) -> None:
        phone = Slider(self.alice)
        await self.extended(phone)
        waits = phone.wait(lists=ALL, extensions={"account_data": ON})
        await self.settle()
        await self.alice.set_data("org.example.b", {})
        assert (await waits)["extensions"]["account_data"]["global"][0]["type"] == "org.example.b"


@on_both_databases
class Receipts(ExtensionCase):
    """Who has read what."""

    extension = "receipts"

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat")
        await self.bob.join(self.room)
        self.events = [await self.alice.say(self.room, body) for body in "abc"]

    async def test_receipts_on_what_is_shown_and_ones_own_are_told_at_first(self) -> None:
        await self.bob.read(self.room, self.events[0])
        await self.alice.read(self.room, self.events[1], "m.read.private")
        few = {"all": window(0, 9, limit=1)}
        told = await self.extended(Slider(self.alice), lists=few)
        assert set(told["rooms"][self.room]["content"]) == {self.events[1]}
        await self.bob.read(self.room, self.events[2])
        told = await self.extended(Slider(self.alice), lists=few)
        assert set(told["rooms"][self.room]["content"]) == {self.events[1], self.events[2]}
        told = await self.extended(Slider(self.bob), lists=few)
        assert set(told["rooms"][self.room]["content"]) == {self.events[2]}

    async def test_a_receipt_that_moves_is_told(self) -> None:
        phone = Slider(self.alice)
        assert await self.extended(phone) is None
        waits = phone.wait(lists=ALL, extensions={"receipts": ON})
        await self.settle()
        await self.bob.read(self.room, self.events[2])
        answer = await waits
        told = answer["extensions"]["receipts"]["rooms"][self.room]
        assert told["type"] == "m.receipt"
        assert self.bob.user_id in told["content"][self.events[2]]["m.read"]
        assert await self.extended(phone) is None

    async def test_private_receipts_stay_private(self) -> None:
        phone = Slider(self.alice)
        await self.extended(phone)
        await self.bob.read(self.room, self.events[2], "m.read.private")
        assert await self.extended(phone) is None
        assert await self.extended(Slider(self.alice)) is None

    async def test_receipts_of_rooms_out_of_sight_are_told_when_they_are_back(self) -> None:
        other = await self.alice.create()
        phone = Slider(self.alice)
        await self.extended(phone)
        await self.extended(phone, lists={"top": window(0, 0)})
        await self.bob.read(self.room, self.events[2])
        assert await self.extended(phone, lists={"top": window(0, 0)}) is None
        assert other in phone.rooms
        assert self.room in (await self.extended(phone))["rooms"]


@on_both_databases
class Typing(ExtensionCase):
    """Who is typing."""

    extension = "typing"

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat")
        await self.bob.join(self.room)

    async def test_who_types_is_told_until_they_stop(self) -> None:
        phone = Slider(self.alice)
        assert await self.extended(phone) is None
        await self.bob.type(self.room)
        told = await self.extended(phone)
        assert told["rooms"][self.room] == {"type": "m.typing", "content": {"user_ids": [self.bob.user_id]}}
        assert await self.extended(phone) is None
        await self.bob.type(self.room, typing=False)
        assert (await self.extended(phone))["rooms"][self.room]["content"]["user_ids"] == []

    async def test_who_types_is_told_at_first_too(self) -> None:
        await self.bob.type(self.room)
        assert (await self.extended(Slider(self.alice)))["rooms"][self.room]["content"]["user_ids"] == [
            self.bob.user_id
        ]

    async def test_it_wakes_who_waits_unless_the_room_is_not_looked_at(self) -> None:
        phone = Slider(self.alice)
        await self.extended(phone)
        waits = phone.wait(lists=ALL, extensions={"typing": {**ON, "lists": []}})
        await self.settle()
        await self.bob.type(self.room)
        await self.settle()
        assert not waits.called
        self.clock.advance(30)
        assert "typing" not in (await waits)["extensions"]

    async def test_who_was_put_out_is_told_no_more(self) -> None:
        await self.extended(Slider(self.bob))
        assert (await self.alice.act("kick", self.room, self.bob)).status == 200
        await self.alice.type(self.room)
        assert await self.extended(Slider(self.bob)) is None

    async def test_the_stable_form_has_a_name_of_its_own_for_it(self) -> None:
        await self.bob.type(self.room)
        name = "org.matrix.msc4508.typing"
        body = {"lists": {"all": stable_window(0, 9)}, "extensions": {name: ON}}
        assert set((await Slider(self.alice, STABLE).ask(**body))["extensions"][name]["rooms"]) == {self.room}


class BadInput(SyncCase):
    """What is no request."""

    async def test_too_many_lists_and_subscriptions_are_refused(self) -> None:
        for path, one in ((STABLE, {"timeline_limit": 1, "required_state": {}}), (UNSTABLE, {"timeline_limit": 1})):
            for name in ("lists", "room_subscriptions"):
                many = {name: {f"k{number}": one for number in range(100)}}
                await Slider(self.alice, path).ask(**many)
                many[name]["more"] = one
                assert await Slider(self.alice, path).refused(**many) == (400, "M_INVALID_PARAM")

    async def test_ranges_that_are_none_are_refused(self) -> None:
        for path, name in ((STABLE, "range"), (UNSTABLE, "ranges")):
            for value in ([5, 4], [-1, 4], [1], [1, 2, 3], "x", [0, 1.5]):
                wish = {"timeline_limit": 1, "required_state": {} if path == STABLE else []}
                wish[name] = value if path == STABLE else [value]
                status, errcode = await Slider(self.alice, path).refused(lists={"a": wish})
                assert (status, errcode in ("M_INVALID_PARAM", "M_BAD_JSON")) == (400, True), value

    async def test_what_is_needed_is_missed(self) -> None:
        for wish in ({}, {"timeline_limit": 1}, {"required_state": {}}, {"timeline_limit": -1, "required_state": {}}):
            status, _ = await Slider(self.alice, STABLE).refused(lists={"a": wish})
            assert status == 400, wish

    async def test_odd_names_are_refused(self) -> None:
        wish = {"timeline_limit": 1, "required_state": {}}
        for name in ("", "a b", "ü", "x" * 256):
            assert await Slider(self.alice, STABLE).refused(lists={name: wish}) == (400, "M_INVALID_PARAM")
        assert await Slider(self.alice, STABLE).refused(conn_id="x" * 256) == (400, "M_INVALID_PARAM")

    async def test_presence_is_set_and_odd_presence_refused(self) -> None:
        for path in (STABLE, UNSTABLE):
            assert await Slider(self.alice, path).refused(set_presence="asleep") == (400, "M_INVALID_PARAM")
            await Slider(self.alice, path).ask(set_presence="unavailable")
            where = f"/presence/{quote(self.alice.user_id)}/status"
            assert (await self.alice.ok("GET", where))["presence"] == "unavailable"
            await Slider(self.alice, path).ask()
            assert (await self.alice.ok("GET", where))["presence"] == "online"

    async def test_unknown_extensions_and_fields_are_passed_over(self) -> None:
        for path in (STABLE, UNSTABLE):
            await Slider(self.alice, path).ask(extensions={"org.example.new": {"enabled": True, "x": []}}, new=5)

    async def test_nobody_syncs_without_a_token(self) -> None:
        for path in (STABLE, UNSTABLE):
            assert (await self.call("POST", path, {})).status == 401
