"""Delayed events: scheduled, changed, sent by the server, and never sent for whom may not."""

from typing import Any
from urllib.parse import quote

from twisted.internet.task import deferLater

from homeserver.schools.rights import Kind
from tests.kit.databases import reactor_in_use
from tests.kit.district import OFFICE, DistrictCase
from tests.kit.people import Person
from tests.kit.server import ServerCase

API = "/_matrix/client/unstable/org.matrix.msc4140"
LONG = 60_000
HELLO = {"msgtype": "m.text", "body": "later"}


class DelayCase(ServerCase):
    """Short words for what is done with delays."""

    configuration = {"delayed_events": {"max_delay_ms": 600_000, "max_scheduled": 3}}

    async def begin(self) -> None:
        await super().begin()
        self.delayed = self.server.rooms.delayed

    async def schedule(self, person: Person, room: str, delay_ms: int = LONG, **fields: Any) -> str:
        """Schedule a message, or what `fields` say; the delay ID."""
        txn = fields.pop("txn", f"d{id(fields)}{delay_ms}")
        kind = fields.pop("kind", "m.room.message")
        path = f"{API}/rooms/{quote(room)}/delayed_event/{kind}/{txn}"
        got = await person.ok("PUT", path, {"delay_ms": delay_ms, "content": HELLO, **fields})
        self.assertEqual(list(got), ["delay_id"])
        delay_id: str = got["delay_id"]
        return delay_id

    async def see(self, person: Person, delay_id: str) -> Any:
        return await person.ok("GET", f"{API}/delayed_events/{delay_id}")

    async def until_final(self, person: Person, delay_id: str) -> Any:
        """What became of a delayed event, as soon as it is known."""
        for _ in range(1_000):
            seen = await self.see(person, delay_id)
            if "finalised_ts" in seen:
                return seen
            await deferLater(reactor_in_use(), 0.005)
        raise AssertionError("it is still scheduled")

    async def let_pass(self) -> None:
        """Make everything that is scheduled due now, as if its time had come."""
        now_ms = self.server.core.world.now_ms()
        await self.server.core.database.write(
            lambda txn: txn.run("UPDATE delayed_events SET due_ms = ? WHERE due_ms IS NOT NULL", (now_ms,))
        )


class Scheduling(DelayCase):
    async def test_a_message_is_sent_when_its_time_has_come_and_its_sender_is_told_which_it_was(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        delay_id = await self.schedule(alice, room, 30)
        seen = await self.until_final(alice, delay_id)
        self.assertEqual((seen["content"], seen["delay_ms"], seen["type"]), (HELLO, 30, "m.room.message"))
        self.assertGreaterEqual(seen["finalised_ts"], seen["scheduled_at"] + 30)
        path = f"/rooms/{quote(room)}/event/{quote(seen['event_id'])}"
        event = await alice.ok("GET", path)
        self.assertEqual(event["content"], HELLO)
        self.assertEqual(event["unsigned"]["org.matrix.msc4140.delay_id"], delay_id)
        self.assertNotIn("transaction_id", event["unsigned"])
        self.assertNotIn("org.matrix.msc4140.delay_id", (await bob.ok("GET", path))["unsigned"])
        timeline = (await alice.sync())["rooms"]["join"][room]["timeline"]["events"]
        self.assertEqual(timeline[-1]["unsigned"]["org.matrix.msc4140.delay_id"], delay_id)

    async def test_what_is_scheduled_is_listed_for_its_sender_alone_the_next_first(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        late = await self.schedule(alice, room, LONG * 2)
        soon = await self.schedule(alice, room, LONG, kind="m.room.topic", state_key="", content={"topic": "x"})
        listed = (await alice.ok("GET", f"{API}/delayed_events"))["delayed_events"]
        self.assertEqual([each["delay_id"] for each in listed], [soon, late])
        self.assertEqual(listed[0]["state_key"], "")
        self.assertEqual({*listed[1]}, {"delay_id", "room_id", "type", "delay_ms", "scheduled_at", "content"})
        self.assertEqual(await bob.ok("GET", f"{API}/delayed_events"), {"delayed_events": []})
        self.assertEqual(await bob.refused("GET", f"{API}/delayed_events/{late}"), (404, "M_NOT_FOUND"))
        for action in ("send", "cancel", "restart"):
            refused = await bob.refused("POST", f"{API}/delayed_events/{late}/{action}", {})
            self.assertEqual(refused, (404, "M_NOT_FOUND"))
            self.assertEqual(
                await alice.refused("POST", f"{API}/delayed_events/none/{action}", {}), (404, "M_NOT_FOUND")
            )

    async def test_a_repeated_request_schedules_once(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        first = await self.schedule(alice, room, txn="same")
        self.assertEqual(await self.schedule(alice, room, txn="same"), first)
        await self.restart()
        self.assertEqual(await self.schedule(alice, room, txn="same"), first)
        self.assertNotEqual(await self.schedule(alice, room, txn="other"), first)

    async def test_requests_to_send_take_a_delay_too(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        delay = {"org.matrix.msc4140.delay": 25}
        got = await alice.ok("PUT", f"/rooms/{quote(room)}/send/m.room.message/t1", HELLO, **delay)
        self.assertEqual(await alice.ok("PUT", f"/rooms/{quote(room)}/send/m.room.message/t1", HELLO, **delay), got)
        seen = await self.until_final(alice, got["delay_id"])
        self.assertEqual(await alice.texts(room), ["later"])
        got = await alice.ok("PUT", f"/rooms/{quote(room)}/state/m.room.topic", {"topic": "x"}, **delay)
        seen = await self.until_final(alice, got["delay_id"])
        event = await alice.ok("GET", f"/rooms/{quote(room)}/event/{quote(seen['event_id'])}")
        self.assertEqual((event["type"], event["state_key"], event["content"]), ("m.room.topic", "", {"topic": "x"}))
        self.assertEqual(event["unsigned"]["org.matrix.msc4140.delay_id"], got["delay_id"])

    async def test_bounds_hold_and_clients_learn_of_them(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room()
        bounds = (await alice.ok("GET", "/capabilities"))["capabilities"]["org.matrix.msc4140.delayed_events"]
        self.assertEqual(bounds, {"max_delay_ms": 600_000, "max_scheduled": 3})
        path = f"{API}/rooms/{quote(room)}/delayed_event/m.room.message/x"
        refused = await alice.refused("PUT", path, {"delay_ms": 600_001, "content": {}})
        self.assertEqual(refused, (403, "M_FORBIDDEN"))
        old = f"/rooms/{quote(room)}/send/m.room.message/x"
        reply = await alice.call("PUT", old, HELLO, **{"org.matrix.msc4140.delay": 600_001})
        self.assertEqual((reply.status, reply.errcode), (400, "M_UNKNOWN"))
        self.assertEqual(reply.json["org.matrix.msc4140.errcode"], "M_MAX_DELAY_EXCEEDED")
        self.assertEqual(reply.json["org.matrix.msc4140.max_delay"], 600_000)
        for delay_ms in (0, -5):
            refused = await alice.refused("PUT", path, {"delay_ms": delay_ms, "content": {}})
            self.assertEqual(refused, (400, "M_INVALID_PARAM"))
        for delay_ms in (LONG, LONG * 2, LONG * 3):
            await self.schedule(alice, room, delay_ms, txn=str(delay_ms))
        reply = await alice.call("PUT", path, {"delay_ms": LONG, "content": {}})
        self.assertEqual((reply.status, reply.errcode), (429, "M_LIMIT_EXCEEDED"))
        self.assertTrue(LONG - 10_000 < reply.json["retry_after_ms"] <= LONG + 1)
        self.assertIn(reply.headers["retry-after"], ("59", "60"))
        self.assertEqual(await bob.refused("PUT", path, {"delay_ms": LONG, "content": {}}), (403, "M_FORBIDDEN"))

    async def test_with_no_place_for_any_nothing_is_scheduled(self) -> None:
        self.configuration = {"delayed_events": {"max_scheduled": 0}}
        self.settings = self.build_settings()
        await self.restart()
        alice = await self.register("alice")
        room = await alice.create_room()
        path = f"{API}/rooms/{quote(room)}/delayed_event/m.room.message/x"
        self.assertEqual(await alice.refused("PUT", path, {"delay_ms": 5, "content": {}}), (403, "M_FORBIDDEN"))


class Changing(DelayCase):
    async def test_one_is_sent_at_once_and_then_cannot_be_taken_back(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        delay_id = await self.schedule(alice, room)
        for _ in range(2):
            self.assertEqual(await alice.ok("POST", f"{API}/delayed_events/{delay_id}/send", {}), {})
        self.assertEqual(await alice.texts(room), ["later"])
        for action in ("cancel", "restart"):
            refused = await alice.refused("POST", f"{API}/delayed_events/{delay_id}/{action}")
            self.assertEqual(refused, (409, "M_UNKNOWN"))

    async def test_one_is_cancelled_and_then_never_sent(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        delay_id = await self.schedule(alice, room)
        for _ in range(2):
            self.assertEqual(await alice.ok("POST", f"{API}/delayed_events/{delay_id}/cancel"), {})
        for action in ("send", "restart"):
            refused = await alice.refused("POST", f"{API}/delayed_events/{delay_id}/{action}", {})
            self.assertEqual(refused, (409, "M_UNKNOWN"))
        seen = await self.see(alice, delay_id)
        self.assertIn("finalised_ts", seen)
        self.assertFalse({"event_id", "error"} & {*seen})
        await self.let_pass()
        await self.restart()
        later = await self.schedule(alice, room, 20)
        await self.until_final(alice, later)
        self.assertEqual(await alice.texts(room), ["later"])

    async def test_a_restarted_delay_begins_anew(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        delay_id = await self.schedule(alice, room)
        before = await self.see(alice, delay_id)
        self.assertEqual(await alice.ok("POST", f"{API}/delayed_events/{delay_id}", {"action": "restart"}), {})
        after = await self.see(alice, delay_id)
        self.assertGreaterEqual(after["scheduled_at"], before["scheduled_at"])
        self.assertNotIn("finalised_ts", after)
        refused = await alice.refused("POST", f"{API}/delayed_events/{delay_id}", {"action": "dance"})
        self.assertEqual(refused, (400, "M_BAD_JSON"))
        await alice.ok("POST", f"{API}/delayed_events/{delay_id}", {"action": "cancel"})

    async def test_nobody_unnamed_changes_one(self) -> None:
        alice = await self.register("alice")
        delay_id = await self.schedule(alice, await alice.create_room())
        for action in ("send", "cancel", "restart"):
            reply = await self.call("POST", f"{API}/delayed_events/{delay_id}/{action}", {})
            self.assertEqual((reply.status, reply.errcode), (401, "M_MISSING_TOKEN"))

    async def test_a_redaction_may_wait(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        said = await alice.send(room, "not for long")
        delay_id = await self.schedule(alice, room, 20, kind="m.room.redaction", content={"redacts": said})
        await self.until_final(alice, delay_id)
        event = await alice.ok("GET", f"/rooms/{quote(room)}/event/{quote(said)}")
        self.assertEqual(event["content"], {})

    async def test_a_departure_may_wait(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        leave = {"kind": "m.room.member", "state_key": bob.user_id, "content": {"membership": "leave"}}
        seen = await self.until_final(bob, await self.schedule(bob, room, 20, **leave))
        event = await alice.ok("GET", f"/rooms/{quote(room)}/event/{quote(seen['event_id'])}")
        self.assertEqual(event["content"]["membership"], "leave")


class Refusing(DelayCase):
    async def test_who_may_not_send_at_once_keeps_it_scheduled_and_in_the_end_learns_why(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        delay_id = await self.schedule(bob, room)
        await alice.ok("POST", f"/rooms/{quote(room)}/kick", {"user_id": bob.user_id})
        refused = await bob.refused("POST", f"{API}/delayed_events/{delay_id}/send", {})
        self.assertEqual(refused, (403, "M_FORBIDDEN"))
        self.assertNotIn("finalised_ts", await self.see(bob, delay_id))
        await self.let_pass()
        await self.restart()
        seen = await self.until_final(bob, delay_id)
        self.assertEqual(seen["error"]["errcode"], "M_FORBIDDEN")
        self.assertNotIn("event_id", seen)
        self.assertEqual(await alice.texts(room), [])
        await alice.invite(room, bob)
        await bob.join(room)
        self.assertEqual(await bob.ok("POST", f"{API}/delayed_events/{delay_id}/cancel"), {})

    async def test_power_is_looked_at_when_it_is_sent(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        topic = {"kind": "m.room.topic", "state_key": "", "content": {"topic": "bob's"}}
        seen = await self.until_final(bob, await self.schedule(bob, room, 15, **topic))
        self.assertEqual(seen["error"]["errcode"], "M_FORBIDDEN")

    async def test_a_closed_account_sends_nothing(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        await self.schedule(bob, room)
        await self.server.people.accounts.deactivate(bob.user_id, erase=False)  # type: ignore[arg-type]
        left = await self.server.core.database.read(lambda txn: txn.all("SELECT 1 FROM delayed_events"))
        self.assertEqual(left, [])

    async def test_a_suspended_account_sends_nothing(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        delay_id = await self.schedule(bob, room)
        await self.server.core.database.write(
            lambda txn: txn.run("UPDATE users SET suspended_ms = 1 WHERE user_id = ?", (bob.user_id,))
        )
        await self.let_pass()
        await self.restart()
        self.assertEqual((await self.until_final(bob, delay_id))["error"]["errcode"], "M_FORBIDDEN")
        path = f"{API}/rooms/{quote(room)}/delayed_event/m.room.message/x"
        self.assertEqual(await bob.refused("PUT", path, {"delay_ms": 5, "content": {}}), (403, "M_USER_SUSPENDED"))


class Lasting(DelayCase):
    async def test_what_fell_due_while_the_server_was_down_is_sent_at_the_start_in_order(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        ids = [
            await self.schedule(alice, room, LONG + number, txn=str(number), content={**HELLO, "body": str(number)})
            for number in (3, 1, 2)
        ]
        await self.server.stop()
        place = self.place.open()
        await place.write(lambda txn: txn.run("UPDATE delayed_events SET due_ms = delay_ms"))
        await place.close()
        await self.begin()
        for delay_id in ids:
            await self.until_final(alice, delay_id)
        self.assertEqual(await alice.texts(room), ["3", "2", "1"])

    async def test_one_that_was_sent_but_not_noted_so_is_not_sent_again(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        topic = {"kind": "m.room.topic", "state_key": "", "content": {"topic": "x"}, "txn": "topic"}
        ids = [await self.schedule(alice, room), await self.schedule(alice, room, LONG, **topic)]
        for delay_id in ids:
            await alice.ok("POST", f"{API}/delayed_events/{delay_id}/send", {})
        first = [(await self.see(alice, delay_id))["event_id"] for delay_id in ids]
        await alice.set_state(room, "m.room.topic", {"topic": "y"})
        await self.server.stop()
        place = self.place.open()
        await place.write(lambda txn: txn.run("UPDATE delayed_events SET due_ms = 1, event_id = NULL"))
        await place.close()
        await self.begin()
        for delay_id, event_id in zip(ids, first, strict=True):
            seen = {}
            for _ in range(1_000):
                seen = await self.see(alice, delay_id)
                if "event_id" in seen:
                    break
                await deferLater(reactor_in_use(), 0.005)
            self.assertEqual(seen["event_id"], event_id)
        self.assertEqual(await alice.texts(room), ["later"])
        self.assertEqual((await alice.ok("GET", f"/rooms/{quote(room)}/state/m.room.topic"))["topic"], "y")


class AtSchool(DistrictCase):
    """Whoever schedules is judged then, and again when it would be sent."""

    async def test_what_a_dismissed_teacher_has_scheduled_is_never_sent(self) -> None:
        teacher, office = await self.sign_in("teacher1"), await self.sign_in("admin1")
        room = await self.room(Kind.PUPILS, "9Б")
        path = f"{API}/rooms/{quote(room)}/delayed_event/m.room.message"
        ids = [
            (await teacher.ok("PUT", f"{path}/{number}", {"delay_ms": LONG, "content": HELLO}))["delay_id"]
            for number in range(2)
        ]
        await teacher.ok("POST", f"{API}/delayed_events/{ids[0]}/send")
        await office.ok("POST", f"{OFFICE}/{self.org_id}/people/{teacher.user_id}/dismiss")
        teacher = await self.sign_in("teacher1")
        refused = await teacher.refused("POST", f"{API}/delayed_events/{ids[1]}/send")
        self.assertEqual(refused, (403, "M_FORBIDDEN"))
        await self.server.core.database.write(lambda txn: txn.run("UPDATE delayed_events SET due_ms = 1"))
        await self.restart()
        for _ in range(1_000):
            seen = await teacher.ok("GET", f"{API}/delayed_events/{ids[1]}")
            if "finalised_ts" in seen:
                break
            await deferLater(reactor_in_use(), 0.005)
        self.assertEqual((seen["error"]["errcode"], "event_id" in seen), ("M_FORBIDDEN", False))
        pupil = await self.sign_in("pupil3")
        self.assertEqual((await pupil.texts(room)).count("later"), 1)
        refused = await teacher.refused("PUT", f"{path}/9", {"delay_ms": LONG, "content": HELLO})
        self.assertEqual(refused, (403, "M_FORBIDDEN"))

    async def test_nobody_schedules_what_they_may_not_do_now(self) -> None:
        pupil, parent = await self.sign_in("pupil3"), await self.sign_in("parent3")
        room = await self.room(Kind.PUPILS, "9Б")
        path = f"{API}/rooms/{quote(room)}/delayed_event"
        wanted = {"delay_ms": LONG, "content": {"name": "x"}}
        state = {**wanted, "state_key": ""}
        self.assertEqual(await pupil.refused("PUT", f"{path}/m.room.name/1", state), (403, "M_FORBIDDEN"))
        leave = {**wanted, "state_key": pupil.user_id, "content": {"membership": "leave"}}
        self.assertEqual(await pupil.refused("PUT", f"{path}/m.room.member/2", leave), (403, "M_FORBIDDEN"))
        self.assertEqual(await parent.refused("PUT", f"{path}/m.room.message/3", wanted), (403, "M_FORBIDDEN"))


class SchedulingOnPostgreSQL(Scheduling):
    dialect = "postgresql"


class ChangingOnPostgreSQL(Changing):
    dialect = "postgresql"


class LastingOnPostgreSQL(Lasting):
    dialect = "postgresql"
