"""What application services are told: of which rooms, in which order, once; and again when they were away."""

from typing import Any

from homeserver.outbox.services import line, packing
from homeserver.storage.database import Txn
from tests.kit.appservices import REGISTRATION, Bridge, ServiceCase
from tests.kit.people import Person


class Told(ServiceCase):
    async def bridged_room(self, *others: Person) -> tuple[Person, Person, str]:
        """Somebody's public room with one of the service's people in it."""
        alice, anna = await self.register("alice"), await self.ghost("anna")
        room = await alice.create_room(preset="public_chat", name="Физика")
        for person in (anna, *others):
            await person.join(room)
        return alice, anna, room

    async def test_it_is_told_of_rooms_where_its_people_are_in_order_and_once(self) -> None:
        alice, anna, room = await self.bridged_room()
        sent = [await alice.send(room, f"{number}") for number in range(250)]
        await self.until(lambda: len(self.bridge.bodies()) == 250)
        self.assertEqual([e["event_id"] for e in self.bridge.events() if e["type"] == "m.room.message"], sent)
        self.assertEqual(len({txn for txn, _ in self.bridge.told}), len(self.bridge.told))
        self.assertTrue(all(len(body["events"]) <= 100 for _, body in self.bridge.told))
        first = self.bridge.events()[0]
        self.assertEqual((first["type"], first["state_key"]), ("m.room.member", anna.user_id))
        self.assertEqual(first["room_id"], room)

    async def test_it_is_told_nothing_of_other_rooms(self) -> None:
        alice, anna, room = await self.bridged_room()
        other = await alice.create_room()
        await alice.send(other, "not for you")
        await alice.send(room, "for you")
        await self.until(lambda: self.bridge.bodies() == ["for you"])
        self.assertEqual({event["room_id"] for event in self.bridge.events()}, {room})

    async def test_it_is_told_that_its_people_are_invited_and_put_out_and_then_no_more(self) -> None:
        alice, anna, room = await self.bridged_room()
        closed = await alice.create_room()
        await alice.invite(closed, anna)
        await alice.send(closed, "she cannot read this")
        await alice.ok("POST", f"/rooms/{room}/kick", {"user_id": anna.user_id})
        await alice.send(room, "nor this")
        marker = await alice.create_room(invite=[anna.user_id])
        await self.until(lambda: any(e["room_id"] == marker for e in self.bridge.events()))
        told = [(e["room_id"], e["content"].get("membership")) for e in self.bridge.events()]
        self.assertEqual(told, [(room, "join"), (closed, "invite"), (room, "leave"), (marker, "invite")])

    async def test_it_is_told_what_a_state_event_replaced(self) -> None:
        alice, _, room = await self.bridged_room()
        await alice.set_state(room, "m.room.name", {"name": "Химия"})
        await self.until(lambda: [event["type"] for event in self.bridge.events()][-1:] == ["m.room.name"])
        self.assertEqual(self.bridge.events()[-1]["unsigned"]["prev_content"], {"name": "Физика"})

    async def test_a_transaction_that_was_not_taken_comes_again_as_it_was(self) -> None:
        alice, _, room = await self.bridged_room()
        await self.settle()
        self.bridge.told.clear()
        self.bridge.status = 500
        await alice.send(room, "one")
        await self.until(lambda: len(self.bridge.told) == 1)
        await alice.send(room, "two")
        self.bridge.status = 200
        await self.until(lambda: self.bridge.bodies() == ["one", "two"])
        self.assertEqual(self.bridge.told[0], self.bridge.told[1])
        self.assertNotEqual(self.bridge.told[1][0], self.bridge.told[-1][0])

    async def test_who_was_away_is_told_everything_in_order(self) -> None:
        self.patch(line, "MOST_HELD", 10)
        self.patch(line, "FIRST_DELAY_S", 0.05)
        self.patch(packing, "PAGE", 7)
        alice, _, room = await self.bridged_room()
        await self.settle()
        port = await self.bridge.close()
        other = await alice.create_room()
        for number in range(40):
            await alice.send(room, f"{number}")
            await alice.send(other, "not for you")
        self.bridge.open(port)
        await alice.send(room, "40")
        await self.until(lambda: len(self.bridge.bodies()) == 41)
        self.assertEqual(self.bridge.bodies(), [f"{number}" for number in range(41)])

    async def test_a_restart_goes_on_where_it_was(self) -> None:
        alice, _, room = await self.bridged_room()
        await alice.send(room, "before")
        await self.until(lambda: self.bridge.bodies() == ["before"])
        await self.restart()
        await alice.send(room, "after")
        await self.until(lambda: self.bridge.bodies() == ["before", "after"])
        events = [event["event_id"] for _, body in self.bridge.told for event in body["events"]]
        self.assertEqual(len(events), len(set(events)))

    async def test_a_restart_repeats_what_was_under_way_and_tells_the_rest(self) -> None:
        alice, anna, room = await self.bridged_room()
        await self.settle()
        self.bridge.status = 500
        self.bridge.told.clear()
        await alice.send(room, "one")
        await self.until(lambda: len(self.bridge.told) >= 1)
        await alice.send(room, "two")
        await self.restart()
        await anna.leave(room)
        self.bridge.status = 200
        await self.until(lambda: any(e["content"].get("membership") == "leave" for e in self.bridge.events()))
        self.assertEqual(self.bridge.bodies(), ["one", "two"])
        first = self.bridge.told[0]
        self.assertTrue(all(body == first[1] for txn, body in self.bridge.told if txn == first[0]))

    async def test_what_its_people_could_not_read_while_they_were_out_is_not_told_after_a_restart(self) -> None:
        alice, anna, room = await self.bridged_room()
        await self.settle()
        port = await self.bridge.close()
        await alice.send(room, "in")
        await anna.leave(room)
        await alice.send(room, "out")
        await anna.join(room)
        await alice.send(room, "in again")
        await self.restart()
        self.bridge.open(port)
        await self.until(lambda: "in again" in self.bridge.bodies())
        self.assertEqual(self.bridge.bodies(), ["in", "in again"])

    async def test_only_what_is_stored_is_repeated(self) -> None:
        """A process that dies between a send and its commit has sent what it sends again."""
        alice, _, room = await self.bridged_room()
        await self.settle()
        self.bridge.is_slow = True
        self.bridge.told.clear()
        await alice.send(room, "one")
        await self.until(lambda: len(self.bridge.told) == 1)
        stored = await self.server.core.database.read(_read_line)
        self.assertEqual(str(stored[0]), self.bridge.told[0][0])
        self.assertIn("one", bytes(stored[1]).decode())


def _read_line(txn: Txn) -> Any:
    return txn.one("SELECT number, body FROM service_lines")


class ToldOnPostgreSQL(Told):
    dialect = "postgresql"


class Named(ServiceCase):
    registration = {
        "namespaces": {
            "users": [],
            "aliases": [{"exclusive": False, "regex": "#bridged-.*"}],
            "rooms": [{"exclusive": False, "regex": "!.*"}],
        }
    }

    async def test_a_rooms_id_may_be_enough(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        await alice.send(room, "hi")
        await self.until(lambda: self.bridge.bodies() == ["hi"])
        self.assertEqual(self.bridge.events()[0]["type"], "m.room.create")


class Aliased(ServiceCase):
    registration = {"namespaces": {"users": [], "aliases": [{"exclusive": False, "regex": "#bridged-.*"}], "rooms": []}}

    async def test_an_alias_makes_a_room_the_services_and_its_end_ends_that(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        place = "/directory/room/%23bridged-x:parta.test"
        await alice.send(room, "before")
        await alice.ok("PUT", place, {"room_id": room})
        await alice.send(room, "while")
        await self.until(lambda: self.bridge.bodies() == ["while"])
        await alice.ok("DELETE", place)
        await alice.send(room, "after")
        await self.settle()
        self.assertEqual(self.bridge.bodies(), ["while"])


class Two(ServiceCase):
    configuration = {"application_services": [None, {"registration": "xmpp.yaml"}]}

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.other = Bridge("hs2")
        self.other_url = self.other.open()
        self.addCleanup(lambda: self.other.close())
        await super().setUp()

    def build_settings(self) -> Any:
        registration = {**REGISTRATION, "id": "xmpp", "as_token": "as2", "sender_localpart": "_xmpp_bot"}
        namespaces = {"users": [{"exclusive": True, "regex": "@_xmpp_.*"}]}
        self.write_registration(
            "xmpp.yaml", {**registration, "hs_token": "hs2", "url": self.other_url, "namespaces": namespaces}
        )
        return super().build_settings()

    async def test_one_that_does_not_answer_holds_up_nobody(self) -> None:
        alice, anna = await self.register("alice"), await self.ghost("anna")
        xmpp = self.service("_xmpp_bot", token="as2")
        room = await alice.create_room(preset="public_chat")
        self.bridge.is_slow = True
        await anna.join(room)
        await xmpp.join(room)
        await self.until(lambda: len(self.bridge.held) == 1)
        said = [f"{number}" for number in range(5)]
        for text in said:
            await alice.send(room, text)
        await self.until(lambda: self.other.bodies() == said)
        self.assertEqual((len(self.bridge.held), self.bridge.bodies()), (1, []))


class Fleeting(ServiceCase):
    registration = {"receive_ephemeral": True}

    async def test_it_hears_typing_receipts_and_presence_of_its_rooms_only(self) -> None:
        alice, anna = await self.register("alice"), await self.ghost("anna")
        room, other = await alice.create_room(preset="public_chat"), await alice.create_room()
        await anna.join(room)
        for place in (other, room):
            event_id = await alice.send(place, "hi")
            await alice.ok("PUT", f"/rooms/{place}/typing/{alice.user_id}", {"typing": True})
            await alice.ok("POST", f"/rooms/{place}/receipt/m.read.private/{event_id}", {})
            await alice.ok("POST", f"/rooms/{place}/receipt/m.read/{event_id}", {"thread_id": "main"})
        await alice.sync()
        await self.until(lambda: all(any(self.bridge.ephemeral(k)) for k in ("m.typing", "m.receipt", "m.presence")))
        await self.settle()
        typing = next(self.bridge.ephemeral("m.typing"))
        expected = {"type": "m.typing", "room_id": room, "content": {"user_ids": [alice.user_id]}}
        self.assertEqual(typing, expected)
        receipts = list(self.bridge.ephemeral("m.receipt"))
        self.assertEqual([receipt["room_id"] for receipt in receipts], [room])
        read = receipts[0]["content"][event_id]
        self.assertEqual((list(read), read["m.read"][alice.user_id]["thread_id"]), (["m.read"], "main"))
        self.assertEqual({each["sender"] for each in self.bridge.ephemeral("m.presence")}, {alice.user_id})

    async def test_private_receipts_are_for_whose_they_are(self) -> None:
        anna = await self.ghost("anna")
        room = await anna.create_room()
        event_id = await anna.send(room, "hi")
        await anna.ok("POST", f"/rooms/{room}/receipt/m.read.private/{event_id}", {})
        await self.until(lambda: any(self.bridge.ephemeral("m.receipt")))
        self.assertIn("m.read.private", next(self.bridge.ephemeral("m.receipt"))["content"][event_id])


class Quiet(ServiceCase):
    async def test_who_did_not_ask_for_it_hears_nothing_fleeting(self) -> None:
        anna = await self.ghost("anna")
        room = await anna.create_room()
        await anna.ok("PUT", f"/rooms/{room}/typing/{anna.user_id}", {"typing": True})
        await anna.send(room, "hi")
        await self.until(lambda: self.bridge.bodies() == ["hi"])
        self.assertTrue(all(set(body) == {"events"} for _, body in self.bridge.told))


class Encrypting(ServiceCase):
    registration = {"org.matrix.msc3202": True, "de.sorunome.msc2409.push_ephemeral": True}

    async def test_messages_for_its_devices_come_once_and_keys_are_counted(self) -> None:
        alice, anna = await self.register("alice"), await self.ghost("anna")
        await anna.call("PUT", "/devices/D1", {})
        phone = self.service("_irc_anna", "D1")
        keys = {"algorithms": [], "keys": {"ed25519:D1": "x"}, "signatures": {}}
        await phone.ok(
            "POST",
            "/keys/upload",
            {
                "device_keys": {"user_id": anna.user_id, "device_id": "D1", **keys},
                "one_time_keys": {"signed_curve25519:A": {"key": "a"}},
            },
        )
        room = await anna.create_room(preset="public_chat")
        await alice.join(room)
        messages = {"messages": {anna.user_id: {"D1": {"n": 1}}}}
        await alice.ok("PUT", "/sendToDevice/org.x/t1", messages)
        named = {"user_id": alice.user_id, "device_id": alice.device_id, "algorithms": [], "signatures": {},
                 "keys": {f"ed25519:{alice.device_id}": "y"}}  # fmt: skip
        await alice.ok("POST", "/keys/upload", {"device_keys": named})
        await self.until(lambda: any("de.sorunome.msc2409.to_device" in body for _, body in self.bridge.told))
        await self.until(lambda: alice.user_id in self.changed())
        mail = [each for _, body in self.bridge.told for each in body.get("de.sorunome.msc2409.to_device", ())]
        told = {"type": "org.x", "sender": alice.user_id, "content": {"n": 1}}
        self.assertEqual(mail, [{**told, "to_user_id": anna.user_id, "to_device_id": "D1"}])
        self.assertEqual((await phone.sync()).get("to_device", {"events": []})["events"], [])
        counts = [body["org.matrix.msc3202.device_one_time_keys_count"] for _, body in self.bridge.told
                  if "org.matrix.msc3202.device_one_time_keys_count" in body]  # fmt: skip
        self.assertEqual(counts[-1], {anna.user_id: {"D1": {"signed_curve25519": 1}}})

    def changed(self) -> set[str]:
        lists = (body.get("org.matrix.msc3202.device_lists", {}) for _, body in self.bridge.told)
        return {user_id for each in lists for user_id in each.get("changed", ())}


class EncryptingOnPostgreSQL(Encrypting):
    dialect = "postgresql"


class FleetingOnPostgreSQL(Fleeting):
    dialect = "postgresql"
