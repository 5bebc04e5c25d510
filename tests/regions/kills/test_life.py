"""People of two servers live with each other while their servers are killed at requests of one to the other: in the end
both servers know the same, all that was acknowledged is there, and nothing is there twice.
"""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from typing import Any

import pytest

from tests.faults.caller import Caller, Refusal, register
from tests.faults.load import Deed, Follower, Message, Person, Redaction, Setting, Whisper, read_room
from tests.kit.relay import Moment, Passing
from tests.kit.twins import Twin

KILLS = 5
PASSED = (10, 80)
"""Between these many requests and answers go by before a kill."""
MORE = 10
"""How many deeds the others do while somebody is dead."""
PATIENCE_S = 60.0


class Border:
    """Two people of each of two servers in a room of either, and in a passage in the north, to which they come and from
    which they go. On each side somebody else follows the rooms; the passage's warden never leaves it.
    """

    def __init__(self, north: Twin, south: Twin, seed: int) -> None:
        self.twins = (north, south)
        self.chance = Random(seed)
        here, there = (
            [register(twin.desk.port, f"{name}{seed}") for name in names]
            for twin, names in ((north, ("anna", "boris", "warden")), (south, ("vera", "gleb", "eye")))
        )
        *ours, self.warden = here
        *theirs, self.eye = there
        callers = [*ours, *theirs]
        self.rooms = [
            open_room(twin, [caller, *here, *there]) for twin, caller in ((north, ours[0]), (south, theirs[0]))
        ]
        self.passage = open_room(north, [self.warden, *callers])
        self.people = [Person(caller, Random(self.chance.random()), self.rooms, self.passage) for caller in callers]
        self.followers = [Follower(caller, wait_ms=2000, most=500) for caller in (self.warden, self.eye)]
        for person in self.people:
            person.friends = self.followers
        for follower in self.followers:
            follower.catch_up()

    # life

    def live_and_kill(self) -> None:
        """Everybody lives, until some requests have gone by; then one server is killed, or both, and begins again."""
        victims = self.chance.choice([self.twins[:1], self.twins[1:], self.twins])
        bomb = Bomb(victims, self.chance.randint(*PASSED))
        for twin in self.twins:
            twin.gate.patient = self.chance.random() < 0.7
            twin.gate.heed = bomb.heed
        with ThreadPoolExecutor(6) as threads:
            work = [threads.submit(person.work, bomb.count, bomb.stop, bear) for person in self.people]
            work += [threads.submit(follower.follow, bomb.stop, bear) for follower in self.followers]
            try:
                assert bomb.has_gone_off.wait(PATIENCE_S), "too little has gone by"
                for twin in victims:
                    twin.start()
            finally:
                bomb.stop.set()
                for twin in self.twins:
                    twin.gate.heed = lambda passing, moment: None
        for done in work:
            done.result()

    def come_to_rest(self) -> None:
        """Everybody finishes what is in hand and comes into the passage, and each side hears the other's last words."""
        for twin in self.twins:
            twin.gate.patient = True
        for person in self.people:
            until(partial(self._finish, person), "what is in hand is done")
        ours, theirs = self.people[0], self.people[2]
        for room in (*self.rooms, self.passage):
            self._say_the_last(ours, theirs, room)
            self._say_the_last(theirs, ours, room)

    def _say_the_last(self, speaker: Person, hearer: Person, room: str) -> None:
        last = Message(room, f"the last of {speaker.name} in {room}")
        speaker.in_hand = last
        speaker.act()
        until(lambda: last.event_id in ids(read_room(hearer.caller, room)), f"{hearer.name} hears {speaker.name}")

    def _finish(self, person: Person) -> bool:
        try:
            while person.in_hand is not None:
                person.act()
            person.caller.call("POST", "/rooms/{}/join", {}, self.passage)
        except Refusal as refusal:
            bear(refusal)
            return False
        return True

    # what is so

    def check(self) -> None:
        """Both sides know the same, and all that was acknowledged, once."""
        for room in self.rooms:
            ours, theirs = self._compare(room, self.eye)
            assert set(ids(ours)) == set(ids(theirs))
            for history in (ours, theirs):
                self._check_history(room, history)
        ours, theirs = self._compare(self.passage, self.people[2].caller)
        assert set(ids(theirs)) <= set(ids(ours))  # it may lack what was said while nobody of theirs was there
        self._check_history(self.passage, ours)
        for follower in self.followers:
            self._check_follower(follower)

    def _compare(self, room: str, other: Caller) -> list[list[dict[str, Any]]]:
        """A room's history on both sides, where its state is the same."""
        sides = (self.warden, other)
        ours, theirs = (state_of(reader, room) for reader in sides)
        assert ours == theirs
        return [read_room(reader, room) for reader in sides]

    def _check_history(self, room: str, history: list[dict[str, Any]]) -> None:
        there = ids(history)
        said = Counter(event["content"]["body"] for event in history if "body" in event["content"])
        assert max(Counter(there).values()) == max(said.values()) == 1, (said - Counter(set(said)), Counter(there))
        by_id = {event["event_id"]: event for event in history}
        for person in self.people:
            redacted = {deed.target.event_id for deed in person.did(Redaction)}
            messages = [deed for deed in person.did(Message) if deed.room == room]
            for deed in messages:
                shown = by_id[deed.event_id]["content"].get("body")
                assert shown == (None if deed.event_id in redacted else deed.key), by_id[deed.event_id]
            settings = [deed for deed in person.did(Setting) if deed.room == room]
            assert all(by_id[deed.event_id]["content"] == {"key": deed.key} for deed in settings)
            redactions = {deed.event_id for deed in person.did(Redaction) if deed.target.room == room}
            assert redactions <= by_id.keys()
            wanted = [deed.event_id for deed in messages]
            assert [event_id for event_id in there if event_id in set(wanted)] == wanted, person.name

    def _check_follower(self, follower: Follower) -> None:
        """They have heard of everything in the rooms that they never left, once; and all that was whispered to them."""
        sent = Counter(deed.key for person in self.people for deed in person.did(Whisper) if deed.to is follower)
        until(lambda: follower.sync() or len(follower.whispers) >= sent.total(), "what was whispered is heard")
        assert Counter(follower.whispers) == sent
        for room in self.rooms:
            came, whole = follower.events[room], ids(read_room(follower.caller, room))
            assert max(Counter(came).values()) == 1
            assert set(came) == set(whole[whole.index(came[0]) :])


class Bomb:
    """Kills servers when so many requests and answers have gone by between them. It is over when some more was done by
    the others, if there are any.
    """

    def __init__(self, victims: tuple[Twin, ...], left: int) -> None:
        self._victims = victims
        self._left = left
        self._more = MORE
        self._lock = threading.Lock()
        self.has_gone_off = threading.Event()
        self.stop = threading.Event()

    def heed(self, passing: Passing, moment: Moment) -> None:
        """Something goes by."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                for twin in self._victims:
                    twin.kill()
                self.has_gone_off.set()

    def count(self, deed: Deed) -> None:
        """Something was done."""
        if self.has_gone_off.is_set():
            self._more -= 1
            if self._more <= 0:
                self.stop.set()


def bear(refusal: Refusal) -> None:
    """Who needs the other server may be told that it is away."""
    if refusal.answer.status != 502:
        raise refusal


def open_room(twin: Twin, callers: list[Caller]) -> str:
    """A room of the first, where everybody may set state, and all are."""
    wish = {"preset": "public_chat", "power_level_content_override": {"state_default": 0}}
    room: str = callers[0].call("POST", "/createRoom", wish)["room_id"]
    for caller in callers[1:]:
        caller.call("POST", "/join/{}", {}, room, query={"via": twin.name})
    return room


def ids(history: list[dict[str, Any]]) -> list[str]:
    """The IDs of events."""
    return [event["event_id"] for event in history]


def state_of(reader: Caller, room: str) -> dict[tuple[str, str], str]:
    """The current state of a room, as event IDs."""
    return {
        (event["type"], event["state_key"]): event["event_id"]
        for event in reader.call("GET", "/rooms/{}/state", None, room)
    }


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something is so on another server."""
    for _ in range(int(PATIENCE_S / 0.1)):
        if holds():
            return
        threading.Event().wait(0.1)  # another process: nothing here could tell us
    raise AssertionError(f"it does not come to pass that {what}")


@pytest.mark.parametrize("seed", [1, 2])
def test_two_servers_that_are_killed_all_the_time_end_with_the_same(both: tuple[Twin, Twin], seed: int) -> None:
    border = Border(*both, seed)
    for _ in range(KILLS):
        border.live_and_kill()
    border.come_to_rest()
    border.check()
