"""Parta and a real Synapse when things go wrong between them: either is killed in the midst, or both are parted."""

import threading
from http.client import HTTPException
from itertools import count
from typing import Any
from urllib.error import URLError
from urllib.parse import quote

import pytest

from tests.kit.strangers import V3, Person
from tests.kit.synapse import VERSIONS, Pair, meet

_numbers = count()
BROKEN = (URLError, HTTPException, OSError)
"""What becomes of a request whose server is killed."""


class Talk(threading.Thread):
    """Somebody talks until their server is there no more; `said` is what was acknowledged."""

    def __init__(self, person: Person, room_id: str) -> None:
        super().__init__(daemon=True)
        self._person = person
        self._room_id = room_id
        self.said: list[str] = []
        self.in_midst = threading.Event()

    def run(self) -> None:
        for number in range(30):
            try:
                self.said.append(self._person.say(self._room_id, f"line {number}"))
            except BROKEN:
                break
            if number == 5:
                self.in_midst.set()


def reads(reader: Person, room_id: str, *said: list[str]) -> None:
    """Somebody reads all that, of each list each once and in its order."""
    wanted = {event_id for some in said for event_id in some}

    def look() -> list[str]:
        return [event["event_id"] for event in reversed(reader.read_back(room_id))]

    read = reader.ask_until(look, wanted.issubset)
    for some in said:
        assert [event_id for event_id in read if event_id in set(some)] == some


def test_what_was_acknowledged_outlives_a_kill_and_both_catch_up(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    room_id = meet(pair, anna, bob)
    talk = Talk(bob, room_id)
    talk.start()
    said = [anna.say(room_id, f"before {number}") for number in range(5)]
    assert talk.in_midst.wait(30)
    with pair.away.killed():
        talk.join(60)
        said += [anna.say(room_id, f"meanwhile {number}") for number in range(20)]
    talk.said.append(bob.say(room_id, "back"))
    said.append(anna.say(room_id, "welcome"))
    for reader in people:
        reads(reader, room_id, said, talk.said)


def send_notes(sender: Person, receiver: Person, notes: range) -> None:
    """Messages to a device, with numbers."""
    for number in notes:
        content = {"messages": {receiver.user_id: {receiver.device_id: {"number": number}}}}
        sender.ask("PUT", f"{V3}/sendToDevice/org.example.note/n{next(_numbers)}", content)


def notes_told(person: Person) -> list[int]:
    """The numbers of the messages that have come, in the order in which they came."""
    events = [event for answer in person.told for event in answer.get("to_device", {}).get("events", ())]
    return [event["content"]["number"] for event in events if event["type"] == "org.example.note"]


def test_messages_to_devices_come_once_and_in_order_whoever_is_killed(
    pair: Pair, people: tuple[Person, Person]
) -> None:
    anna, bob = people
    room_id = meet(pair, anna, bob)
    send_notes(anna, bob, range(5))
    send_notes(bob, anna, range(5))
    bob.until(lambda _: True if notes_told(bob) else None, "the first")  # the rest is on its way
    with pair.away.killed():
        send_notes(anna, bob, range(5, 12))
    send_notes(bob, anna, range(5, 12))
    bob.say(room_id, "back")
    for person in people:
        person.until(lambda _, person=person: True if len(notes_told(person)) >= 12 else None, "all")  # type: ignore[misc]
        person.sync()
        assert notes_told(person) == list(range(12))


@pytest.mark.parametrize("version", VERSIONS)
def test_what_both_do_while_they_are_parted_comes_to_the_same(
    pair: Pair, people: tuple[Person, Person], version: str
) -> None:
    anna, bob = people
    room_id = meet(pair, anna, bob, version)
    levels = anna.state(room_id, "m.room.power_levels")
    named = {**levels, "users": {**levels.get("users", {}), bob.user_id: 50}}
    bob.hears(room_id, anna.set_state(room_id, "m.room.power_levels", named))
    for side in pair:
        side.cable.cut()
    anna.set_state(room_id, "m.room.topic", {"topic": "of Anna"})
    anna.set_state(room_id, "m.room.power_levels", levels)  # Bob may set nothing any more, and does not know
    bob.set_state(room_id, "m.room.topic", {"topic": "of Bob"})
    bob.set_state(room_id, "m.room.name", {"name": "of Bob"})
    said = [anna.say(room_id, "alone")], [bob.say(room_id, "alone")]
    for side in pair:
        side.cable.mend()
    said[1].append(bob.say(room_id, "again"))
    said[0].append(anna.say(room_id, "again"))
    for reader in people:
        reads(reader, room_id, *said)
    states = [state_of(reader, room_id) for reader in people]
    assert states[0] == states[1]
    assert bob.state(room_id, "m.room.topic") == {"topic": "of Anna"}
    assert bob.denied("GET", f"{bob.room(room_id)}/state/m.room.name/").status == 404


def state_of(person: Person, room_id: str) -> dict[tuple[str, str], str]:
    """The current state of a room, as event IDs."""
    events: list[dict[str, Any]] = person.ask("GET", f"{person.room(room_id)}/state")
    return {(event["type"], event["state_key"]): event["event_id"] for event in events}


def test_a_file_is_fetched_again_by_who_was_killed_while_it_came(pair: Pair, people: tuple[Person, Person]) -> None:
    anna, bob = people
    content = bytes(range(256)) * 16_384  # four megabytes
    uri = anna.ask("POST", "/_matrix/media/v3/upload", content, "text/plain")["content_uri"]
    path = f"/_matrix/client/v1/media/download/{quote(uri.removeprefix('mxc://'), safe='/')}"
    got: list[object] = []

    def fetch() -> None:
        try:
            got.append(bob.ask("GET", path))
        except BROKEN as fault:
            got.append(fault)

    pair.home.cable.hold(1 << 20)
    fetching = threading.Thread(target=fetch, daemon=True)
    fetching.start()
    assert pair.home.cable.held.wait(30)
    with pair.away.killed():
        fetching.join(60)
        pair.home.cable.release()
    assert isinstance(got[0], BROKEN)
    assert [file for file in pair.away.folder.rglob("incoming/*") if file.is_file()] == []
    assert bob.ask("GET", path) == content
