"""Threads: what may start one, what its root tells of it, the list of a room's threads, and what is unread in them."""

from typing import Any
from urllib.parse import quote

from homeserver.rooms.seal import Draft
from tests.api.test_relations import V1, RelationCase, relation
from tests.kit.databases import on_both_databases
from tests.kit.houses import Person, ids
from tests.kit.syncs import SyncCase, joined, timeline

NO_THREAD = (400, "M_UNKNOWN")


class ThreadCase(RelationCase):
    async def reply(self, who: Person, root: str, body: str = "x") -> str:
        return await self.relate(who, "m.thread", root, body)

    async def threads(self, who: Person, **query: object) -> Any:
        return await who.ok("GET", f"{V1}/rooms/{quote(self.room)}/threads", **query)


@on_both_databases
class Roots(ThreadCase):
    async def start(self, who: Person, root: str) -> tuple[int, str]:
        path = f"/rooms/{quote(self.room)}/send/m.room.message/{self.new_txn()}"
        return await who.refused("PUT", path, {"body": "x", **relation("m.thread", root)})

    async def test_a_thread_starts_from_what_relates_to_nothing(self) -> None:
        root = await self.alice.say(self.room)
        child = await self.reply(self.bob, root)
        reaction = await self.react(self.bob, root)
        edit = await self.edit(self.alice, root)
        for event_id in (child, reaction, edit):
            self.assertEqual(await self.start(self.bob, event_id), NO_THREAD)
        self.restart()
        for event_id in (child, reaction, edit):
            self.assertEqual(await self.start(self.bob, event_id), NO_THREAD)
        answer = {"body": "x", "m.relates_to": {"m.in_reply_to": {"event_id": root}}}
        rich_reply = await self.bob.send(self.room, "m.room.message", answer)
        await self.reply(self.carol, rich_reply)
        await self.reply(self.carol, root)

    async def test_one_that_was_redacted_relates_to_nothing(self) -> None:
        child = await self.reply(self.bob, await self.alice.say(self.room))
        await self.bob.redact(self.room, child)
        await self.reply(self.carol, child)

    async def test_a_thread_off_what_relates_is_not_shown(self) -> None:
        root = await self.alice.say(self.room)
        reference = await self.relate(self.bob, "m.reference", root)
        await self.reply(self.bob, "$unknown")
        room = await self.doors.rooms.load(self.room)
        assert room is not None
        content = {"body": "x", **relation("m.thread", reference)}
        await self.doors.rooms.append(room, Draft(type="m.room.message", sender=self.bob.user_id, content=content))
        self.assertEqual((await self.threads(self.alice))["chunk"], [])
        self.assertEqual(await self.bundle(self.alice, reference), {})

    async def test_a_root_tells_of_its_thread(self) -> None:
        root = await self.alice.say(self.room)
        await self.reply(self.bob, root)
        last = await self.reply(self.bob, root, "last")
        await self.react(self.carol, root)
        for person, takes_part in ((self.alice, True), (self.bob, True), (self.carol, False)):
            thread = (await self.bundle(person, root))["m.thread"]
            self.assertEqual((thread["count"], thread["current_user_participated"]), (2, takes_part))
            latest = thread["latest_event"]
            self.assertEqual((latest["event_id"], latest["room_id"]), (last, self.room))
            self.assertEqual((latest["content"]["body"], latest["unsigned"]["membership"]), ("last", "join"))

    async def test_the_last_event_has_its_own_bundle(self) -> None:
        root = await self.alice.say(self.room)
        last = await self.reply(self.bob, root)
        edit = await self.edit(self.bob, last)
        thread = (await self.bundle(self.carol, root))["m.thread"]
        inner = thread["latest_event"]["unsigned"]["m.relations"]
        self.assertEqual((set(inner), inner["m.replace"]["event_id"]), ({"m.replace"}, edit))
        self.assertEqual(thread["count"], 1)

    async def test_redactions_and_ignored_people_count_no_more(self) -> None:
        root = await self.alice.say(self.room)
        first = await self.reply(self.bob, root)
        second = await self.reply(self.carol, root)
        third = await self.reply(self.bob, root)
        await self.bob.redact(self.room, third)
        thread = (await self.bundle(self.alice, root))["m.thread"]
        self.assertEqual((thread["count"], thread["latest_event"]["event_id"]), (2, second))
        await self.ignore(self.alice, self.carol)
        thread = (await self.bundle(self.alice, root))["m.thread"]
        self.assertEqual((thread["count"], thread["latest_event"]["event_id"]), (1, first))
        await self.alice.redact(self.room, root)
        self.assertEqual((await self.bundle(self.bob, root))["m.thread"]["count"], 2)


@on_both_databases
class Lists(ThreadCase):
    async def test_threads_come_by_their_last_event(self) -> None:
        one, two, three = [await self.alice.say(self.room) for _ in range(3)]
        for root in (one, three, two, one):
            await self.reply(self.bob, root)
        await self.react(self.bob, three)
        page = await self.threads(self.carol)
        self.assertEqual((ids(page["chunk"]), set(page)), ([one, two, three], {"chunk"}))
        counts = [event["unsigned"]["m.relations"]["m.thread"]["count"] for event in page["chunk"]]
        self.assertEqual(counts, [2, 1, 1])

    async def test_the_list_has_pages(self) -> None:
        roots = [await self.alice.say(self.room) for _ in range(5)]
        for root in roots:
            await self.reply(self.bob, root)
            await self.reply(self.carol, root)
        found: list[str] = []
        query: dict[str, object] = {"limit": 2}
        for _ in range(10):
            page = await self.threads(self.bob, **query)
            found += ids(page["chunk"])
            if "next_batch" not in page:
                break
            query["from"] = page["next_batch"]
        self.assertEqual(found, roots[::-1])
        self.assertEqual(set(await self.threads(self.bob, limit=5)), {"chunk"})
        self.assertEqual(set(await self.threads(self.bob, limit=4)), {"chunk", "next_batch"})

    async def test_those_one_takes_part_in_can_be_asked_for(self) -> None:
        own, joined_in, other = [await who.say(self.room) for who in (self.carol, self.alice, self.alice)]
        for root, who in ((own, self.bob), (joined_in, self.carol), (other, self.bob)):
            await self.reply(who, root)
        await self.react(self.carol, other)
        self.assertEqual(ids((await self.threads(self.carol, include="participated"))["chunk"]), [joined_in, own])
        self.assertEqual(len((await self.threads(self.carol, include="all"))["chunk"]), 3)

    async def test_a_root_of_somebody_ignored_comes_redacted(self) -> None:
        root = await self.bob.say(self.room, "secret")
        silent = await self.alice.say(self.room)
        await self.reply(self.carol, root)
        await self.reply(self.bob, silent)
        await self.ignore(self.alice, self.bob)
        (shown,) = (await self.threads(self.alice))["chunk"]
        self.assertEqual((shown["event_id"], shown["content"]), (root, {}))
        self.assertEqual(shown["unsigned"]["m.relations"]["m.thread"]["count"], 1)
        self.assertEqual(len((await self.threads(self.carol))["chunk"]), 2)

    async def test_the_order_is_that_of_what_one_sees(self) -> None:
        one, two = [await self.alice.say(self.room) for _ in range(2)]
        for root, who in ((one, self.carol), (two, self.carol), (one, self.bob)):
            await self.reply(who, root)
        self.assertEqual(ids((await self.threads(self.alice))["chunk"]), [one, two])
        await self.ignore(self.alice, self.bob)
        self.assertEqual(ids((await self.threads(self.alice))["chunk"]), [two, one])

    async def test_who_has_left_sees_what_was_until_then(self) -> None:
        one, two = [await self.alice.say(self.room) for _ in range(2)]
        await self.reply(self.bob, one)
        await self.carol.leave(self.room)
        await self.reply(self.bob, two)
        await self.alice.put(self.room, "m.room.history_visibility", {"history_visibility": "joined"})
        self.assertEqual(ids((await self.threads(self.carol))["chunk"]), [one])

    async def test_strangers_and_nonsense_are_refused(self) -> None:
        path = f"{V1}/rooms/{quote(self.room)}/threads"
        self.assertEqual(await self.dave.refused("GET", path), (403, "M_FORBIDDEN"))
        self.assertEqual(await self.dave.refused("GET", f"{V1}/rooms/!no/threads"), (403, "M_FORBIDDEN"))
        for query in ({"include": "some"}, {"limit": 0}, {"limit": -1}, {"from": "x"}):
            self.assertEqual(await self.bob.refused("GET", path, **query), (400, "M_INVALID_PARAM"), query)


@on_both_databases
class Synced(SyncCase):
    """What syncs tell of relations, and of what is unread in threads."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat")
        await self.bob.join(self.room)

    async def relate(self, who: Person, kind: str, event_id: str, **more: Any) -> str:
        content = {"body": "x", "m.new_content": {"body": "y"}, **relation(kind, event_id, **more)}
        return await who.send(self.room, "m.reaction" if kind == "m.annotation" else "m.room.message", content)

    async def shown(self, event_id: str, limit: int, **query: Any) -> Any:
        """What is bundled with an event in a sync of Bob's, from memory and from the tables alike."""
        query["filter"] = {**query.pop("filter", {}), "room": {"timeline": {"limit": limit}}}
        since = self.bob.since
        answers = [await self.bob.sync(**query)]
        self.restart()
        self.bob.since = since
        answers.append(await self.bob.sync(**query))
        found: list[Any] = [
            event["unsigned"].get("m.relations", {})
            for answer in answers
            for event in timeline(answer, self.room)
            if event["event_id"] == event_id
        ]
        self.assertEqual(len(found), 2)
        self.assertEqual(found[0], found[1])
        return found[0]

    async def test_a_timeline_with_a_gap_before_it_is_bundled(self) -> None:
        root = await self.alice.say(self.room)
        edit = await self.relate(self.alice, "m.replace", root)
        reply = await self.relate(self.alice, "m.thread", root)
        found = await self.shown(root, 3)
        self.assertEqual(found["m.replace"]["event_id"], edit)
        self.assertEqual(found["m.thread"]["latest_event"]["event_id"], reply)
        self.assertIs(found["m.thread"]["current_user_participated"], False)
        self.bob.since = None
        self.assertEqual(await self.shown(root, 100), {})

    async def test_a_later_gap_too(self) -> None:
        await self.bob.sync()
        for _ in range(5):
            await self.alice.say(self.room)
        root = await self.alice.say(self.room)
        reference = await self.relate(self.alice, "m.reference", root)
        self.assertEqual(await self.shown(root, 2), {"m.reference": {"chunk": [{"event_id": reference}]}})

    async def test_without_a_gap_events_come_as_they_are(self) -> None:
        await self.bob.sync()
        root = await self.alice.say(self.room)
        await self.relate(self.alice, "m.reference", root)
        self.assertEqual(await self.shown(root, 10), {})

    async def test_bundled_events_have_the_form_that_is_wanted(self) -> None:
        root = await self.alice.say(self.room)
        await self.relate(self.alice, "m.replace", root)
        self.assertIn("room_id", (await self.shown(root, 2))["m.replace"])
        self.bob.since = None
        wanted = {"event_format": "federation", "room": {"timeline": {"limit": 2}}}
        first, _ = timeline(await self.bob.sync(filter=wanted), self.room)
        self.assertIn("auth_events", first)
        self.assertIn("auth_events", first["unsigned"]["m.relations"]["m.replace"])

    async def test_what_is_unread_counts_in_its_thread(self) -> None:
        wanted = {"filter": {"room": {"timeline": {"unread_thread_notifications": True}}}}
        root = await self.alice.say(self.room)
        reply = await self.relate(self.alice, "m.thread", root)
        await self.bob.sync(**wanted)
        mention = {"m.mentions": {"user_ids": [self.bob.user_id]}}
        reaction = {**mention, **relation("m.annotation", reply, key="x")}
        await self.alice.send(self.room, "m.reaction", reaction)
        await self.alice.send(self.room, "m.room.message", {"body": "x", **mention, **relation("m.reference", reply)})
        await self.alice.send(self.room, "m.room.message", {"body": "x", **mention, **relation("m.reference", root)})
        for _ in range(2):
            told = joined(await self.bob.sync(**wanted), self.room)
            self.assertEqual(told["unread_thread_notifications"][root], {"notification_count": 3, "highlight_count": 2})
            self.assertEqual(told["unread_notifications"], {"notification_count": 2, "highlight_count": 1})
            self.restart()
            self.bob.since = None
