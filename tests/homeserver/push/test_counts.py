"""Unread counts: what notifies, what highlights, in which thread, and what reading does to them."""

from typing import Any
from urllib.parse import quote

from tests.kit.databases import on_both_databases
from tests.kit.houses import Person
from tests.kit.syncs import SyncCase, Syncer, joined

THREADS = {"filter": {"room": {"timeline": {"unread_thread_notifications": True}}}}


def unread(answer: Any, room: str) -> tuple[int, int]:
    """Notifications and highlights that an answer tells of."""
    told = joined(answer, room)["unread_notifications"]
    return told["notification_count"], told["highlight_count"]


@on_both_databases
class UnreadCounts(SyncCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat")
        await self.bob.join(self.room)
        await self.bob.sync()

    async def count(self, who: Syncer | None = None, **query: Any) -> tuple[int, int]:
        """What a fresh sync counts, on a device of its own; from memory and then from the tables alike."""
        name = (who or self.bob).user_id[1:].partition(":")[0]
        counts = [unread(await self.person(name, "FRESH").sync(**query), self.room)]
        self.restart()
        counts.append(unread(await self.person(name, "FRESHER").sync(**query), self.room))
        assert counts[0] == counts[1], counts
        return counts[0]

    async def mention(self, *people: Person, **more: Any) -> str:
        mentions = {"user_ids": [person.user_id for person in people], **more}
        content = {"msgtype": "m.text", "body": "you", "m.mentions": mentions}
        return await self.alice.send(self.room, "m.room.message", content)

    async def thread(self, root: str, by: Syncer | None = None) -> str:
        content = {"msgtype": "m.text", "body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        return await (by or self.alice).send(self.room, "m.room.message", content)

    async def test_a_new_message_comes_with_its_count(self) -> None:
        await self.alice.say(self.room)
        assert unread(await self.bob.sync(), self.room) == (1, 0)
        await self.alice.say(self.room)
        assert unread(await self.bob.sync(), self.room) == (2, 0)
        assert await self.count() == (2, 0)

    async def test_ones_own_messages_do_not_count_and_read_what_is_before(self) -> None:
        await self.alice.say(self.room)
        await self.bob.say(self.room)
        assert unread(await self.bob.sync(), self.room) == (0, 0)
        assert await self.count() == (0, 0)
        assert await self.count(self.alice) == (1, 0)

    async def test_what_was_said_before_one_came_does_not_count(self) -> None:
        await self.alice.say(self.room)
        await self.carol.join(self.room)
        assert await self.count(self.carol) == (0, 0)
        await self.carol.leave(self.room)
        await self.alice.say(self.room)
        await self.carol.join(self.room)
        assert await self.count(self.carol) == (0, 0)
        await self.alice.say(self.room)
        assert await self.count(self.carol) == (1, 0)

    async def test_only_who_is_mentioned_is_highlighted(self) -> None:
        await self.carol.join(self.room)
        await self.mention(self.bob)
        assert await self.count() == (1, 1)
        assert await self.count(self.carol) == (1, 0)

    async def test_everybody_is_mentioned_by_who_may(self) -> None:
        await self.mention(room=True)
        assert await self.count() == (1, 1)
        await self.bob.send(self.room, "m.room.message", {"body": "all", "m.mentions": {"room": True}})
        assert await self.count(self.alice) == (1, 0)

    async def test_notices_edits_and_reactions_do_not_count(self) -> None:
        first = await self.alice.say(self.room)
        await self.alice.send(self.room, "m.room.message", {"msgtype": "m.notice", "body": "x"})
        edit = {"body": "* x", "m.relates_to": {"rel_type": "m.replace", "event_id": first}}
        await self.alice.send(self.room, "m.room.message", edit)
        annotation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": "+"}}
        await self.alice.send(self.room, "m.reaction", annotation)
        assert await self.count() == (1, 0)

    async def test_a_receipt_reads_up_to_its_event(self) -> None:
        events = [await self.alice.say(self.room) for _ in range(4)]
        await self.bob.sync()
        await self.bob.read(self.room, events[1])
        assert unread(await self.bob.sync(), self.room) == (2, 0)
        assert await self.count() == (2, 0)

    async def test_a_private_receipt_reads_as_well_and_the_one_ahead_counts(self) -> None:
        events = [await self.alice.say(self.room) for _ in range(4)]
        await self.bob.sync()
        await self.bob.read(self.room, events[2])
        await self.bob.read(self.room, events[0], "m.read.private")
        assert await self.count() == (1, 0)
        await self.bob.read(self.room, events[3], "m.read.private")
        assert unread(await self.bob.sync(), self.room) == (0, 0)
        assert await self.count() == (0, 0)

    async def test_a_receipt_does_not_go_back(self) -> None:
        events = [await self.alice.say(self.room) for _ in range(3)]
        await self.bob.read(self.room, events[2])
        await self.bob.read(self.room, events[0])
        assert await self.count() == (0, 0)

    async def test_a_receipt_that_overtakes_the_count_is_heeded(self) -> None:
        await self.alice.say(self.room)
        await self.bob.sync()
        event_id = await self.alice.say(self.room)
        await self.bob.read(self.room, event_id)
        assert unread(await self.bob.sync(), self.room) == (0, 0)

    async def test_threads_are_counted_apart_when_asked_for(self) -> None:
        root = await self.alice.say(self.room)
        await self.thread(root)
        await self.thread(root)
        await self.mention(self.bob)
        answer = joined(await self.bob.sync(**THREADS), self.room)
        assert answer["unread_notifications"] == {"notification_count": 2, "highlight_count": 1}
        assert answer["unread_thread_notifications"] == {root: {"notification_count": 2, "highlight_count": 0}}
        assert await self.count() == (4, 1)
        assert await self.count(**THREADS) == (2, 1)

    async def test_a_receipt_in_a_thread_reads_that_thread_only(self) -> None:
        root = await self.alice.say(self.room)
        reply = await self.thread(root)
        last = await self.alice.say(self.room)
        await self.bob.sync()
        await self.bob.read(self.room, last, thread_id="main")
        assert await self.count() == (1, 0)
        assert await self.count(**THREADS) == (0, 0)
        await self.bob.read(self.room, reply, thread_id=root)
        assert await self.count() == (0, 0)

    async def test_a_reply_in_a_thread_reads_that_thread_only(self) -> None:
        root = await self.alice.say(self.room)
        await self.thread(root)
        await self.thread(root, self.bob)
        assert unread(await self.bob.sync(), self.room) == (1, 0)
        assert await self.count() == (1, 0)

    async def test_what_relates_to_a_reply_is_of_its_thread(self) -> None:
        root = await self.alice.say(self.room)
        reply = await self.thread(root)
        await self.bob.sync()
        related = {"body": "x", "m.relates_to": {"rel_type": "m.reference", "event_id": reply}}
        await self.alice.send(self.room, "m.room.message", related)
        answer = joined(await self.bob.sync(**THREADS), self.room)
        assert answer["unread_thread_notifications"][root]["notification_count"] == 2

    async def test_a_redacted_mention_highlights_no_more(self) -> None:
        event_id = await self.mention(self.bob)
        assert unread(await self.bob.sync(), self.room) == (1, 1)
        await self.alice.redact(self.room, event_id)
        assert unread(await self.bob.sync(), self.room) == (1, 0)
        assert await self.count() == (1, 0)

    async def test_a_count_is_told_although_the_message_is_not_wanted(self) -> None:
        await self.alice.say(self.room)
        answer = await self.bob.sync(filter={"room": {"timeline": {"types": ["m.none"]}}})
        assert "timeline" not in joined(answer, self.room)
        assert unread(answer, self.room) == (1, 0)

    async def test_what_somebody_ignored_sends_does_not_count(self) -> None:
        await self.carol.join(self.room)
        path = f"/user/{self.bob.user_id}/account_data/m.ignored_user_list"
        await self.alice.say(self.room)
        assert unread(await self.bob.sync(), self.room) == (1, 0)
        await self.bob.ok("PUT", path, {"ignored_users": {self.alice.user_id: {}}})
        await self.mention(self.bob)
        await self.carol.say(self.room)
        assert unread(await self.bob.sync(), self.room) == (1, 0)
        await self.mention(self.bob)
        await self.carol.say(self.room)
        assert unread(await self.bob.sync(), self.room) == (2, 0)
        assert await self.count() == (2, 0)
        await self.bob.ok("PUT", path, {"ignored_users": {}})
        await self.mention(self.bob)
        assert (await self.count())[1] == 3

    async def test_people_have_rules_of_their_own(self) -> None:
        await self.carol.join(self.room)
        await self.carol.ok("PUT", f"/pushrules/global/room/{quote(self.room)}", {"actions": []})
        await self.carol.sync()
        await self.alice.say(self.room)
        assert unread(await self.carol.sync(), self.room) == (0, 0)
        assert await self.count(self.carol) == (0, 0)
        assert unread(await self.bob.sync(), self.room) == (1, 0)

    async def test_a_name_in_the_body_highlights_by_a_rule_of_ones_own(self) -> None:
        rule = {"conditions": [{"kind": "contains_display_name"}], "actions": ["notify", {"set_tweak": "highlight"}]}
        await self.bob.ok("PUT", "/pushrules/global/override/name", rule)
        await self.bob.sync()
        await self.alice.say(self.room, "is BOB there?")
        assert unread(await self.bob.sync(), self.room) == (1, 1)
        assert await self.count() == (1, 1)
        await self.bob.rename(self.room, "Robert")
        await self.alice.say(self.room, "bob?")
        assert unread(await self.bob.sync(), self.room) == (2, 1)

    async def test_rooms_of_two_can_be_told_apart(self) -> None:
        rule = {"conditions": [{"kind": "room_member_count", "is": "2"}], "actions": []}
        await self.bob.ok("PUT", "/pushrules/global/override/two", rule)
        await self.alice.say(self.room)
        assert unread(await self.bob.sync(), self.room) == (0, 0)
        await self.carol.join(self.room)
        await self.alice.say(self.room)
        assert unread(await self.bob.sync(), self.room) == (1, 0)

    async def test_counting_ends_somewhere(self) -> None:
        from homeserver.push import counts  # its bound is changed

        self.patch(counts, "MOST_NEW", 5)
        for _ in range(8):
            await self.alice.say(self.room)
        assert unread(await self.bob.sync(), self.room) == (5, 0)
        await self.alice.say(self.room)
        assert unread(await self.bob.sync(), self.room) == (5, 0)
        assert await self.count() == (5, 0)
