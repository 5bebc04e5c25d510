"""What relates to events: /relations, and what is bundled with them."""

from typing import Any
from urllib.parse import quote

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from homeserver.storage.data import set_account_data
from tests.kit.databases import on_both_databases
from tests.kit.houses import HouseCase, Person, ids

V1 = "/_matrix/client/v1"
NOT_FOUND = (404, "M_NOT_FOUND")


def relation(kind: str, event_id: str, **more: object) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": kind, "event_id": event_id, **more}}


class RelationCase(HouseCase):
    """A room of Alice's that Bob and Carol are in."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat")
        await self.bob.join(self.room)
        await self.carol.join(self.room)

    async def relate(self, who: Person, kind: str, event_id: str, body: str = "x", **more: Any) -> str:
        """Send a message that relates to an event."""
        content = {"msgtype": "m.text", "body": body, **relation(kind, event_id), **more}
        return await who.send(self.room, "m.room.message", content)

    async def edit(self, who: Person, event_id: str, body: str = "new", **more: Any) -> str:
        return await self.relate(who, "m.replace", event_id, **{"m.new_content": {"body": body}, **more})

    async def react(self, who: Person, event_id: str, key: str = "👍") -> str:
        return await who.send(self.room, "m.reaction", relation("m.annotation", event_id, key=key))

    async def children(self, who: Person, event_id: str, path: str = "", **query: object) -> Any:
        where = f"{V1}/rooms/{quote(self.room)}/relations/{quote(event_id, safe='')}{path}"
        return await who.ok("GET", where, **query)

    async def bundle(self, who: Person, event_id: str) -> Any:
        """What is bundled with an event; the same at every door where it is shown."""
        event = await who.event(self.room, event_id)
        bundle = event["unsigned"].get("m.relations", {})
        page = await who.messages(self.room, limit=100)
        (again,) = [each for each in page["chunk"] if each["event_id"] == event_id]
        self.assertEqual(again["unsigned"].get("m.relations", {}), bundle)
        path = f"/rooms/{quote(self.room)}/context/{quote(event_id, safe='')}"
        around = await who.ok("GET", path, limit=4)
        self.assertEqual(around["event"]["unsigned"].get("m.relations", {}), bundle)
        return bundle

    async def ignore(self, who: Person, *others: Person) -> None:
        """Let somebody ignore others."""
        content = {"ignored_users": {other.user_id: {} for other in others}}
        await self.db.write(set_ignored, who.user_id, content)


def set_ignored(txn: Any, user_id: Any, content: object) -> None:
    set_account_data(txn, user_id, "m.ignored_user_list", msgspec.json.encode(content))


@on_both_databases
class Children(RelationCase):
    async def test_what_relates_is_found_the_latest_first(self) -> None:
        root = await self.alice.say(self.room)
        reaction = await self.react(self.bob, root)
        reply = await self.relate(self.carol, "m.thread", root)
        await self.alice.say(self.room)
        page = await self.children(self.bob, root)
        self.assertEqual(ids(page["chunk"]), [reply, reaction])
        self.assertEqual(set(page), {"chunk"})
        self.assertEqual(page["chunk"][1]["content"]["m.relates_to"]["key"], "👍")
        self.assertEqual(ids((await self.children(self.bob, root, dir="f"))["chunk"]), [reaction, reply])
        self.assertEqual((await self.children(self.bob, reply))["chunk"], [])

    async def test_type_of_relation_and_of_event_choose(self) -> None:
        root = await self.alice.say(self.room)
        reaction = await self.react(self.bob, root)
        own = await self.bob.send(self.room, "org.example.poke", relation("m.annotation", root, key="!"))
        reply = await self.relate(self.bob, "m.thread", root)
        self.assertEqual(ids((await self.children(self.bob, root, "/m.annotation"))["chunk"]), [own, reaction])
        self.assertEqual(ids((await self.children(self.bob, root, "/m.annotation/m.reaction"))["chunk"]), [reaction])
        self.assertEqual(ids((await self.children(self.bob, root, "/m.thread/m.room.message"))["chunk"]), [reply])
        self.assertEqual((await self.children(self.bob, root, "/m.thread/m.reaction"))["chunk"], [])
        self.assertEqual((await self.children(self.bob, root, "/org.example.x"))["chunk"], [])

    async def test_pages_go_through_all_both_ways(self) -> None:
        root = await self.alice.say(self.room)
        sent = []
        for number in range(7):
            sent.append(await self.relate(self.bob, "m.thread", root, str(number)))
            await self.alice.say(self.room)
        for direction, expected in (("b", sent[::-1]), ("f", sent)):
            for path in ("", "/m.thread"):
                found: list[str] = []
                page = await self.children(self.bob, root, path, limit=3, dir=direction)
                self.assertNotIn("prev_batch", page)
                for _ in range(10):
                    found += ids(page["chunk"])
                    if "next_batch" not in page:
                        break
                    query = {"from": page["next_batch"], "limit": 3, "dir": direction}
                    page = await self.children(self.bob, root, path, **query)
                    self.assertEqual(page["prev_batch"], query["from"])
                self.assertEqual(found, expected)

    async def test_a_full_page_with_nothing_after_it_is_the_last(self) -> None:
        root = await self.alice.say(self.room)
        sent = [await self.relate(self.bob, "m.thread", root, str(number)) for number in range(3)]
        for direction, expected in (("b", sent[::-1]), ("f", sent)):
            whole = await self.children(self.bob, root, limit=3, dir=direction)
            self.assertEqual((ids(whole["chunk"]), set(whole)), (expected, {"chunk"}))
            part = await self.children(self.bob, root, limit=2, dir=direction)
            self.assertEqual((ids(part["chunk"]), set(part)), (expected[:2], {"chunk", "next_batch"}))

    async def test_tokens_are_those_of_messages_and_syncs(self) -> None:
        root = await self.alice.say(self.room)
        first = await self.relate(self.bob, "m.thread", root)
        synced = f"s{self.db.position}"
        second = await self.relate(self.bob, "m.thread", root)
        start = (await self.bob.messages(self.room, limit=1))["end"]
        self.assertEqual(ids((await self.children(self.bob, root, **{"from": start}))["chunk"]), [first])
        self.assertEqual(ids((await self.children(self.bob, root, to=start))["chunk"]), [second])
        self.assertEqual(ids((await self.children(self.bob, root, **{"from": synced}))["chunk"]), [first])
        self.assertEqual(ids((await self.children(self.bob, root, dir="f", **{"from": synced}))["chunk"]), [second])
        page = await self.children(self.bob, root, limit=1)
        older = await self.bob.bodies(self.room, **{"from": page["next_batch"], "limit": 1})
        self.assertEqual(older, ["x"])

    async def test_indirect_relations_are_followed_where_that_is_asked(self) -> None:
        root = await self.alice.say(self.room)
        reply = await self.relate(self.bob, "m.thread", root)
        reaction = await self.react(self.carol, reply)
        third = await self.relate(self.bob, "m.reference", reaction)
        await self.relate(self.bob, "m.reference", third)
        direct = await self.children(self.bob, root)
        self.assertEqual((ids(direct["chunk"]), "recursion_depth" in direct), ([reply], False))
        unwanted = await self.children(self.bob, root, recurse="false")
        self.assertEqual((ids(unwanted["chunk"]), unwanted["recursion_depth"]), ([reply], 1))
        whole = await self.children(self.bob, root, recurse="true")
        self.assertEqual((ids(whole["chunk"]), whole["recursion_depth"]), ([third, reaction, reply], 3))
        pages = await self.children(self.bob, root, recurse="true", limit=2)
        self.assertEqual(ids(pages["chunk"]), [third, reaction])
        rest = await self.children(self.bob, root, recurse="true", limit=2, **{"from": pages["next_batch"]})
        self.assertEqual(ids(rest["chunk"]), [reply])

    async def test_a_filter_also_holds_in_between(self) -> None:
        root = await self.alice.say(self.room)
        reply = await self.relate(self.bob, "m.thread", root)
        await self.react(self.carol, reply)
        reference = await self.relate(self.bob, "m.reference", root)
        deep = await self.relate(self.bob, "m.reference", reference)
        self.assertEqual((await self.children(self.bob, root, "/m.annotation", recurse="true"))["chunk"], [])
        found = await self.children(self.bob, root, "/m.reference/m.room.message", recurse="true")
        self.assertEqual(ids(found["chunk"]), [deep, reference])

    async def test_what_is_redacted_relates_no_more(self) -> None:
        root = await self.alice.say(self.room)
        reaction = await self.react(self.bob, root)
        other = await self.react(self.carol, root)
        await self.bob.redact(self.room, reaction)
        self.assertEqual(ids((await self.children(self.bob, root))["chunk"]), [other])
        await self.alice.redact(self.room, root)
        self.assertEqual(ids((await self.children(self.bob, root))["chunk"]), [other])

    async def test_an_event_of_another_room_has_no_children_here(self) -> None:
        elsewhere = await self.alice.create()
        root = await self.alice.say(elsewhere)
        await self.relate(self.alice, "m.reference", root)
        self.assertEqual(await self.alice.refused("GET", self.path(self.room, root)), NOT_FOUND)
        self.assertEqual((await self.alice.ok("GET", self.path(elsewhere, root)))["chunk"], [])
        self.assertNotIn("m.relations", (await self.alice.event(elsewhere, root))["unsigned"])

    async def test_nobody_learns_of_what_they_may_not_see(self) -> None:
        root = await self.alice.say(self.room)
        await self.react(self.bob, root)
        missing = self.path(self.room, "$missing")
        answers = [await self.dave.call("GET", self.path(self.room, root)), await self.bob.call("GET", missing)]
        answers.append(await self.dave.call("GET", self.path("!nowhere", root)))
        for answer in answers:
            self.assertEqual(
                (answer.status, answer.json), (404, {"errcode": "M_NOT_FOUND", "error": "Event not found"})
            )
        await self.bob.ok("GET", self.path(self.room, root))

    async def test_only_what_may_be_seen_is_listed_and_bundled(self) -> None:
        root = await self.alice.say(self.room)
        before = await self.relate(self.bob, "m.reference", root)
        await self.carol.leave(self.room)
        await self.alice.put(self.room, "m.room.history_visibility", {"history_visibility": "joined"})
        await self.relate(self.bob, "m.reference", root)
        await self.edit(self.alice, root)
        await self.relate(self.bob, "m.thread", root)
        self.assertEqual(ids((await self.children(self.carol, root))["chunk"]), [before])
        self.assertEqual(await self.bundle(self.carol, root), {"m.reference": {"chunk": [{"event_id": before}]}})
        self.assertEqual(set(await self.bundle(self.bob, root)), {"m.reference", "m.replace", "m.thread"})

    async def test_what_makes_no_sense_is_refused(self) -> None:
        root = await self.alice.say(self.room)
        for query in ({"dir": "x"}, {"from": "x"}, {"to": "t"}, {"limit": "x"}, {"limit": 0}, {"recurse": "x"}):
            found = await self.bob.refused("GET", self.path(self.room, root), **query)
            self.assertEqual(found, (400, "M_INVALID_PARAM"), query)

    def path(self, room: str, event_id: str) -> str:
        return f"{V1}/rooms/{quote(room)}/relations/{quote(event_id, safe='')}"


@on_both_databases
class Edits(RelationCase):
    async def test_the_last_edit_is_bundled_and_the_original_stays(self) -> None:
        root = await self.alice.say(self.room, "old")
        await self.edit(self.alice, root, "newer")
        self.clock.advance(1)
        last = await self.edit(self.alice, root, "newest")
        replacement = (await self.bundle(self.bob, root))["m.replace"]
        self.assertEqual(replacement["event_id"], last)
        self.assertEqual(replacement["content"]["m.new_content"], {"body": "newest"})
        self.assertEqual(replacement["room_id"], self.room)
        self.assertEqual((await self.bob.event(self.room, root))["content"]["body"], "old")

    async def test_of_edits_of_the_same_time_the_largest_id_counts(self) -> None:
        root = await self.alice.say(self.room)
        edits = [await self.edit(self.alice, root, str(number)) for number in range(5)]
        self.assertEqual((await self.bundle(self.bob, root))["m.replace"]["event_id"], max(edits))

    async def test_a_redacted_edit_makes_room_for_the_one_before(self) -> None:
        root = await self.alice.say(self.room)
        first = await self.edit(self.alice, root)
        self.clock.advance(1)
        second = await self.edit(self.alice, root)
        await self.alice.redact(self.room, second)
        self.assertEqual((await self.bundle(self.bob, root))["m.replace"]["event_id"], first)
        await self.alice.redact(self.room, first)
        self.assertEqual(await self.bundle(self.bob, root), {})

    async def test_a_redacted_message_shows_no_edit(self) -> None:
        root = await self.alice.say(self.room)
        await self.edit(self.alice, root)
        reference = await self.relate(self.bob, "m.reference", root)
        await self.alice.redact(self.room, root)
        self.assertEqual(await self.bundle(self.bob, root), {"m.reference": {"chunk": [{"event_id": reference}]}})

    async def test_an_edit_that_breaks_the_rules_is_ignored(self) -> None:
        root = await self.alice.say(self.room)
        await self.edit(self.bob, root)
        await self.relate(self.alice, "m.replace", root)
        await self.edit(self.alice, root, **{"m.new_content": "no object"})
        await self.alice.send(self.room, "m.sticker", {"m.new_content": {}, **relation("m.replace", root)})
        state = {"topic": "x", "m.new_content": {}, **relation("m.replace", root)}
        await self.alice.put(self.room, "m.room.topic", state)
        self.assertEqual(await self.bundle(self.bob, root), {})
        good = await self.edit(self.alice, root)
        self.assertEqual((await self.bundle(self.bob, root))["m.replace"]["event_id"], good)
        await self.edit(self.alice, good)
        self.assertEqual(await self.bundle(self.bob, good), {})

    async def test_state_is_not_edited(self) -> None:
        topic = await self.alice.put(self.room, "m.room.topic", {"topic": "x"})
        state = {"topic": "y", "m.new_content": {}, **relation("m.replace", topic)}
        await self.alice.put(self.room, "m.room.topic", state)
        await self.alice.send(self.room, "m.room.topic", {"m.new_content": {}, **relation("m.replace", topic)})
        await self.relate(self.bob, "m.reference", topic)
        self.assertEqual(await self.bundle(self.bob, topic), {})

    async def test_an_encrypted_edit_needs_no_new_content_in_the_clear(self) -> None:
        cipher = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "y"}
        root = await self.alice.send(self.room, "m.room.encrypted", cipher)
        await self.edit(self.alice, root)
        self.assertEqual(await self.bundle(self.bob, root), {})
        edit = await self.alice.send(self.room, "m.room.encrypted", {**cipher, **relation("m.replace", root)})
        shown = (await self.bundle(self.bob, root))["m.replace"]
        self.assertEqual((shown["event_id"], shown["content"]), (edit, {**cipher, **relation("m.replace", root)}))


@on_both_databases
class Annotations(RelationCase):
    DUPLICATE = (400, "M_DUPLICATE_ANNOTATION")

    async def react_again(self, who: Person, event_id: str, key: str = "👍") -> tuple[int, str]:
        path = f"/rooms/{quote(self.room)}/send/m.reaction/{self.new_txn()}"
        return await who.refused("PUT", path, relation("m.annotation", event_id, key=key))

    async def test_nobody_annotates_twice_alike(self) -> None:
        root = await self.alice.say(self.room)
        reaction = await self.react(self.bob, root)
        self.assertEqual(await self.react_again(self.bob, root), self.DUPLICATE)
        self.restart()
        self.assertEqual(await self.react_again(self.bob, root), self.DUPLICATE)
        await self.react(self.bob, root, "👎")
        await self.react(self.carol, root)
        await self.bob.send(self.room, "org.example.poke", relation("m.annotation", root, key="👍"))
        await self.react(self.bob, await self.alice.say(self.room))
        await self.bob.redact(self.room, reaction)
        await self.react(self.bob, root)
        self.assertEqual(await self.react_again(self.bob, root), self.DUPLICATE)

    async def test_the_same_request_again_is_no_second_annotation(self) -> None:
        root = await self.alice.say(self.room)
        content = relation("m.annotation", root, key="👍")
        first = await self.bob.send(self.room, "m.reaction", content, txn="once")
        self.assertEqual(await self.bob.send(self.room, "m.reaction", content, txn="once"), first)

    async def test_of_two_at_once_one_is_taken(self) -> None:
        root = await self.alice.say(self.room)
        content = relation("m.annotation", root, key="👍")
        paths = [f"/rooms/{quote(self.room)}/send/m.reaction/{self.new_txn()}" for _ in range(5)]
        replies = await gatherResults([Deferred.fromCoroutine(self.bob.call("PUT", path, content)) for path in paths])
        self.assertEqual(sorted(reply.status for reply in replies), [200, 400, 400, 400, 400])
        self.assertEqual(len((await self.children(self.bob, root))["chunk"]), 1)

    async def test_annotations_are_not_bundled(self) -> None:
        root = await self.alice.say(self.room)
        await self.react(self.bob, root)
        self.assertEqual(await self.bundle(self.bob, root), {})

    async def test_an_annotation_without_key_is_sent_as_it_is(self) -> None:
        root = await self.alice.say(self.room)
        for _ in range(2):
            await self.bob.send(self.room, "m.reaction", relation("m.annotation", root))
            await self.bob.send(self.room, "m.reaction", relation("m.annotation", root, key=5))


@on_both_databases
class Oddities(RelationCase):
    async def test_what_is_no_relation_is_none(self) -> None:
        root = await self.alice.say(self.room)
        long = "x" * 300
        for odd in (
            {"m.relates_to": "x"},
            {"m.relates_to": None},
            {"m.relates_to": []},
            {"m.relates_to": {"event_id": root}},
            {"m.relates_to": {"rel_type": 5, "event_id": root}},
            {"m.relates_to": {"rel_type": "m.reference", "event_id": 5}},
            {"m.relates_to": {"rel_type": "m.reference", "event_id": ""}},
            {"m.relates_to": {"rel_type": "", "event_id": root}},
            {"m.relates_to": {"rel_type": long, "event_id": root}},
            {"m.relates_to": {"rel_type": "m.reference", "event_id": long}},
            {"m.relates_to": {"m.in_reply_to": {"event_id": root}}},
        ):
            await self.bob.send(self.room, "m.room.message", {"body": "x", **odd})
        self.assertEqual((await self.children(self.bob, root))["chunk"], [])
        self.assertEqual(await self.bundle(self.bob, root), {})

    async def test_references_are_listed_in_order(self) -> None:
        root = await self.alice.say(self.room)
        sent = [await self.relate(who, "m.reference", root) for who in (self.bob, self.alice, self.carol)]
        self.assertEqual(await self.bundle(self.bob, root), {"m.reference": {"chunk": [{"event_id": e} for e in sent]}})

    async def test_ignored_people_are_left_out_for_whom_they_are_ignored_by(self) -> None:
        root = await self.alice.say(self.room)
        by_bob = await self.relate(self.bob, "m.reference", root)
        by_carol = await self.relate(self.carol, "m.reference", root)
        await self.relate(self.bob, "m.thread", root)
        await self.edit(self.bob, await self.bob.say(self.room))
        await self.ignore(self.alice, self.bob)
        self.assertEqual(await self.bundle(self.alice, root), {"m.reference": {"chunk": [{"event_id": by_carol}]}})
        chunk = (await self.bundle(self.carol, root))["m.reference"]["chunk"]
        self.assertEqual(chunk, [{"event_id": by_bob}, {"event_id": by_carol}])

    async def test_all_is_the_same_after_a_restart(self) -> None:
        root = await self.alice.say(self.room)
        await self.edit(self.alice, root)
        await self.relate(self.bob, "m.reference", root)
        await self.relate(self.bob, "m.thread", root)
        before = await self.bundle(self.carol, root)
        self.restart()
        self.assertEqual(await self.bundle(self.carol, root), before)
