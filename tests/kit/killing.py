"""Killing one of two servers, or both, at a chosen moment, and what must be so afterwards.

kill = Kill(("away",), "home", "/send_join/", "answer")
with killed(pair, kill, lambda: bob.join(room, pair.home.name)) as attempt:
    ...                                                # while it is dead
was_done(attempt)
again(bob, lambda: bob.join(room, pair.home.name))
is_whole(room, anna, bob)
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.error import URLError

from tests.kit.relay import Moment, Stop
from tests.kit.strangers import V3, Denied, Person
from tests.kit.twins import Twin

BROKEN = (URLError, HTTPException, OSError)
"""What becomes of a request whose server is killed."""

Who: TypeAlias = Literal["home", "away"]


class Pair(NamedTuple):
    """The server that has the room, and the other one."""

    home: Twin
    away: Twin


class Kill(NamedTuple):
    """Who is killed when somebody asks a server for what has a `part` in its path or body, or when that was answered.
    What clients ask has a part that begins with its version. `lost`: it goes no further.
    """

    whom: tuple[Who, ...]
    asked: Who
    part: str
    moment: Moment = "answer"
    lost: bool = False

    def __str__(self) -> str:
        return f"{'+'.join(self.whom)}-{self.moment}-{self.part.strip('/')}{'-lost' * self.lost}"

    @contextmanager
    def held(self, pair: Pair) -> Iterator[Stop]:
        """Where the moment is waited for."""
        twin: Twin = getattr(pair, self.asked)
        relay = twin.desk if self.part.startswith("/v3/") else twin.gate
        with relay.stop(self.part, self.moment) as stop:
            yield stop


@contextmanager
def killed(pair: Pair, kill: Kill, act: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Somebody does something, and in the midst of it servers are killed; they begin again after the block. What it
    came to is known in the end.
    """
    victims: list[Twin] = [getattr(pair, whom) for whom in kill.whom]
    with ThreadPoolExecutor(1) as meanwhile:
        with kill.held(pair) as stop:
            attempt = meanwhile.submit(act)
            stop.wait()
            for twin in victims:
                twin.kill()
            if kill.lost:
                stop.lose()
        try:
            yield attempt
        finally:
            for twin in victims:
                twin.start()


def was_done(attempt: Future[Any]) -> bool:
    """Whether somebody was told that it is done."""
    fault = attempt.exception(60)
    assert fault is None or isinstance(fault, (*BROKEN, Denied)), fault
    return fault is None


def again(person: Person, act: Callable[[], Any]) -> None:
    """Do something until it is done: the other server may not be asked for a moment after it was away."""

    def attempt() -> bool:
        try:
            act()
        except Denied as denial:
            assert denial.status == 502, denial
            return False
        return True

    person.ask_until(attempt, bool)


def is_whole(room_id: str, anna: Person, bob: Person, *said: str) -> None:
    """Both are in the room, which is the same on both sides, and hear each other; what was said is there, once."""
    bob.hears(room_id, anna.say(room_id, "of Anna"))
    anna.hears(room_id, bob.say(room_id, "of Bob"))
    assert state_of(anna, room_id) == state_of(bob, room_id)
    histories = [anna.read_back(room_id), bob.read_back(room_id)]
    assert len({frozenset(event["event_id"] for event in history) for history in histories}) == 1
    for person, history in zip((anna, bob), histories, strict=True):
        assert texts_in(reversed(history)) == [*said, "of Anna", "of Bob"], person.user_id
        assert person.members(room_id) == {anna.user_id, bob.user_id}
        told = Counter(event["event_id"] for event in told_of(person, room_id))
        assert max(told.values()) == 1, [event_id for event_id, times in told.items() if times > 1]


def state_of(reader: Person, room_id: str) -> dict[tuple[str, str], str]:
    """The current state of a room, as event IDs."""
    events: list[dict[str, Any]] = reader.ask("GET", f"{reader.room(room_id)}/state")
    return {(event["type"], event["state_key"]): event["event_id"] for event in events}


def texts_in(events: Any) -> list[str]:
    """What was said."""
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


def told_of(person: Person, room_id: str) -> Iterator[dict[str, Any]]:
    """The events of a room that somebody was told of, one after the other."""
    for answer in person.told:
        yield from answer.get("rooms", {}).get("join", {}).get(room_id, {}).get("timeline", {}).get("events", ())


def joined(person: Person) -> list[str]:
    """The rooms that somebody is in."""
    rooms: list[str] = person.ask("GET", f"{V3}/joined_rooms")["joined_rooms"]
    return rooms
