"""Searching in rooms: what is found, how it is shown and paged, and what never is.

Spec: client-server-api#server-side-search
"""

import json
from typing import Any

import msgspec

from homeserver.policy import Hidden, SeeRoom
from homeserver.storage.data import set_account_data
from tests.kit.databases import on_both_databases
from tests.kit.houses import HouseCase, Person

FORMS = (
    ("контрольная", "Завтра контрольной не будет"),
    ("уроками", "урок русского языка"),
    ("ёлка", "елки и палки"),
    ("елки", "у нас Ёлка!"),
    ("дети", "деть"),
    ("lesson", "three LESSONS today"),
    ("meeting", "we met at the meetings"),
    ("KARL", "karl"),
    ("7б", "собрание 7Б класса"),
    ("кафе", "кафе «Ромашка»"),
    ("замок", "за\u0301мок на горе"),
    ("чай", "чаи\u0306 с лимоном"),
)
"""A word, and a text that has a form of it."""


def bodies(answer: Any) -> list[str]:
    """The texts of the results, in their order."""
    return [text_of(result["result"]) for result in answer["results"]]


def text_of(event: Any) -> str:
    content = event["content"]
    edit = event.get("unsigned", {}).get("m.relations", {}).get("m.replace")
    if edit is not None:
        content = edit["content"]["m.new_content"]
    return str(content.get("body", content.get("name", content.get("topic"))))


class SearchCase(HouseCase):
    async def search(self, person: Person, term: str, *, next_batch: str | None = None, **wanted: Any) -> Any:
        """The results in rooms."""
        query = {} if next_batch is None else {"next_batch": next_batch}
        body = {"search_categories": {"room_events": {"search_term": term, **wanted}}}
        answer = await person.ok("POST", "/search", body, **query)
        return answer["search_categories"]["room_events"]

    async def find(self, person: Person, term: str, **wanted: Any) -> list[str]:
        """What is found, the newest first."""
        return bodies(await self.search(person, term, order_by="recent", **wanted))

    async def edit(self, person: Person, room: str, event_id: str, body: str) -> str:
        """Put another text in place of a message's."""
        relation = {"rel_type": "m.replace", "event_id": event_id}
        renewed = {"msgtype": "m.text", "body": body}
        content = {"msgtype": "m.text", "body": f"* {body}", "m.new_content": renewed, "m.relates_to": relation}
        return await person.send(room, "m.room.message", content)


@on_both_databases
class Finding(SearchCase):
    async def test_a_word_is_found_by_its_other_forms(self) -> None:
        room = await self.alice.create()
        for word, text in FORMS[:4] + FORMS[5:]:
            await self.alice.say(room, text)
            self.assertIn(text, await self.find(self.alice, word), word)
            self.assertEqual([], await self.find(self.alice, word + " кенгуру"))

    async def test_all_the_words_must_be_there_but_not_the_idle_ones(self) -> None:
        room = await self.alice.create()
        for text in ("кошка ест рыбу", "рыба спит", "кошка спит"):
            await self.alice.say(room, text)
        self.assertEqual(["кошка ест рыбу"], await self.find(self.alice, "рыбы и кошки"))
        self.assertEqual(["кошка спит", "рыба спит"], await self.find(self.alice, "спит"))

    async def test_names_and_topics_are_found_by_their_keys(self) -> None:
        room = await self.alice.create(name="Хор", topic="Хор мальчиков")
        await self.alice.say(room, "хор поёт")
        everything = ["хор поёт", "Хор мальчиков", "Хор"]
        self.assertEqual(everything, await self.find(self.alice, "хор"))
        for key, text in zip(("body", "topic", "name"), everything, strict=True):
            self.assertEqual([text], await self.find(self.alice, "хор", keys=[f"content.{key}"]))
        self.assertEqual([], await self.find(self.alice, "хор", keys=[]))
        topic = {"topic": "x", "m.topic": {"m.text": [{"body": "<b>гобой</b>", "mimetype": "text/html"},
                                                     {"body": "кларнет"}]}}  # fmt: skip
        await self.alice.put(room, "m.room.topic", topic)
        self.assertEqual(["x"], await self.find(self.alice, "кларнеты"))
        self.assertEqual([], await self.find(self.alice, "гобой"))

    async def test_what_is_highlighted_appears_so_in_the_texts(self) -> None:
        room = await self.alice.create()
        await self.alice.say(room, "Уроки, урок! УРОКИ")
        await self.alice.say(room, "Two lessons; ёлка")
        self.assertEqual({"уроки", "урок"}, {w.lower() for w in (await self.search(self.alice, "урока"))["highlights"]})
        self.assertEqual({"lessons", "ёлка"}, set((await self.search(self.alice, "lesson елка"))["highlights"]))
        self.assertEqual([], (await self.search(self.alice, "кенгуру"))["highlights"])

    async def test_strange_terms_find_nothing_and_break_nothing(self) -> None:
        room = await self.alice.create()
        await self.alice.say(room, "и NULL в OR")
        for term in (
            *(
                "",
                " ",
                "'",
                '"',
                "\\",
                "%",
                "_",
                "*",
                "a*",
                "NEAR(a b)",
                "x AND",
                "OR",
                "NOT",
                "-a",
                "^a",
                "a:b",
                "{a}",
            ),
            *(
                "\0",
                "a\0b",
                "😀",
                "👩‍👩‍👧",
                "'; DROP TABLE events; --",
                "<->",
                "a & !b",
                "!(a)",
                "\u202e",
                "½",
                "ﬁ",
                "İ",
                "ß",
            ),
            *("(" * 1000, "слово" * 5000, " ".join(f"w{n}" for n in range(10_000)), "\ud7ff\ue000\U0010ffff"),
        ):
            self.assertLessEqual(len((await self.search(self.alice, term))["results"]), 1)
        self.assertEqual(["и NULL в OR"], await self.find(self.alice, "и"))
        self.assertEqual(["и NULL в OR"], await self.find(self.alice, "в и"))
        self.assertEqual([], await self.find(self.alice, "и не"))

    async def test_strange_texts_are_kept_and_found(self) -> None:
        room = await self.alice.create()
        texts = ["'quoted\" слон", "a\0b слон", "слон" * 50 + " слон", "😀 слон",
                 " ".join(f"w{n}" for n in range(9000)), "\\слон\\", "слон_и_кот", "½ слон ﬁ", "İ слон ß"]  # fmt: skip
        for text in texts:
            await self.alice.say(room, text)
        self.assertEqual(len(texts) - 1, len(await self.find(self.alice, "слоны", filter={"limit": 50})))
        self.assertEqual(1, len(await self.find(self.alice, "w8999")))
        for content in ({"body": 5}, {"body": None}, {}, {"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}}):
            await self.alice.send(room, "m.room.message", content)
        self.assertEqual(1, len(await self.find(self.alice, "w8999")))

    async def test_encrypted_rooms_have_nothing_to_find(self) -> None:
        room, other = await self.alice.create(), await self.alice.create()
        for each in (room, other):
            await self.alice.say(each, "слон")
        self.assertEqual(2, len(await self.find(self.alice, "слон")))
        await self.alice.put(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
        self.assertEqual(1, len(await self.find(self.alice, "слон")))

    async def test_a_restart_loses_nothing(self) -> None:
        room = await self.alice.create()
        await self.alice.say(room, "слон")
        self.restart()
        await self.alice.say(room, "слоны")
        self.assertEqual(["слоны", "слон"], await self.find(self.alice, "слоном"))


@on_both_databases
class Seeing(SearchCase):
    async def test_strangers_and_the_invited_find_nothing(self) -> None:
        room = await self.alice.create()
        await self.alice.say(room, "слон")
        self.assertEqual([], await self.find(self.bob, "слон"))
        self.assertEqual([], await self.find(self.bob, "слон", filter={"rooms": [room]}))
        await self.alice.invite(room, self.bob)
        self.assertEqual(0, (await self.search(self.bob, "слон"))["count"])
        await self.bob.join(room)
        self.assertEqual(["слон"], await self.find(self.bob, "слон"))

    async def test_only_what_history_visibility_shows_is_found_and_counted(self) -> None:
        for visibility, seen in (("joined", 1), ("invited", 2), ("shared", 3), ("world_readable", 3)):
            rule = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
            room = await self.alice.create(initial_state=[rule])
            await self.alice.say(room, "слон раз")
            await self.alice.invite(room, self.bob)
            await self.alice.say(room, "слон два")
            await self.bob.join(room)
            await self.alice.say(room, "слон три")
            answer = await self.search(self.bob, "слон", filter={"rooms": [room]})
            self.assertEqual((seen, seen), (answer["count"], len(answer["results"])), visibility)
            found = await self.find(self.bob, "слон", filter={"rooms": [room]})
            self.assertEqual(["слон три", "слон два", "слон раз"][:seen], found)

    async def test_a_left_room_ends_at_leaving_whoever_may_look_in(self) -> None:
        for visibility in ("shared", "world_readable"):
            rule = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
            room = await self.alice.create(initial_state=[rule], preset="public_chat")
            await self.bob.join(room)
            await self.alice.say(room, "слон раз")
            await self.bob.leave(room)
            after = await self.alice.say(room, "слон два")
            asked = {"filter": {"rooms": [room]}, "event_context": {}, "include_state": True}
            answer = await self.search(self.bob, "слон", **asked)
            self.assertEqual((["слон раз"], 1), (bodies(answer), answer["count"]), visibility)
            self.assertNotIn(after, json.dumps(answer))
            members = [event for event in answer["state"][room] if event["type"] == "m.room.member"]
            self.assertIn((self.bob.user_id, "leave"), [(e["state_key"], e["content"]["membership"]) for e in members])
            await self.bob.ok("POST", f"/rooms/{room}/forget", {})
            self.assertEqual([], await self.find(self.bob, "слон", filter={"rooms": [room]}))

    async def test_a_left_room_that_the_policy_closes_has_nothing(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        await self.alice.say(room, "слон")
        await self.bob.leave(room)
        self.assertEqual(["слон"], await self.find(self.bob, "слон"))
        self.policy.refuse(SeeRoom, because=Hidden())
        self.assertEqual(0, (await self.search(self.bob, "слон"))["count"])
        self.assertEqual(["слон"], await self.find(self.alice, "слон"))

    async def test_who_was_never_in_a_room_did_not_leave_it(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.alice.say(room, "слон")
        await self.alice.invite(room, self.bob)
        await self.bob.leave(room)
        self.assertEqual([], await self.find(self.bob, "слон"))

    async def test_the_ignored_are_not_found(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        await self.bob.say(room, "слон боба")
        await self.alice.say(room, "слон алисы")
        content = msgspec.json.encode({"ignored_users": {self.bob.user_id: {}}})
        await self.db.write(set_account_data, self.alice.user_id, "m.ignored_user_list", content)
        self.assertEqual(["слон алисы"], await self.find(self.alice, "слон"))
        self.assertEqual(2, len(await self.find(self.bob, "слон")))

    async def test_a_replaced_room_is_searched_like_its_successor(self) -> None:
        old = await self.alice.create()
        await self.alice.say(old, "слон раз")
        new = (await self.alice.ok("POST", f"/rooms/{old}/upgrade", {"new_version": "12"}))["replacement_room"]
        await self.alice.say(new, "слон два")
        self.assertEqual(["слон два", "слон раз"], await self.find(self.alice, "слон"))
        self.assertEqual(["слон раз"], await self.find(self.alice, "слон", filter={"rooms": [old]}))


@on_both_databases
class Changing(SearchCase):
    async def test_a_redacted_message_is_found_no_more(self) -> None:
        room = await self.alice.create()
        early, late = await self.alice.say(room, "слон раз"), await self.alice.say(room, "слон два")
        self.assertEqual(2, len(await self.find(self.alice, "слон")))
        await self.alice.redact(room, early)
        self.assertEqual(["слон два"], await self.find(self.alice, "слон"))
        await self.alice.say(room, "слон три")
        await self.alice.redact(room, late)
        self.assertEqual(["слон три"], await self.find(self.alice, "слон"))

    async def test_one_redacted_before_it_is_indexed_never_is_found(self) -> None:
        room = await self.alice.create()
        await self.alice.redact(room, await self.alice.say(room, "слон"))
        self.assertEqual([], await self.find(self.alice, "слон"))

    async def test_an_edited_message_is_found_by_its_last_text_in_its_own_place(self) -> None:
        room = await self.alice.create()
        edited = await self.alice.say(room, "кошка")
        await self.alice.say(room, "собака")
        first = await self.edit(self.alice, room, edited, "слон")
        self.assertEqual(["слон"], await self.find(self.alice, "слоны"))
        self.assertEqual([], await self.find(self.alice, "кошка"))
        self.clock.advance(1)
        second = await self.edit(self.alice, room, edited, "собаки")
        answer = await self.search(self.alice, "собака", order_by="recent")
        self.assertEqual(["собака", "собаки"], bodies(answer))
        self.assertEqual(edited, answer["results"][1]["result"]["event_id"])
        self.assertEqual([], await self.find(self.alice, "слон"))
        await self.alice.redact(room, second)
        self.assertEqual(["слон"], await self.find(self.alice, "слон"))
        await self.alice.redact(room, first)
        self.assertEqual(["кошка"], await self.find(self.alice, "кошки"))
        await self.edit(self.alice, room, edited, "жираф")
        await self.alice.redact(room, edited)
        self.assertEqual([], await self.find(self.alice, "жираф"))

    async def test_nobody_edits_what_another_wrote(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        event_id = await self.alice.say(room, "кошка")
        await self.edit(self.bob, room, event_id, "слон")
        self.assertEqual([], await self.find(self.alice, "слон"))
        self.assertEqual(["кошка"], await self.find(self.alice, "кошка"))

    async def test_an_edit_that_cannot_be_seen_tells_nothing(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        event_id = await self.alice.say(room, "кошка")
        await self.bob.leave(room)
        await self.edit(self.alice, room, event_id, "слон")
        self.assertEqual([], await self.find(self.bob, "слон"))
        self.assertEqual(["кошка"], await self.find(self.bob, "кошка"))
        self.assertEqual(["слон"], await self.find(self.alice, "слон"))


@on_both_databases
class Showing(SearchCase):
    async def test_a_filter_chooses_rooms_senders_types_and_urls(self) -> None:
        one, two = await self.alice.create(name="Слон", preset="public_chat"), await self.alice.create()
        await self.bob.join(one)
        await self.bob.say(one, "слон боба")
        await self.alice.say(two, "слон алисы")
        picture = {"msgtype": "m.image", "body": "слон.png", "url": "mxc://parta.test/x"}
        await self.alice.send(two, "m.room.message", picture)
        for wanted, found in (
            ({}, ["слон.png", "слон алисы", "слон боба", "Слон"]),
            ({"rooms": [one]}, ["слон боба", "Слон"]),
            ({"not_rooms": [one]}, ["слон.png", "слон алисы"]),
            ({"rooms": [one], "not_rooms": [one]}, []),
            ({"rooms": []}, []),
            ({"senders": [self.bob.user_id]}, ["слон боба"]),
            ({"senders": []}, []),
            ({"not_senders": [self.bob.user_id]}, ["слон.png", "слон алисы", "Слон"]),
            ({"types": ["m.room.n*"]}, ["Слон"]),
            ({"not_types": ["m.room.message"]}, ["Слон"]),
            ({"types": []}, []),
            ({"contains_url": True}, ["слон.png"]),
            ({"contains_url": False}, ["слон алисы", "слон боба", "Слон"]),
            ({"limit": 1}, ["слон.png"]),
        ):
            self.assertEqual(found, await self.find(self.alice, "слон", filter=wanted), wanted)

    async def test_the_more_relevant_comes_first_unless_the_recent_shall(self) -> None:
        room = await self.alice.create()
        texts = ["слон слон слон", "слон и ещё много других слов о том о сём", "слоны и слон", "три слона"]
        for text in texts:
            await self.alice.say(room, text)
        answer = await self.search(self.alice, "слон")
        ranks = [result["rank"] for result in answer["results"]]
        self.assertEqual(sorted(ranks, reverse=True), ranks)
        self.assertEqual("слон слон слон", bodies(answer)[0])
        self.assertEqual(texts[::-1], await self.find(self.alice, "слон"))

    async def test_context_is_what_lies_around(self) -> None:
        room = await self.alice.create()
        sent = [await self.alice.say(room, text) for text in ("раз", "два", "слон", "три", "четыре")]
        answer = await self.search(self.alice, "слон")
        self.assertNotIn("context", answer["results"][0])
        asked = {"before_limit": 1, "after_limit": 5, "include_profile": True}
        answer = await self.search(self.alice, "слон", event_context=asked)
        context = answer["results"][0]["context"]
        self.assertEqual([sent[1]], [event["event_id"] for event in context["events_before"]])
        self.assertEqual(sent[3:], [event["event_id"] for event in context["events_after"]])
        self.assertEqual({self.alice.user_id: {"displayname": "Alice"}}, context["profile_info"])
        page = await self.alice.messages(room, **{"from": context["start"], "limit": 1})
        self.assertEqual(sent[0], page["chunk"][0]["event_id"])
        page = await self.alice.messages(room, dir="f", **{"from": context["end"], "limit": 1})
        self.assertEqual([], page["chunk"])
        none = (await self.search(self.alice, "слон", event_context={"before_limit": 0, "after_limit": 0}))["results"][
            0
        ]
        self.assertEqual(([], []), (none["context"]["events_before"], none["context"]["events_after"]))
        self.assertNotIn("profile_info", none["context"])

    async def test_profiles_are_those_of_then(self) -> None:
        room = await self.alice.create()
        await self.alice.say(room, "слон")
        member = {"membership": "join", "displayname": "Алиса"}
        await self.alice.put(room, "m.room.member", member, self.alice.user_id)
        await self.alice.say(room, "слоны")
        answer = await self.search(self.alice, "слон", order_by="recent", event_context={"include_profile": True})
        names = [result["context"]["profile_info"][self.alice.user_id]["displayname"] for result in answer["results"]]
        self.assertEqual(["Алиса", "Alice"], names)

    async def test_the_state_of_rooms_with_results_is_included(self) -> None:
        room, other = await self.alice.create(name="Хор"), await self.alice.create()
        await self.alice.say(room, "слон")
        await self.alice.say(other, "кот")
        self.assertNotIn("state", await self.search(self.alice, "слон"))
        state = (await self.search(self.alice, "слон", include_state=True))["state"]
        self.assertEqual({room}, set(state))
        self.assertIn("Хор", [event["content"].get("name") for event in state[room]])

    async def test_no_categories_no_results(self) -> None:
        self.assertEqual({"search_categories": {}}, await self.alice.ok("POST", "/search", {"search_categories": {}}))
        for body in ({}, {"search_categories": {"room_events": {}}},
                     {"search_categories": {"room_events": {"search_term": 5}}},
                     {"search_categories": {"room_events": {"search_term": "x", "order_by": "x"}}},
                     {"search_categories": {"room_events": {"search_term": "x", "keys": ["content.x"]}}},
                     {"search_categories": {"room_events": {"search_term": "x", "filter": {"limit": 0}}}}):  # fmt: skip
            self.assertEqual((400, "M_BAD_JSON"), await self.alice.refused("POST", "/search", body), body)


@on_both_databases
class Paging(SearchCase):
    async def pages(self, person: Person, term: str, **wanted: Any) -> list[str]:
        """The IDs of all results, page after page."""
        found: list[str] = []
        batch = wanted.pop("next_batch", None)
        for _ in range(100):
            answer = await self.search(person, term, next_batch=batch, **wanted)
            found += [result["result"]["event_id"] for result in answer["results"]]
            batch = answer.get("next_batch")
            if batch is None:
                return found
        raise AssertionError("the pages have no end")

    async def talk(self, number: int) -> tuple[list[str], list[str]]:
        """Rooms in which both say things in turn; rooms and the IDs of what has an elephant in it."""
        rooms = [await self.alice.create(preset="public_chat") for _ in range(3)]
        for room in rooms:
            await self.bob.join(room)
        said = []
        for n in range(number):
            person = (self.alice, self.bob)[n % 2]
            said.append(await person.say(rooms[n % 3], "слон " * (n % 5 + 1)))
            await person.say(rooms[n % 3], "кот")
        return rooms, said

    async def test_pages_hold_everything_once_whatever_comes_meanwhile(self) -> None:
        _, said = await self.talk(23)
        self.assertEqual(said[::-1], await self.pages(self.alice, "слон", order_by="recent", filter={"limit": 4}))
        ranked = await self.pages(self.alice, "слон", filter={"limit": 4})
        self.assertEqual(sorted(said), sorted(ranked))
        self.assertEqual(ranked, await self.pages(self.alice, "слон", filter={"limit": 50}))
        first = await self.search(self.alice, "слон", order_by="recent", filter={"limit": 4})
        room = first["results"][0]["result"]["room_id"]
        await self.alice.say(room, "слон новый")
        later = await self.pages(
            self.alice, "слон", order_by="recent", filter={"limit": 4}, next_batch=first["next_batch"]
        )
        self.assertEqual(said[::-1][4:], later)

    async def test_many_matches_are_judged_in_blocks_and_paged_without_a_seam(self) -> None:
        self.patch(__import__("homeserver.rooms.search.pages", fromlist=["pages"]), "MOST_AT_ONCE", 5)
        rooms, said = await self.talk(23)
        for limit in (1, 3, 7):
            wanted = {"order_by": "recent", "filter": {"limit": limit}}
            self.assertEqual(said[::-1], await self.pages(self.alice, "слон", **wanted))
            self.assertEqual(sorted(said), sorted(await self.pages(self.alice, "слон", filter={"limit": limit})))
        for n in range(12):
            await self.edit(self.alice, rooms[0], said[0], f"слон {n}")
        self.assertEqual(said[::-1], await self.pages(self.alice, "слон", order_by="recent", filter={"limit": 2}))

    async def test_groups_hold_the_page_and_lead_on_within_themselves(self) -> None:
        rooms, said = await self.talk(12)
        grouped = {"groupings": {"group_by": [{"key": "room_id"}, {"key": "sender"}]}, "order_by": "recent"}
        answer = await self.search(self.alice, "слон", filter={"limit": 5}, **grouped)
        page = [result["result"]["event_id"] for result in answer["results"]]
        self.assertEqual({"room_id", "sender"}, set(answer["groups"]))
        for key in ("room_id", "sender"):
            groups = answer["groups"][key]
            self.assertEqual(
                sorted(page), sorted(event_id for group in groups.values() for event_id in group["results"])
            )
            self.assertEqual(list(range(1, len(groups) + 1)), [group["order"] for group in groups.values()])
        for n, room in enumerate(rooms):
            group = answer["groups"]["room_id"][room]
            rest = await self.pages(self.alice, "слон", filter={"limit": 2}, next_batch=group["next_batch"], **grouped)
            self.assertEqual(said[n::3][::-1], group["results"] + rest)
        for n, person in enumerate((self.alice, self.bob)):
            group = answer["groups"]["sender"][person.user_id]
            rest = await self.pages(self.alice, "слон", filter={"limit": 2}, next_batch=group["next_batch"], **grouped)
            self.assertEqual(said[n::2][::-1], group["results"] + rest)

    async def test_a_token_is_good_for_its_own_search_only(self) -> None:
        rooms, _ = await self.talk(12)
        private = await self.alice.create()
        for _ in range(12):
            await self.alice.say(private, "слон")
        token = (await self.search(self.alice, "слон"))["next_batch"]
        for person, term, batch in (
            (self.alice, "кот", token),
            (self.bob, "слон", token),
            *((self.alice, "слон", text) for text in ("", "x", "ё", "W10", token[:-4], token + "A", "=" * 3000, "\0")),
        ):
            body = {"search_categories": {"room_events": {"search_term": term}}}
            refusal = await person.refused("POST", "/search", body, next_batch=batch)
            self.assertEqual((400, "M_INVALID_PARAM"), refusal, batch)
        self.assertEqual(10, len((await self.search(self.alice, "слон", next_batch=token))["results"]))
        self.assertTrue(rooms)
