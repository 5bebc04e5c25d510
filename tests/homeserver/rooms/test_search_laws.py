"""Every message with the word that somebody may see is found, and no other: compared with reading all of history."""

import random
from typing import Any

from tests.kit.databases import on_both_databases
from tests.kit.houses import HouseCase, Person

SEEDS, STEPS = 4, 60
FORMS = ("слон", "слоны", "Слонами", "СЛОНА")
OTHERS = ("кот", "слово", "салон", "elephant")


def shown_text(event: Any) -> str:
    """The text of a message as it is shown now."""
    edit = event.get("unsigned", {}).get("m.relations", {}).get("m.replace")
    content = event["content"] if edit is None else edit["content"]["m.new_content"]
    return str(content.get("body", ""))


@on_both_databases
class Laws(HouseCase):
    async def test_what_is_found_is_what_history_shows(self) -> None:
        for seed in range(SEEDS):
            await self.live(random.Random(seed), f"seed {seed}")

    async def live(self, chance: random.Random, where: str) -> None:
        visibility = chance.choice(("shared", "joined", "invited", "world_readable"))
        rule = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
        rooms = [await self.alice.create(preset="public_chat", initial_state=[rule]) for _ in range(2)]
        people, sent = (self.bob, self.carol), list[tuple[Person, str, str]]()
        for step in range(STEPS):
            room, person = chance.choice(rooms), chance.choice((self.alice, *people))
            self.clock.advance(1)
            match chance.randrange(6):
                case 0 if person is not self.alice:
                    inside = room in (await person.ok("GET", "/joined_rooms"))["joined_rooms"]
                    await (person.leave(room) if inside else person.join(room))
                case 1 if sent:
                    await self.alice.redact(*chance.choice(sent)[1:])
                case 2 if sent:
                    await self.edit(chance.choice(sent), f"{chance.choice(FORMS + OTHERS)} {step}")
                case _:
                    if room in (await person.ok("GET", "/joined_rooms"))["joined_rooms"]:
                        text = f"{chance.choice(FORMS + OTHERS)} {step}"
                        sent.append((person, room, await person.say(room, text)))
        for person in (self.alice, *people, self.dave):
            expected = [event_id for room in rooms for event_id in await self.visible(person, room)]
            self.assertEqual(sorted(expected), sorted(await self.found(person, rooms)), f"{where}, {person.user_id}")

    async def edit(self, what: tuple[Person, str, str], text: str) -> None:
        person, room, event_id = what
        relation = {"rel_type": "m.replace", "event_id": event_id}
        content = {"body": "*", "m.new_content": {"body": text}, "m.relates_to": relation}
        if room in (await person.ok("GET", "/joined_rooms"))["joined_rooms"]:
            await person.send(room, "m.room.message", content)

    async def visible(self, person: Person, room: str) -> list[str]:
        """The messages with the word that history shows to somebody who was ever in the room."""
        reply = await person.call("GET", f"/rooms/{room}/messages", dir="b", limit=500)
        membership = await person.call("GET", f"/rooms/{room}/state/m.room.member/{person.user_id}")
        if reply.status != 200 or membership.status != 200:
            return []
        messages = [event for event in reply.json["chunk"] if event["type"] == "m.room.message"]
        own = [event for event in messages if "m.new_content" not in event["content"]]
        return [event["event_id"] for event in own if shown_text(event).split(" ")[0] in FORMS]

    async def found(self, person: Person, rooms: list[str]) -> list[str]:
        wanted = {"search_term": "слонам", "filter": {"rooms": rooms, "limit": 50}}
        answer = await person.ok("POST", "/search", {"search_categories": {"room_events": wanted}})
        found = answer["search_categories"]["room_events"]
        self.assertEqual(found["count"], len(found["results"]))
        return [result["result"]["event_id"] for result in found["results"]]
