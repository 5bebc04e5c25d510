"""Redactions of other servers: before their target, after it, and without the power for it."""

from typing import Any

from federation.event import Event
from federation.ids import UserID
from homeserver.storage.changes import EventAdded
from homeserver.storage.events import find_event
from tests.kit.databases import on_both_databases
from tests.kit.receiving import ReceivingCase
from tests.kit.rooms import ALICE, BOB, CAROL


@on_both_databases
class Redacting(ReceivingCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.adopt()

    def redaction(self, sender: UserID, target: Event, **more: Any) -> Event:
        """A redaction by somebody, where the version of the room wants its target."""
        if self.factory.version.redacts_in_content:
            return self.factory.send("m.room.redaction", {"redacts": target.event_id}, sender=sender, **more)
        return self.factory.send("m.room.redaction", {}, sender=sender, redacts=target.event_id, **more)

    async def body(self, event: Event) -> object:
        """What is left of a message, in memory and in storage alike."""
        room = await self.room()
        stored = await self.db.read(find_event, room.record, event.event_id)
        assert stored is not None
        held = room.find_recent(event.event_id)
        if held is not None:
            self.assertEqual(held.event.content, stored.event.content)
            self.assertEqual(held.redacted_because is None, stored.redacted_because is None)
        return stored.event.content.get("body")

    async def test_a_redaction_takes_effect_in_every_kind_of_version(self) -> None:
        for version in ("2", "6", "10", "11", "12"):
            self.begin(version, creator=UserID(f"@alice:one{version}.example"))
            await self.adopt()
            message = self.factory.message(BOB, "gone")
            redaction = self.redaction(BOB, message)
            self.assertEqual(await self.receive(message, redaction), {})
            self.assertIsNone(await self.body(message))
            self.assertEqual((await self.shown())[-1], redaction.event_id)
            await self.assert_as_stored()

    async def test_who_has_no_power_redacts_nothing_and_it_is_not_shown(self) -> None:
        message = self.factory.message(BOB, "stays")
        redaction = self.redaction(CAROL, message)
        self.assertEqual(await self.receive(message, redaction), {})
        self.assertEqual(await self.body(message), "stays")
        self.assertNotIn(redaction.event_id, await self.shown())
        await self.assert_as_stored()
        following = self.factory.message(BOB)
        self.assertEqual(await self.receive(following), {})
        self.assertEqual((await self.shown())[-1], following.event_id)
        await self.assert_as_stored()

    async def test_a_redaction_that_comes_first_waits_for_its_target(self) -> None:
        before = self.factory.head
        message = self.factory.message(BOB, "gone", after=before)
        redaction = self.redaction(ALICE, message, after=before)
        self.assertEqual(await self.receive(redaction), {})
        self.assertNotIn(redaction.event_id, await self.shown())
        await self.assert_as_stored()
        self.restart()
        self.told.clear()
        self.assertEqual(await self.receive(message), {})
        self.assertIsNone(await self.body(message))
        self.assertEqual((await self.shown())[-2:], [message.event_id, redaction.event_id])
        await self.db.write(lambda txn: None)
        told = [change.event for change in self.told if isinstance(change, EventAdded)]
        self.assertEqual([held.event_id for held in told], [message.event_id, redaction.event_id])
        self.assertIsNone(told[0].event.content.get("body"))
        await self.assert_as_stored()

    async def test_a_redaction_without_power_that_comes_first_does_nothing(self) -> None:
        before = self.factory.head
        message = self.factory.message(BOB, "stays", after=before)
        redaction = self.redaction(CAROL, message, after=before)
        self.assertEqual(await self.receive(redaction), {})
        self.assertEqual(await self.receive(message), {})
        self.assertEqual(await self.body(message), "stays")
        self.assertNotIn(redaction.event_id, await self.shown())
        await self.assert_as_stored()

    async def test_a_redaction_that_comes_first_takes_effect_in_every_kind_of_version_also_in_one_go(self) -> None:
        for version in ("2", "6", "11", "12"):
            self.begin(version, creator=UserID(f"@alice:one{version}.example"))
            await self.adopt()
            for together in (False, True):
                before = self.factory.head
                message = self.factory.message(BOB, "gone", after=before)
                redaction = self.redaction(BOB, message, after=before)
                for some in ([redaction, message],) if together else ([redaction], [message]):
                    self.assertEqual(await self.receive(*some), {})
                self.assertIsNone(await self.body(message))
                self.assertIn(redaction.event_id, await self.shown())
                await self.assert_as_stored()

    async def test_a_redaction_without_power_does_not_stand_in_the_way_of_one_that_has_it(self) -> None:
        for first, second in ((CAROL, ALICE), (ALICE, CAROL)):
            before = self.factory.head
            message = self.factory.message(BOB, "gone", after=before)
            redactions = [self.redaction(sender, message, after=before) for sender in (first, second)]
            self.assertEqual(await self.receive(*redactions), {})
            self.assertEqual(await self.receive(message), {})
            self.assertIsNone(await self.body(message))
            good, bad = sorted(redactions, key=lambda each: each.sender != ALICE)
            shown = await self.shown()
            self.assertIn(good.event_id, shown)
            self.assertNotIn(bad.event_id, shown)
            await self.assert_as_stored()

    async def test_what_follows_a_redaction_that_waits_is_taken(self) -> None:
        before = self.factory.head
        message = self.factory.message(BOB, "gone", after=before)
        redaction = self.redaction(ALICE, message, after=before)
        await self.receive(redaction)
        following = self.factory.message(CAROL, after=redaction)
        self.assertEqual(await self.receive(following), {})
        await self.assert_as_stored()
        ours = await self.say()
        self.assertEqual(ours.prev_events, (following.event_id,))

    async def test_redacted_state_is_redacted_wherever_it_stands(self) -> None:
        topic = self.factory.send("m.room.topic", {"topic": "rude"}, sender=ALICE, state_key="")
        self.assertEqual(await self.receive(topic, self.redaction(ALICE, topic)), {})
        room = await self.room()
        found = room.state("m.room.topic")
        assert found is not None
        self.assertEqual(found.content, {})
        await self.assert_as_stored()
