"""What one region tells another that is no event: who types, reads and is there, messages to devices, new keys."""

from typing import Any

from federation.transport.agent import Incoming, Outgoing
from homeserver.outbox.servers import destination, packing
from tests.kit.across import AcrossCase, Go, body_of
from tests.kit.keys import Signer, cross_signing_key, device_keys
from tests.kit.people import Person


def edus_of(kind: str, *requests: Outgoing) -> list[Any]:
    """The contents of all EDUs of a type in transactions."""
    return [edu["content"] for request in requests for edu in body_of(request)["edus"] if edu["edu_type"] == kind]


class Fleeting(AcrossCase):
    dialects = ("sqlite", "postgresql")

    async def ephemeral(self, room: str, kind: str) -> list[Any]:
        joined = (await self.bob.sync())["rooms"].get("join", {}).get(room, {})
        return [each["content"] for each in joined.get("ephemeral", {}).get("events", []) if each["type"] == kind]

    async def test_who_types_is_seen_on_the_other_side_until_they_stop(self) -> None:
        room = await self.share()
        await self.bob.sync()
        where = f"/rooms/{room}/typing/{self.alice.user_id}"
        for content, seen in (({"typing": True}, [self.alice.user_id]), ({"typing": False}, [])):
            await self.alice.ok("PUT", where, content)
            await self.settle()
            self.assertEqual(await self.ephemeral(room, "m.typing"), [{"user_ids": seen}])

    async def test_who_leaves_types_no_more_on_either_side(self) -> None:
        room = await self.share()
        carol = await self.north.register("carol")
        await carol.join(room)
        await self.settle(self.north, self.south)
        for person, other in ((carol, self.bob), (self.bob, self.alice)):
            await person.ok("PUT", f"/rooms/{room}/typing/{person.user_id}", {"typing": True})
            await self.settle(self.north, self.south)
            await other.sync()
            await person.leave(room)
            await self.settle(self.north, self.south)
            joined = (await other.sync())["rooms"]["join"][room]
            seen = [each["content"] for each in joined["ephemeral"]["events"] if each["type"] == "m.typing"]
            self.assertEqual(seen, [{"user_ids": []}])

    async def test_a_receipt_is_told_and_a_private_one_never(self) -> None:
        room = await self.share()
        event_id = await self.alice.send(room, "read me")
        await self.settle()
        await self.bob.sync()
        sent = self.watch(self.north)
        await self.alice.ok("POST", f"/rooms/{room}/receipt/m.read.private/{event_id}", {})
        await self.alice.ok("POST", f"/rooms/{room}/read_markers", {"m.fully_read": event_id})
        await self.settle()
        self.assertEqual(sent, [])
        await self.alice.ok("POST", f"/rooms/{room}/receipt/m.read/{event_id}", {"thread_id": "main"})
        await self.settle()
        (told,) = edus_of("m.receipt", *sent)
        self.assertEqual(told[room]["m.read"][self.alice.user_id]["event_ids"], [event_id])
        (content,) = await self.ephemeral(room, "m.receipt")
        self.assertEqual(content[event_id]["m.read"][self.alice.user_id]["thread_id"], "main")

    async def test_presence_is_told_to_servers_that_share_a_room_and_to_no_other(self) -> None:
        sent = self.watch(self.north)
        status = f"/presence/{self.alice.user_id}/status"
        await self.alice.ok("PUT", status, {"presence": "online", "status_msg": "alone"})
        await self.settle()
        await self.share()
        await self.alice.ok("PUT", status, {"presence": "online", "status_msg": "here"})
        await self.settle()
        told = [push["status_msg"] for content in edus_of("m.presence", *sent) for push in content["push"]]
        self.assertEqual(told, ["here"])
        self.assertEqual((await self.bob.ok("GET", status))["status_msg"], "here")
        for state in ("unavailable", "offline"):
            await self.alice.ok("PUT", status, {"presence": state})
            await self.settle()
            (push,) = edus_of("m.presence", *sent)[-1]["push"]
            self.assertEqual((push["user_id"], push["presence"]), (self.alice.user_id, state))
            self.assertIsInstance(push["last_active_ago"], int)

    async def test_who_comes_into_a_room_of_another_server_is_seen_to_be_there(self) -> None:
        status = f"/presence/{self.bob.user_id}/status"
        await self.bob.ok("PUT", status, {"presence": "unavailable", "status_msg": "at home"})
        await self.share()
        await self.settle(self.south)
        shown = await self.alice.ok("GET", status)
        self.assertEqual((shown["presence"], shown["status_msg"]), ("unavailable", "at home"))

    async def test_what_is_not_kept_is_not_told_later(self) -> None:
        room = await self.share()
        await self.settle()
        self.cut(self.south)
        await self.alice.send(room, "one")
        await self.settle()
        await self.alice.ok("PUT", f"/rooms/{room}/typing/{self.alice.user_id}", {"typing": True})
        self.heal()
        sent = self.watch(self.north)
        await self.settle()
        self.assertEqual(edus_of("m.typing", *sent), [])


class Catching(AcrossCase):
    """The south is away while people of the north read."""

    dialects = ("sqlite", "postgresql")

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.carol = await self.north.register("carol")
        self.room = await self.share(self.carol)
        self.said = [await self.alice.send(self.room, str(number)) for number in range(3)]
        await self.settle()
        await self.bob.sync()
        self.cut(self.south)
        await self.alice.send(self.room, "unheard")
        await self.settle()

    async def see(self, person: Person, event_id: str, kind: str = "m.read", **more: str) -> None:
        await person.ok("POST", f"/rooms/{self.room}/receipt/{kind}/{event_id}", more)

    async def heard(self) -> dict[tuple[str, str | None], str]:
        """Which event each person has read, by thread, as the next sync of Bob's tells."""
        joined = (await self.bob.sync())["rooms"]["join"][self.room]
        return {
            (user_id, data.get("thread_id")): event_id
            for each in joined["ephemeral"]["events"]
            if each["type"] == "m.receipt"
            for event_id, kinds in each["content"].items()
            for kind, readers in kinds.items()
            for user_id, data in readers.items()
            if kind == "m.read"
        }

    async def test_the_latest_receipts_are_told_when_it_is_back_and_private_ones_never(self) -> None:
        for event_id in self.said:
            await self.see(self.alice, event_id)
        await self.see(self.alice, self.said[0], thread_id="main")
        await self.see(self.carol, self.said[2], kind="m.read.private")
        await self.see(self.carol, self.said[1])
        sent = self.watch(self.north)
        self.heal()
        await self.settle()
        told = edus_of("m.receipt", *sent)
        self.assertEqual(len(told), 2)  # one has a person once
        self.assertNotIn("private", str(told))
        self.assertNotIn(self.said[2], str(told[1]))
        alice, carol = self.alice.user_id, self.carol.user_id
        expected = {(alice, None): self.said[2], (alice, "main"): self.said[0], (carol, None): self.said[1]}
        self.assertEqual(await self.heard(), expected)

    async def test_it_is_so_after_a_crash(self) -> None:
        await self.see(self.alice, self.said[2])
        await self.crash(self.north)
        await self.begin_again(self.north)
        await self.settle()
        self.assertEqual(await self.heard(), {(self.alice.user_id, None): self.said[2]})

    async def test_of_very_many_the_latest_are_told(self) -> None:
        self.patch(packing, "MOST_RECEIPTS", 1)
        await self.see(self.carol, self.said[2])
        await self.see(self.alice, self.said[1])
        self.heal()
        await self.settle()
        self.assertEqual(await self.heard(), {(self.alice.user_id, None): self.said[1]})

    async def test_a_server_is_told_of_the_rooms_that_it_is_in(self) -> None:
        other = await self.alice.create_room(preset="public_chat")
        await self.see(self.alice, self.said[1])
        event_id = await self.alice.send(other, "not for the south")
        await self.alice.ok("POST", f"/rooms/{other}/receipt/m.read/{event_id}", {})
        sent = self.watch(self.north)
        self.heal()
        await self.settle()
        self.assertEqual([list(content) for content in edus_of("m.receipt", *sent)], [[self.room]])


class Kept(AcrossCase):
    dialects = ("postgresql", "sqlite")

    async def tell(self, text: str, *people: Person, txn: str = "t") -> None:
        messages = {person.user_id: {person.device_id: {"body": text}} for person in people}
        await self.alice.ok("PUT", f"/sendToDevice/m.test/{txn}{text}", {"messages": messages})

    async def heard(self) -> list[str]:
        answer = await self.bob.sync()
        return [event["content"]["body"] for event in answer.get("to_device", {}).get("events", [])]

    async def test_a_message_to_a_device_arrives_once_however_often_it_is_sent(self) -> None:
        self.patch(destination, "FIRST_DELAY_S", 0.01)
        await self.share()
        await self.settle()
        failures = 3

        async def lose(request: Outgoing, go: Go) -> Incoming:
            nonlocal failures
            answer = await go(request)  # it was taken, but we are not told
            failures -= 1
            if failures >= 0:
                return Incoming(status=500, headers={}, body=b"{}")
            return answer

        self.meddle(self.north, lose)
        await self.tell("one", self.bob)
        await self.tell("two", self.bob)
        await self.until(lambda: failures < 0 and self.north.running.sending.is_told(self.south.name))
        self.assertEqual(await self.heard(), ["one", "two"])

    async def test_messages_to_devices_survive_a_crash_and_an_outage(self) -> None:
        await self.share()
        await self.settle()
        self.cut(self.south)
        await self.tell("one", self.bob)
        await self.settle()
        await self.crash(self.north)
        await self.north.begin()
        await self.tell("two", self.bob)
        self.heal()
        await self.settle()
        self.assertEqual(await self.heard(), ["one", "two"])
        await self.north.stop()
        again = await self.begin_again(self.north)
        await self.settle()
        self.assertEqual(again, [])

    async def test_a_message_with_the_same_transaction_is_the_same_message(self) -> None:
        await self.share()
        await self.tell("one", self.bob)
        await self.tell("one", self.bob)
        await self.settle()
        self.assertEqual(await self.heard(), ["one"])

    async def test_no_message_waits_for_a_server_that_is_in_no_room(self) -> None:
        sent = self.watch(self.north)
        await self.tell("one", self.bob)
        await self.settle()
        self.assertEqual(sent, [])

    async def test_new_keys_are_told_and_asked_for_and_gone_ones_told_too(self) -> None:
        await self.share()
        await self.settle()
        await self.bob.sync()
        sent = self.watch(self.north)
        keys = device_keys(self.alice.user_id, self.alice.device_id)
        await self.alice.ok("POST", "/keys/upload", {"device_keys": keys})
        await self.settle()
        (update,) = edus_of("m.device_list_update", *sent)
        self.assertEqual((update["device_id"], update["keys"]), (self.alice.device_id, keys))
        self.assertNotIn("device_display_name", update)
        self.assertIn(self.alice.user_id, (await self.bob.sync())["device_lists"]["changed"])
        query = {"device_keys": {self.alice.user_id: []}}
        found = await self.bob.ok("POST", "/keys/query", query)
        self.assertEqual(list(found["device_keys"][self.alice.user_id]), [self.alice.device_id])
        again = await self.north.log_in("alice")
        await self.settle()
        await self.alice.ok("POST", "/logout")
        await self.settle()
        _, new, gone = edus_of("m.device_list_update", *sent)
        self.assertEqual((new["device_id"], new["prev_id"]), (again.device_id, [update["stream_id"]]))
        self.assertFalse({"keys", "deleted"} & new.keys())
        self.assertEqual((gone["device_id"], gone["prev_id"]), (self.alice.device_id, [new["stream_id"]]))
        self.assertIs(gone["deleted"], True)
        self.assertIn(again.user_id, (await self.bob.sync())["device_lists"]["changed"])
        found = await self.bob.ok("POST", "/keys/query", query)
        self.assertEqual(found["device_keys"].get(self.alice.user_id, {}), {})

    async def test_who_comes_into_a_room_is_made_known_with_all_devices_to_servers_that_they_are_new_to(self) -> None:
        await self.north.log_in("alice")
        sent = self.watch(self.north)
        room = await self.share()
        self.assertEqual(edus_of("m.device_list_update", *sent), [])  # Bob's server is the one that came
        carol = await self.north.register("carol")
        other = await self.north.log_in("carol")
        await carol.ok("POST", f"/join/{room}", {})
        await self.settle()
        updates = edus_of("m.device_list_update", *sent)
        self.assertEqual([each["device_id"] for each in updates], [carol.device_id, other.device_id])
        self.assertEqual([each["prev_id"] for each in updates], [[], [updates[0]["stream_id"]]])
        await carol.ok("POST", f"/join/{await self.share()}", {})
        await carol.ok("PUT", f"/profile/{carol.user_id}/displayname", {"displayname": "Carol"})
        await self.settle()
        self.assertEqual(len(edus_of("m.device_list_update", *sent)), 2)

    async def test_of_keys_that_change_often_while_a_server_is_away_the_last_is_told(self) -> None:
        await self.share()
        await self.settle()
        self.cut(self.south)
        for number in range(3):
            keys = device_keys(self.alice.user_id, self.alice.device_id, algorithms=[f"m.{number}"])
            await self.alice.ok("POST", "/keys/upload", {"device_keys": keys})
        sent = self.watch(self.north)
        self.heal()
        await self.settle()
        (update,) = edus_of("m.device_list_update", *sent)
        self.assertEqual(update["keys"]["algorithms"], ["m.2"])
        found = await self.bob.ok("POST", "/keys/query", {"device_keys": {self.alice.user_id: []}})
        self.assertEqual(found["device_keys"][self.alice.user_id][self.alice.device_id]["algorithms"], ["m.2"])

    async def test_new_cross_signing_keys_are_told(self) -> None:
        await self.share()
        await self.settle()
        sent = self.watch(self.north)
        master, own = Signer("master"), Signer("self")
        user_id = self.alice.user_id
        upload = {
            "master_key": cross_signing_key(user_id, "master", master),
            "self_signing_key": cross_signing_key(user_id, "self_signing", own, master),
            "user_signing_key": cross_signing_key(user_id, "user_signing", Signer("user"), master),
        }
        await self.alice.ok("POST", "/keys/device_signing/upload", upload)
        await self.settle()
        (told,) = edus_of("m.signing_key_update", *sent)
        self.assertEqual(told.keys(), {"user_id", "master_key", "self_signing_key"})
        self.assertEqual(told["self_signing_key"], upload["self_signing_key"])
        found = await self.bob.ok("POST", "/keys/query", {"device_keys": {user_id: []}})
        self.assertEqual(found["master_keys"][user_id]["keys"], upload["master_key"]["keys"])
