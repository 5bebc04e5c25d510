"""Sending and redacting: /send and /redact."""

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import ensureDeferred

from federation.versions import ROOM_VERSIONS
from homeserver.policy import Hidden, Redact, SendEvent
from homeserver.rooms.transactions import MOST_REQUESTS
from tests.kit.databases import on_both_databases
from tests.kit.houses import HouseCase, Person

FORBIDDEN = (403, "M_FORBIDDEN")


class SendCase(HouseCase):
    async def room(self, *others: Person, **more: object) -> str:
        room = await self.alice.create(preset="public_chat", **more)
        for person in others:
            await person.join(room)
        return room

    def path(self, room: str, kind: str = "m.room.message", txn: str | None = None) -> str:
        return f"/rooms/{quote(room)}/send/{quote(kind, safe='')}/{quote(txn or self.new_txn(), safe='')}"

    def redact_path(self, room: str, event_id: str, txn: str | None = None) -> str:
        return f"/rooms/{quote(room)}/redact/{quote(event_id, safe='')}/{txn or self.new_txn()}"


@on_both_databases
class Sending(SendCase):
    async def test_a_message_is_read_by_those_in_the_room(self) -> None:
        room = await self.room(self.bob)
        event_id = await self.alice.say(room, "привет")
        found = await self.bob.event(room, event_id)
        self.assertEqual(found["content"], {"msgtype": "m.text", "body": "привет"})
        self.assertEqual(
            (found["sender"], found["room_id"], found["type"]), (self.alice.user_id, room, "m.room.message")
        )
        self.assertEqual(found["origin_server_ts"], self.now_ms())

    async def test_the_same_request_again_is_the_same_event(self) -> None:
        room = await self.room()
        first = await self.alice.say(room, "one", txn="t")
        self.assertEqual(await self.alice.say(room, "one", txn="t"), first)
        self.restart()
        self.assertEqual(await self.alice.say(room, "another body", txn="t"), first)
        self.assertEqual(await self.alice.bodies(room), ["one"])

    async def test_two_equal_requests_at_once_are_one_event(self) -> None:
        room = await self.room()
        path, body = self.path(room, txn="once"), {"body": "x"}
        sending = [ensureDeferred(self.alice.call("PUT", path, body)) for _ in range(5)]
        replies = {(await each).body for each in sending}
        self.assertEqual(len(replies), 1)
        self.assertEqual(await self.alice.bodies(room), ["x"])

    async def test_another_device_path_or_room_makes_it_another_request(self) -> None:
        room, other = await self.room(self.bob), await self.room()
        tablet = self.person("alice", "TABLET")
        sent = [
            await self.alice.say(room, txn="t"),
            await tablet.say(room, txn="t"),
            await self.bob.say(room, txn="t"),
            await self.alice.say(other, txn="t"),
            await self.alice.send(room, "org.other", {}, txn="t"),
            await self.alice.say(room, txn="t/2"),
        ]
        sent.append(await self.alice.redact(room, sent[0], txn="t"))
        sent.append(await self.alice.redact(room, sent[1], txn="t"))
        self.assertEqual(len(set(sent)), len(sent))
        self.restart()
        self.assertEqual(await self.alice.redact(room, sent[0], txn="t"), sent[-2])
        self.assertEqual(await self.alice.redact(room, sent[1], txn="t"), sent[-1])
        self.assertEqual(await self.alice.say(room, txn="t/2"), sent[5])

    async def test_a_refused_request_may_be_tried_again(self) -> None:
        room = await self.alice.create()
        path = self.path(room, txn="t")
        self.assertEqual(await self.bob.refused("PUT", path, {"body": "x"}), FORBIDDEN)
        await self.alice.invite(room, self.bob)
        await self.bob.join(room)
        await self.bob.ok("PUT", path, {"body": "x"})
        self.assertEqual(await self.bob.bodies(room), ["x"])

    async def test_a_request_answered_once_is_answered_so_after_one_has_left(self) -> None:
        room = await self.room(self.bob)
        sent = await self.bob.say(room, txn="t")
        await self.bob.leave(room)
        self.assertEqual(await self.bob.say(room, txn="t"), sent)

    async def test_a_device_remembers_its_last_requests(self) -> None:
        room = await self.room()
        first = await self.alice.say(room, txn="first")
        for number in range(MOST_REQUESTS):
            device = self.doors.sending
            from homeserver.storage.events import Origin

            origin = Origin(self.alice.user_id, self.alice.device_id, f"n{number}")
            await device.send(origin, room, "m.room.message", {"body": str(number)})
        last = await self.alice.say(room, txn="last")
        self.assertEqual(await self.alice.say(room, txn="last"), last)
        self.assertNotEqual(await self.alice.say(room, txn="first"), first)

    async def test_only_the_device_that_sent_it_sees_the_transaction_id(self) -> None:
        room = await self.room(self.bob)
        tablet = self.person("alice", "TABLET")
        event_id = await self.alice.say(room, txn="mine")
        for _ in range(2):
            self.assertEqual((await self.alice.event(room, event_id))["unsigned"]["transaction_id"], "mine")
            for other in (tablet, self.bob):
                self.assertNotIn("transaction_id", (await other.event(room, event_id))["unsigned"])
            self.restart()

    async def test_who_is_not_joined_sends_nothing_and_learns_nothing(self) -> None:
        room = await self.room(self.bob, self.carol)
        await self.bob.leave(room)
        await self.alice.act("ban", room, self.carol)
        await self.alice.invite(room, self.dave)
        position = self.db.position
        for person in (self.bob, self.carol, self.dave):
            for where in (room, "!nowhere", "nonsense"):
                reply = await person.call("PUT", self.path(where), {"body": "x"})
                self.assertEqual((reply.status, reply.json["error"]), (403, Hidden().why))
        self.assertEqual(self.db.position, position)

    async def test_power_is_needed_where_the_room_says_so(self) -> None:
        room = await self.room(self.bob, power_level_content_override={"events": {"org.loud": 50}, "events_default": 0})
        self.assertEqual(await self.bob.refused("PUT", self.path(room, "org.loud"), {}), FORBIDDEN)
        await self.alice.send(room, "org.loud", {})
        await self.bob.send(room, "org.quiet", {})

    async def test_what_cannot_be_an_event_is_refused(self) -> None:
        room = await self.room()
        for content, expected in [
            ([], (400, "M_BAD_JSON")),
            (b"{", (400, "M_NOT_JSON")),
            ({"n": 0.5}, (400, "M_BAD_JSON")),
            ({"n": 2**53}, (400, "M_BAD_JSON")),
            ({"body": "x" * 65_536}, (413, "M_TOO_LARGE")),
        ]:
            self.assertEqual(await self.alice.refused("PUT", self.path(room), content), expected, str(content)[:40])
        self.assertEqual(await self.alice.refused("PUT", self.path(room, "x" * 256), {}), (413, "M_TOO_LARGE"))
        await self.alice.send(room, "m.room.message", {"n": 2**53 - 1, "body": "x" * 60_000})
        await self.alice.send(room, "x" * 255, {})

    async def test_a_nul_in_a_type_or_a_text_is_kept(self) -> None:
        room = await self.room()
        event_id = await self.alice.send(room, "a\0b", {"body": "c\0d"})
        await self.alice.put(room, "a\0b", {"body": "e\0f"}, "g\0h")
        for _ in range(2):
            found = await self.alice.event(room, event_id)
            self.assertEqual((found["type"], found["content"]), ("a\0b", {"body": "c\0d"}))
            self.assertEqual(await self.alice.state(room, "a\0b", "g\0h"), {"body": "e\0f"})
            self.restart()

    async def test_a_membership_is_not_sent_as_a_message(self) -> None:
        room = await self.room(self.bob)
        refused = await self.bob.refused("PUT", self.path(room, "m.room.member"), {"membership": "join"})
        self.assertEqual(refused, (400, "M_BAD_JSON"))
        self.assertEqual(await self.alice.refused("PUT", self.path(room, "m.room.create"), {}), FORBIDDEN)

    async def test_the_policy_is_asked_before_anything_happens(self) -> None:
        room = await self.room()
        self.policy.refuse(SendEvent)
        position = self.db.position
        self.assertEqual(await self.alice.refused("PUT", self.path(room), {"body": "x"}), FORBIDDEN)
        self.assertEqual(self.db.position, position)
        asked = self.policy.asked[-1]
        assert isinstance(asked, SendEvent)
        self.assertEqual((asked.by, asked.room.room_id, asked.type, asked.content), (
            self.alice.user_id, room, "m.room.message", {"body": "x"},
        ))  # fmt: skip


@on_both_databases
class Redacting(SendCase):
    async def test_in_every_version_a_redacted_event_is_pruned_for_all_and_for_good(self) -> None:
        for version in ROOM_VERSIONS:
            room = await self.room(self.bob, room_version=version)
            target = await self.bob.say(room, "shame")
            redaction = await self.alice.redact(room, target, reason="rude")
            for _ in range(2):
                found = await self.bob.event(room, target)
                self.assertEqual(found["content"], {})
                because = found["unsigned"]["redacted_because"]
                self.assertEqual((because["event_id"], because["content"]["reason"]), (redaction, "rude"))
                shown = await self.bob.event(room, redaction)
                self.assertEqual((shown["redacts"], shown["content"]["redacts"]), (target, target))
                self.assertEqual(await self.bob.bodies(room), [""])
                self.restart()
            raw = await self.db.read(lambda txn, t=target: txn.one("SELECT json FROM events WHERE event_id = ?", (t,)))
            assert raw is not None
            self.assertNotIn(b"shame", raw[0])

    async def test_a_redaction_can_be_sent_as_an_event_in_every_version(self) -> None:
        for version in ("1", "10", "11", "12"):
            room = await self.room(self.bob, room_version=version)
            target = await self.bob.say(room, "shame")
            redaction = await self.bob.send(room, "m.room.redaction", {"redacts": target, "reason": "oops"})
            self.assertEqual((await self.alice.event(room, target))["content"], {})
            self.assertEqual((await self.alice.event(room, redaction))["redacts"], target)
        self.assertEqual(
            await self.bob.refused("PUT", self.path(room, "m.room.redaction"), {"reason": "x"}), (400, "M_BAD_JSON")
        )

    async def test_people_redact_their_own_and_moderators_everything(self) -> None:
        for version in ("1", "3", "12"):
            room = await self.room(self.bob, self.carol, room_version=version)
            own, others = await self.bob.say(room), await self.carol.say(room, "mine")
            await self.bob.redact(room, own)
            self.assertEqual(await self.bob.refused("PUT", self.redact_path(room, others), {}), FORBIDDEN)
            as_event = self.path(room, "m.room.redaction")
            self.assertEqual(await self.bob.refused("PUT", as_event, {"redacts": others}), FORBIDDEN)
            self.assertEqual(await self.alice.bodies(room), ["mine", ""])
            await self.alice.redact(room, others)
            self.assertEqual(await self.alice.bodies(room), ["", ""])

    async def test_in_a_room_that_says_so_everybody_redacts_everything(self) -> None:
        room = await self.room(self.bob, self.carol)
        said = await self.carol.say(room)
        levels = await self.alice.state(room, "m.room.power_levels")
        await self.alice.put(room, "m.room.power_levels", {**levels, "redact": 0})
        await self.bob.redact(room, said)
        self.assertEqual(await self.carol.bodies(room), [""])

    async def test_what_is_redacted_stays_so_and_keeps_its_first_reason(self) -> None:
        room = await self.room()
        target = await self.alice.say(room)
        first = await self.alice.redact(room, target)
        await self.alice.redact(room, target)
        for _ in range(2):
            found = await self.alice.event(room, target)
            self.assertEqual(found["unsigned"]["redacted_because"]["event_id"], first)
            self.restart()

    async def test_only_what_one_may_see_in_this_room_can_be_redacted(self) -> None:
        room, other = await self.room(self.bob), await self.room()
        elsewhere = await self.alice.say(other)
        for event_id in (elsewhere, "$nothing", "nonsense"):
            found = await self.alice.refused("PUT", self.redact_path(room, event_id), {})
            self.assertEqual(found, (404, "M_NOT_FOUND"))
        hidden = [{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
        closed = await self.room(initial_state=hidden)
        before = await self.alice.say(closed)
        await self.bob.join(closed)
        self.assertEqual(await self.bob.refused("PUT", self.redact_path(closed, before), {}), (404, "M_NOT_FOUND"))
        self.assertEqual(await self.carol.refused("PUT", self.redact_path(room, elsewhere), {}), FORBIDDEN)

    async def test_redacted_state_stays_state_and_its_rules_stay(self) -> None:
        room = await self.room(self.bob, name="rude name", room_version="10")
        name = await self._state_event(room, "m.room.name")
        levels = await self._state_event(room, "m.room.power_levels")
        await self.alice.redact(room, name["event_id"])
        await self.alice.redact(room, levels["event_id"])
        for _ in range(2):
            self.assertEqual(await self.bob.state(room, "m.room.name"), {})
            kept = await self.bob.state(room, "m.room.power_levels")
            self.assertEqual(kept["users"], {self.alice.user_id: 100})
            self.assertNotIn("invite", kept)
            self.assertEqual(
                await self.bob.refused("PUT", f"/rooms/{room}/state/m.room.name", {"name": "x"}), FORBIDDEN
            )
            self.restart()

    async def test_what_a_redacted_event_said_is_not_told_by_what_replaced_it(self) -> None:
        room = await self.room()
        first = await self.alice.put(room, "m.room.name", {"name": "secret"})
        second = await self.alice.put(room, "m.room.name", {"name": "fine"})
        before = await self.alice.event(room, second)
        self.assertEqual(before["unsigned"]["prev_content"], {"name": "secret"})
        await self.alice.redact(room, first)
        for _ in range(2):
            found = await self.alice.event(room, second)
            self.assertEqual((found["unsigned"]["prev_content"], found["unsigned"]["replaces_state"]), ({}, first))
            self.restart()

    async def test_a_redaction_of_an_event_long_past_is_applied(self) -> None:
        room = await self.room()
        target = await self.alice.say(room, "shame")
        for _ in range(3):
            await self._flood(room, 50)
        await self.alice.redact(room, target)
        self.assertEqual((await self.alice.event(room, target))["content"], {})

    async def test_the_policy_is_asked_with_what_is_to_be_redacted(self) -> None:
        room = await self.room(self.bob)
        target = await self.bob.say(room)
        self.policy.refuse(Redact)
        position = self.db.position
        self.assertEqual(await self.alice.refused("PUT", self.redact_path(room, target), {}), FORBIDDEN)
        content = {"redacts": target}
        self.assertEqual(await self.alice.refused("PUT", self.path(room, "m.room.redaction"), content), FORBIDDEN)
        self.assertEqual(self.db.position, position)
        for asked in self.policy.asked[-2:]:
            assert isinstance(asked, Redact)
            assert asked.target is not None
            self.assertEqual((asked.event_id, asked.target.sender), (target, self.bob.user_id))

    async def test_a_bad_body_is_refused(self) -> None:
        room = await self.room()
        target = await self.alice.say(room)
        self.assertEqual(
            await self.alice.refused("PUT", self.redact_path(room, target), {"reason": 7}), (400, "M_BAD_JSON")
        )
        await self.alice.ok("PUT", self.redact_path(room, target))

    async def _flood(self, room: str, number: int) -> None:
        sending = [ensureDeferred(self.alice.call("PUT", self.path(room), {"body": "x"})) for _ in range(number)]
        for each in sending:
            self.assertEqual((await each).status, 200)

    async def _state_event(self, room: str, kind: str) -> Any:
        return await self.alice.ok("GET", f"/rooms/{quote(room)}/state/{kind}", format="event")
