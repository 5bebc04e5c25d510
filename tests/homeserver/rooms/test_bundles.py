"""Bundles are what a naive recount of all that everybody may see comes to, over random histories with redactions."""

import random
from typing import Any

import msgspec

from homeserver.storage.data import set_account_data
from tests.kit.databases import on_both_databases
from tests.kit.houses import HouseCase, Person

SEEDS = 6
STEPS = 120


class Recount:
    """What a person should be told, from all events that there are: nothing but loops over them."""

    def __init__(self, events: list[Any], me: str, ignored: set[str]) -> None:
        self.me, self.ignored = me, ignored
        self.events = {event["event_id"]: event for event in events}

    def bundle(self, event: Any, *, inner: bool = False) -> Any:
        if "state_key" in event:
            return {}
        found: dict[str, Any] = {}
        edits = [each for each in self.children(event, "m.replace") if self.is_edit(each, event)]
        if edits:
            found["m.replace"] = max(edits, key=lambda e: (e["origin_server_ts"], e["event_id"]))["event_id"]
        references = [each["event_id"] for each in self.children(event, "m.reference")]
        if references:
            found["m.reference"] = references
        replies = [each for each in self.children(event, "m.thread") if "state_key" not in each]
        if replies and not inner and self.relation(event) is None:
            people = {event["sender"], *(reply["sender"] for reply in replies)}
            latest = replies[-1]
            last = (latest["event_id"], self.bundle(latest, inner=True))
            found["m.thread"] = (last, len(replies), self.me in people)
        return found

    def children(self, parent: Any, kind: str) -> list[Any]:
        related = [each for each in self.events.values() if self.relation(each) == (kind, parent["event_id"])]
        return [each for each in related if each["sender"] not in self.ignored]

    def relation(self, event: Any) -> tuple[str, str] | None:
        relates = event["content"].get("m.relates_to")
        return (relates["rel_type"], relates["event_id"]) if relates else None

    def is_edit(self, edit: Any, original: Any) -> bool:
        same = all(edit[name] == original[name] for name in ("sender", "type"))
        is_edit = (self.relation(original) or ("",))[0] == "m.replace"
        redacted = "redacted_because" in original["unsigned"]
        return same and not is_edit and not redacted and "m.new_content" in edit["content"] and "state_key" not in edit


def told(event: Any) -> Any:
    """What an event says is bundled with it, in the words of the recount."""
    shown = event["unsigned"].get("m.relations", {})
    found: dict[str, Any] = {}
    if "m.replace" in shown:
        found["m.replace"] = shown["m.replace"]["event_id"]
    if "m.reference" in shown:
        found["m.reference"] = [each["event_id"] for each in shown["m.reference"]["chunk"]]
    if "m.thread" in shown:
        thread = shown["m.thread"]
        last = (thread["latest_event"]["event_id"], told(thread["latest_event"]))
        found["m.thread"] = (last, thread["count"], thread["current_user_participated"])
    return found


@on_both_databases
class Recounts(HouseCase):
    async def test_bundles_are_what_a_recount_comes_to(self) -> None:
        for seed in range(SEEDS):
            await self.live(random.Random(seed), f"seed {seed}")

    async def live(self, chance: random.Random, where: str) -> None:
        people = [self.alice, self.bob, self.carol]
        room = await self.alice.create(preset="public_chat")
        for person in people[1:]:
            await person.join(room)
        sent: list[tuple[Person, str]] = []
        for _ in range(STEPS):
            await self.step(chance, room, people, sent)
        ignorer, ignored = chance.sample(people, 2)
        content = msgspec.json.encode({"ignored_users": {ignored.user_id: {}}})
        await self.db.write(set_account_data, ignorer.user_id, "m.ignored_user_list", content)
        for person in people:
            events = (await person.messages(room, dir="f", limit=500))["chunk"]
            recount = Recount(events, person.user_id, {ignored.user_id} if person is ignorer else set())
            for event in events:
                self.assertEqual(told(event), recount.bundle(event), (where, person.user_id, event))
            for _, event_id in chance.sample(sent, 10):
                alone = await person.event(room, event_id)
                self.assertEqual(told(alone), recount.bundle(recount.events[event_id]), (where, event_id))
        content = msgspec.json.encode({"ignored_users": {}})
        await self.db.write(set_account_data, ignorer.user_id, "m.ignored_user_list", content)

    async def step(
        self, chance: random.Random, room: str, people: list[Person], sent: list[tuple[Person, str]]
    ) -> None:
        """Somebody says something, relates to something, redacts something of theirs; or time goes by, or a restart."""
        who, deed = chance.choice(people), chance.random()
        if deed < 0.15:
            self.clock.advance(1)
        elif deed < 0.16:
            self.restart()
        elif deed < 0.26 and sent:
            author, event_id = chance.choice(sent[-12:])
            await author.redact(room, event_id)
        elif deed < 0.36 or not sent:
            sent.append((who, await who.say(room)))
        else:
            author, parent = chance.choice(sent[-6:])
            kind = chance.choice(["m.replace", "m.replace", "m.reference", "m.thread", "m.thread", "m.annotation"])
            if kind == "m.replace" and chance.random() < 0.7:
                who = author
            content: dict[str, Any] = {"body": "x", "m.relates_to": {"rel_type": kind, "event_id": parent, "key": "x"}}
            if chance.random() < 0.8:
                content["m.new_content"] = {"body": "y"}
            event_type = chance.choice(["m.room.message"] * 5 + ["m.sticker"])
            path = f"/rooms/{room}/send/{event_type}/{self.new_txn()}"
            reply = await who.call("PUT", path, content)
            if reply.status == 200:
                sent.append((who, reply.json["event_id"]))
            else:
                self.assertIn((reply.status, kind), [(400, "m.thread"), (400, "m.annotation")])
