"""What a region is told that is no event: who types, who has read, who is there, and messages for devices."""

from typing import Any

from homeserver.devices.remote import receiving
from homeserver.ephemeral.presence import HEARD_MS
from homeserver.storage import remotedevices
from homeserver.storage.todevice import Bounds
from tests.kit.neighbours import NeighboursCase
from tests.kit.people import Person


class Told(NeighboursCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.room_id = await self.share()
        await self.alice.sync()

    async def ephemeral(self, person: Person, kind: str) -> list[Any]:
        """What a sync tells of that type in the room."""
        rooms = (await person.sync()).get("rooms", {}).get("join", {})
        told = rooms.get(self.room_id, {}).get("ephemeral", {}).get("events", [])
        return [event["content"] for event in told if event["type"] == kind]

    def typing(self, user_id: str, room_id: str = "", *, typing: Any = True) -> dict[str, Any]:
        """Somebody types."""
        return {"room_id": room_id or self.room_id, "user_id": user_id, "typing": typing}

    def receipt(self, user_id: str, event_id: str, **data: Any) -> dict[str, Any]:
        """Somebody has read up to an event."""
        receipt = {"event_ids": [event_id], "data": {"ts": 1_700_000_000_000, **data}}
        return {self.room_id: {"m.read": {user_id: receipt}}}


class Typing(Told):
    async def test_a_member_types_and_stops(self) -> None:
        await self.tell(self.south, "m.typing", self.typing(self.bob.user_id))
        assert await self.ephemeral(self.alice, "m.typing") == [{"user_ids": [self.bob.user_id]}]
        await self.tell(self.south, "m.typing", self.typing(self.bob.user_id, typing=False))
        assert await self.ephemeral(self.alice, "m.typing") == [{"user_ids": []}]

    async def test_nobody_else_types(self) -> None:
        own = await self.alice.create_room()
        for told in (
            self.typing(self.alice.user_id),
            self.typing(f"@stranger:{self.south.name}"),
            self.typing(self.bob.user_id, own),
            self.typing(self.bob.user_id, "!nowhere:north.test"),
            self.typing(self.bob.user_id, typing="yes"),
            self.typing("bob"),
            {},
        ):
            await self.tell(self.south, "m.typing", told)
        assert await self.ephemeral(self.alice, "m.typing") == []

    async def test_a_server_that_the_room_shuts_out_is_not_heard(self) -> None:
        await self.tell(self.south, "m.typing", self.typing(self.bob.user_id))
        await self.alice.set_state(self.room_id, "m.room.server_acl", {"allow": ["*"], "allow_ip_literals": False})
        event_id = await self.alice.send(self.room_id, "Unheard?")
        await self.alice.sync()
        await self.tell(self.south, "m.typing", self.typing(self.bob.user_id, typing=False))
        await self.tell(self.south, "m.receipt", self.receipt(self.bob.user_id, event_id))
        for kind in ("m.typing", "m.receipt"):
            assert await self.ephemeral(self.alice, kind) == []


class Receipts(Told):
    async def test_a_room_that_shuts_a_server_out_does_not_keep_it_from_being_heard_in_others(self) -> None:
        other = await self.share()
        said = {room_id: await self.alice.send(room_id, "Read") for room_id in (self.room_id, other)}
        await self.alice.set_state(self.room_id, "m.room.server_acl", {"allow": ["*"], "allow_ip_literals": False})
        await self.alice.sync()
        receipts = {room_id: self.receipt(self.bob.user_id, said[room_id])[self.room_id] for room_id in said}
        await self.tell(self.south, "m.receipt", receipts)
        joined = (await self.alice.sync())["rooms"]["join"]
        heard = [room_id for room_id in said if joined.get(room_id, {}).get("ephemeral", {}).get("events")]
        assert heard == [other]

    async def test_a_receipt_of_a_member_is_shown_in_its_thread(self) -> None:
        first = await self.alice.send(self.room_id, "First")
        for data in ({}, {"thread_id": "main"}):
            await self.alice.sync()
            await self.tell(self.south, "m.receipt", self.receipt(self.bob.user_id, first, **data))
            (shown,) = await self.ephemeral(self.alice, "m.receipt")
            assert shown == {first: {"m.read": {self.bob.user_id: {"ts": 1_700_000_000_000, **data}}}}

    async def test_a_receipt_that_comes_twice_moves_once(self) -> None:
        first = await self.alice.send(self.room_id, "First")
        second = await self.alice.send(self.room_id, "Second")
        await self.tell(self.south, "m.receipt", self.receipt(self.bob.user_id, second))
        await self.alice.sync()
        for event_id in (second, first):
            await self.tell(self.south, "m.receipt", self.receipt(self.bob.user_id, event_id))
        assert await self.ephemeral(self.alice, "m.receipt") == []

    async def test_other_receipts_move_nothing(self) -> None:
        event_id = await self.alice.send(self.room_id, "Read?")
        await self.alice.sync()
        good = self.receipt(self.bob.user_id, event_id)
        for told in (
            self.receipt(self.alice.user_id, event_id),
            self.receipt(f"@stranger:{self.south.name}", event_id),
            self.receipt(self.bob.user_id, event_id, thread_id="$another"),
            self.receipt(self.bob.user_id, "$unknown", thread_id="$unknown"),
            self.receipt(self.bob.user_id, event_id, ts=1 << 70),
            self.receipt(self.bob.user_id, event_id, ts="now"),
            self.receipt(self.bob.user_id, "x" * 300),
            {self.room_id: {"m.read.private": good[self.room_id]["m.read"]}},
            {self.room_id: []},
            {"!nowhere": good[self.room_id]},
        ):
            await self.tell(self.south, "m.receipt", told)
        assert await self.ephemeral(self.alice, "m.receipt") == []


class Presence(Told):
    async def presence(self) -> dict[str, Any]:
        """Whose presence a sync tells, and what of it."""
        told = (await self.alice.sync()).get("presence", {}).get("events", [])
        return {
            event["sender"]: event["content"]["presence"] for event in told if event["sender"] != self.alice.user_id
        }

    async def test_somebody_in_a_room_with_ours_is_there_and_goes(self) -> None:
        for state in ("online", "unavailable", "offline"):
            push = [{"user_id": self.bob.user_id, "presence": state, "last_active_ago": 5, "status_msg": "here"}]
            await self.tell(self.south, "m.presence", {"push": push})
            assert await self.presence() == {self.bob.user_id: state}
        shown = await self.alice.ok("GET", f"/presence/{self.bob.user_id}/status")
        assert shown["presence"] == "offline"

    async def test_a_first_sync_shows_who_is_there_and_whose_server_says_nothing_more_is_gone(self) -> None:
        push = [{"user_id": self.bob.user_id, "presence": "online"}]
        await self.tell(self.south, "m.presence", {"push": push})
        self.alice.since = None
        assert await self.presence() == {self.bob.user_id: "online"}
        presences = self.north.running.told.presences
        self.north.late_ms = 2 * HEARD_MS
        presences.close()  # what would sweep in a while
        presences._sweep_absent()
        assert await self.presence() == {self.bob.user_id: "offline"}
        assert presences.heard_in([self.room_id]) == []  # type: ignore[list-item]  # as it came

    async def test_of_others_nothing_is_told(self) -> None:
        stranger = f"@stranger:{self.south.name}"
        pushed: Any = [{"user_id": who, "presence": "online"} for who in (self.alice.user_id, stranger, "bob", 3)]
        pushed += [{"user_id": self.bob.user_id, "presence": "asleep"}, {"presence": "online"}, 5]
        await self.tell(self.south, "m.presence", {"push": pushed}, {"push": 3}, {})
        assert await self.presence() == {}
        presences = self.north.running.told.presences
        assert presences.find(stranger).state == "offline"  # type: ignore[arg-type]  # as it came


class Messages(Told):
    def message(self, message_id: str, *, sender: str = "", **more: Any) -> dict[str, Any]:
        """A message for all devices of Alice."""
        messages = {self.alice.user_id: {"*": {"secret": message_id}}}
        sender = sender or self.bob.user_id
        return {"sender": sender, "type": "m.secret", "message_id": message_id, "messages": messages, **more}

    async def got(self, person: Person) -> list[Any]:
        """The messages that a device gets."""
        return [message["content"]["secret"] for message in (await person.sync())["to_device"]["events"]]

    async def test_each_message_comes_once_whoever_sends_it_again(self) -> None:
        tablet = await self.north.log_in("alice")
        await self.tell(self.south, "m.direct_to_device", self.message("1"), self.message("1"), self.message("2"))
        await self.tell(self.south, "m.direct_to_device", self.message("2"))
        await self.north.restart()
        await self.tell(self.south, "m.direct_to_device", self.message("1"), self.message("3"))
        for device in (self.alice, tablet):
            assert await self.got(device) == ["1", "2", "3"]

    async def test_a_message_shows_its_sender_and_type_and_goes_to_the_device_it_is_for(self) -> None:
        tablet = await self.north.log_in("alice")
        messages = {self.alice.user_id: {tablet.device_id: {"a": 1}, "NONE": {"b": 2}}}
        await self.tell(self.south, "m.direct_to_device", self.message("1", messages=messages))
        assert (await self.alice.sync()).get("to_device", {}).get("events", []) == []
        told = (await tablet.sync())["to_device"]["events"]
        assert told == [{"type": "m.secret", "sender": self.bob.user_id, "content": {"a": 1}}]

    async def test_forged_and_malformed_messages_reach_nobody(self) -> None:
        good = self.message("good")
        for number, spoiled in enumerate(
            (
                {"sender": self.alice.user_id},
                {"sender": f"@bob:{self.south.name}.evil.test"},
                {"sender": 5},
                {"type": None},
                {"message_id": "x" * 300},
                {"message_id": 5},
                {"messages": []},
                {"messages": {self.alice.user_id: []}},
                {"messages": {f"@nobody:{self.north.name}": {"*": {}}}},
                {"messages": {self.alice.user_id: {"*": {"secret": "x" * 70_000}}}},
            )
        ):
            await self.tell(self.south, "m.direct_to_device", {**good, "message_id": f"m{number}", **spoiled})
        await self.tell(self.south, "m.direct_to_device", good)
        assert await self.got(self.alice) == ["good"]

    async def test_a_flood_is_bounded_and_so_is_what_is_remembered_of_it(self) -> None:
        self.patch(receiving, "BOUNDS", Bounds(each=60_000, all=1 << 30, share=0, server=1 << 40))
        self.patch(remotedevices, "MOST_REMEMBERED", 100)
        await self.tell(self.south, "m.direct_to_device", *[self.message(f"{n}") for n in range(300)])
        database = self.north.running.core.database
        (waiting,), (remembered,) = [
            await database.read(lambda txn, sql=sql: txn.one(sql))
            for sql in ("SELECT COUNT(*) FROM to_device", "SELECT COUNT(*) FROM received_messages")
        ]
        assert 50 <= waiting <= 60
        assert remembered == 100
        assert await self.got(self.alice) == [str(n) for n in range(waiting)]
