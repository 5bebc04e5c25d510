"""Whoever is killed while one server tells the other something: it arrives, once, and in the order in which it was
said.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.kit.killing import Kill, Pair, killed, told_of, was_done
from tests.kit.strangers import V3, Person
from tests.kit.twins import Twin

MANY = 100
KILLS = [
    Kill(("home",), "away", "the last", "request", lost=True),
    Kill(("home",), "away", "the last"),
    Kill(("away",), "away", "the last", lost=True),
    Kill(("home", "away"), "away", "the last"),
]
_numbers = count()


def whisper(sender: Person, receiver: Person, words: str) -> None:
    """Send a message to somebody's device."""
    content = {"messages": {receiver.user_id: {receiver.device_id: {"body": words}}}}
    sender.ask("PUT", f"{V3}/sendToDevice/org.example.whisper/w{next(_numbers)}", content)


def whispers(person: Person) -> list[str]:
    """What was whispered, in the order in which it came."""
    told = (event for answer in person.told for event in answer.get("to_device", {}).get("events", ()))
    return [event["content"]["body"] for event in told]


def meet(pair: Pair, anna: Person, bob: Person) -> str:
    """A room of Anna's in which Bob has heard her."""
    room_id = anna.create("12")
    bob.join(room_id, pair.home.name)
    bob.hears(room_id, anna.say(room_id, "the first"))
    return room_id


def restart_both(pair: Pair) -> None:
    """Both are killed once more: what they know they know from their tables."""
    for twin in pair:
        twin.kill()
    with ThreadPoolExecutor(2) as starting:
        list(starting.map(Twin.start, pair))


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_a_message(pair: Pair, people: tuple[Person, Person], kill: Kill) -> None:
    anna, bob = people
    room_id = meet(pair, anna, bob)
    with killed(pair, kill, lambda: anna.say(room_id, "the last")) as attempt:
        pass
    assert was_done(attempt)
    bob.hears(room_id, attempt.result())
    anna.hears(room_id, bob.say(room_id, "back"))
    bob.hears(room_id, anna.say(room_id, "again"))
    for reader in people:
        texts = [event["content"]["body"] for event in reader.read_back(room_id) if "body" in event["content"]]
        assert texts == ["again", "back", "the last", "the first"]
    told = Counter(event["event_id"] for event in told_of(bob, room_id))
    assert told[attempt.result()] == max(told.values()) == 1


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_a_message_to_a_device(pair: Pair, people: tuple[Person, Person], kill: Kill) -> None:
    anna, bob = people
    meet(pair, anna, bob)
    whisper(anna, bob, "the first")
    with killed(pair, kill, lambda: whisper(anna, bob, "the last")) as attempt:
        pass
    assert was_done(attempt)
    bob.until(lambda _: "the last" in whispers(bob) or None)
    restart_both(pair)
    whisper(anna, bob, "again")
    bob.until(lambda _: "again" in whispers(bob) or None)
    assert whispers(bob) == ["the first", "the last", "again"]


def chat(who: Person, room_id: str) -> list[str]:
    """Let somebody say one thing after the other; the events."""
    return [who.say(room_id, f"{number}") for number in range(MANY // 2)]


def test_all_that_was_said_to_who_was_away_arrives_in_order(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    eve = pair.home.person("eve")
    room_id = meet(pair, anna, bob)
    eve.join(room_id, pair.home.name)
    bob.sees(room_id, eve, "join")
    pair.away.gate.patient = False
    pair.away.kill()
    with ThreadPoolExecutor(2) as talking:
        lists = [talking.submit(chat, who, room_id) for who in (anna, eve)]
    said = [each.result() for each in lists]
    for number in range(MANY // 2):
        whisper(anna, bob, f"{number}")
    pair.home.kill()
    pair.away.gate.patient = True
    for twin in pair:
        twin.start()
    anna.hears(room_id, bob.say(room_id, "back"))
    bob.hears(room_id, anna.say(room_id, "welcome"))
    bob.until(lambda _: len(whispers(bob)) >= MANY // 2 or None)
    assert whispers(bob) == [f"{number}" for number in range(MANY // 2)]
    for reader in (bob, anna):
        read = [event["event_id"] for event in reversed(reader.read_back(room_id))]
        for some in said:
            assert [event_id for event_id in read if event_id in set(some)] == some
