"""People at work on a server that may die at any moment: what they do, and what they were told was done.

A `Deed` is one request that may be made again as it is. A `Person` does deeds one after the other; the one in hand when
no answer came is done again before any other. A `Follower` syncs, and keeps what it was given in the order it came.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from threading import Event
from typing import Any

from tests.faults.caller import Caller, Lost, Refusal

STATE = "org.parta.test.state"
NOTE = "org.parta.test.note"
WHISPER = "org.parta.test.whisper"
MOST_UPLOADED = 100_000
MOST_SYNCS = 200
FEW = 15
RETRY_S = 0.02


@dataclass
class Deed:
    """One request. `interrupted`: at least once no answer came to it."""

    interrupted: bool = field(default=False, init=False)

    def do(self, caller: Caller) -> None:
        """Make the request, and keep what the answer says.

        Raises: Lost; Refusal.
        """
        raise NotImplementedError


@dataclass
class Message(Deed):
    """A message; its key is its transaction ID and its text."""

    room: str
    key: str
    event_id: str = ""

    def do(self, caller: Caller) -> None:
        self.event_id = self.sent_by(caller)

    def sent_by(self, caller: Caller) -> str:
        """The event ID that the server answers."""
        content = {"msgtype": "m.text", "body": self.key}
        path = "/rooms/{}/send/m.room.message/{}"
        event_id: str = caller.call("PUT", path, content, self.room, self.key)["event_id"]
        return event_id


@dataclass
class Redaction(Deed):
    """A redaction of a message that was acknowledged."""

    target: Message
    key: str
    event_id: str = ""

    def do(self, caller: Caller) -> None:
        self.event_id = self.sent_by(caller)

    def sent_by(self, caller: Caller) -> str:
        """The event ID that the server answers."""
        path = "/rooms/{}/redact/{}/{}"
        answer = caller.call("PUT", path, {}, self.target.room, self.target.event_id, self.key)
        event_id: str = answer["event_id"]
        return event_id


@dataclass
class Setting(Deed):
    """A state event of the person's own."""

    room: str
    state_key: str
    key: str
    event_id: str = ""

    def do(self, caller: Caller) -> None:
        answer = caller.call("PUT", "/rooms/{}/state/{}/{}", {"key": self.key}, self.room, STATE, self.state_key)
        self.event_id = answer["event_id"]


@dataclass
class Move(Deed):
    """A join or a leave."""

    room: str
    joins: bool

    def do(self, caller: Caller) -> None:
        try:
            caller.call("POST", "/rooms/{}/" + ("join" if self.joins else "leave"), {}, self.room)
        except Refusal as refusal:
            if self.joins or not self.interrupted or refusal.answer.status != 403:
                raise  # who has left already may be told so


@dataclass
class Note(Deed):
    """Account data, of a room or of none."""

    user_id: str
    room: str
    key: str

    @property
    def path(self) -> tuple[str, tuple[str, ...]]:
        """Where it is kept."""
        if self.room:
            return "/user/{}/rooms/{}/account_data/{}", (self.user_id, self.room, NOTE)
        return "/user/{}/account_data/{}", (self.user_id, NOTE)

    def do(self, caller: Caller) -> None:
        path, parts = self.path
        caller.call("PUT", path, {"key": self.key}, *parts)


@dataclass
class Upload(Deed):
    """A file."""

    content: bytes
    uri: str = ""

    def do(self, caller: Caller) -> None:
        self.uri = caller.call("POST", "/_matrix/media/v3/upload", body=self.content)["content_uri"]


@dataclass
class Whisper(Deed):
    """A message to one device."""

    to: "Follower"
    key: str

    def do(self, caller: Caller) -> None:
        messages = {self.to.caller.user_id: {self.to.caller.device_id: {"key": self.key}}}
        caller.call("PUT", "/sendToDevice/{}/{}", {"messages": messages}, WHISPER, self.key)


@dataclass
class Receipt(Deed):
    """A read receipt."""

    target: Message

    def do(self, caller: Caller) -> None:
        caller.call("POST", "/rooms/{}/receipt/m.read/{}", {}, self.target.room, self.target.event_id)


@dataclass
class Rename(Deed):
    """Another display name; it is to be seen in all of the person's rooms."""

    user_id: str
    name: str

    def do(self, caller: Caller) -> None:
        caller.call("PUT", "/profile/{}/displayname", {"displayname": self.name}, self.user_id)


class Person:
    """Somebody at work. `done` was acknowledged, `in_hand` may have been done or not.

    `is_inside`: whether they are in the `passage`, the room that people come to and go from.
    """

    def __init__(self, caller: Caller, chance: Random, rooms: list[str], passage: str) -> None:
        self.caller = caller
        self.name = caller.user_id.partition(":")[0][1:]
        self.done: list[Deed] = []
        self.in_hand: Deed | None = None
        self.friends: list[Follower] = []
        self.is_inside = True
        self._chance = chance
        self._rooms = rooms
        self._passage = passage
        self._count = 0
        self._makers: dict[Callable[[], Deed], int] = {
            self._say: 60,
            self._redact: 4,
            self._set: 6,
            self._move: 5,
            self._note: 8,
            self._upload: 3,
            self._whisper: 10,
            self._receipt: 4,
            self._rename: 2,
        }

    def did(self, kind: type[Deed]) -> Iterator[Any]:
        """The acknowledged deeds of a kind, in order."""
        return (deed for deed in self.done if isinstance(deed, kind))

    def work(self, told: Callable[[Deed], None], stop: Event, bear: Callable[[Refusal], None]) -> None:
        """Do one deed after the other, until `stop` is set or the server is gone.

        `bear` judges refusals; what is refused is tried again. Raises: what it raises.
        """
        try:
            while not stop.is_set():
                try:
                    self.act()
                except Refusal as refusal:
                    bear(refusal)
                    stop.wait(RETRY_S)
                else:
                    told(self.done[-1])
        except Lost:
            pass

    def act(self) -> None:
        """Finish what is in hand, or do something new.

        Raises: Lost; Refusal.
        """
        deed = self.in_hand = self.in_hand or self._choose()
        try:
            deed.do(self.caller)
        except (Lost, Refusal):
            deed.interrupted = True
            raise
        self.done.append(deed)
        self.in_hand = None
        if isinstance(deed, Move):
            self.is_inside = deed.joins

    def repeat(self, deeds: list[Message | Redaction]) -> None:
        """Make acknowledged requests again: the answers must be the same."""
        for deed in deeds:
            again = deed.sent_by(self.caller)
            assert again == deed.event_id, f"{deed} was answered {again} the second time"

    def _choose(self) -> Deed:
        (make,) = self._chance.choices(list(self._makers), list(self._makers.values()))
        return make()

    def _key(self) -> str:
        self._count += 1
        return f"{self.name}-{self._count}"

    def _room(self) -> str:
        return self._chance.choice([*self._rooms, self._passage] if self.is_inside else self._rooms)

    def _say(self) -> Deed:
        return Message(self._room(), self._key())

    def _target(self) -> Message | None:
        redacted = {redaction.target.event_id for redaction in self.did(Redaction)}
        recent = [said for said in self.did(Message) if said.room in self._rooms and said.event_id not in redacted]
        return self._chance.choice(recent[-20:]) if recent else None

    def _redact(self) -> Deed:
        target = self._target()
        return self._say() if target is None else Redaction(target, self._key())

    def _receipt(self) -> Deed:
        said = (deed for deed in reversed(self.done) if isinstance(deed, Message) and deed.room in self._rooms)
        target = next(said, None)
        return self._say() if target is None else Receipt(target)

    def _rename(self) -> Deed:
        return Rename(self.caller.user_id, self._key())

    def _set(self) -> Deed:
        return Setting(self._chance.choice(self._rooms), f"{self.name}'s", self._key())

    def _move(self) -> Deed:
        return Move(self._passage, not self.is_inside)

    def _note(self) -> Deed:
        return Note(self.caller.user_id, self._chance.choice(["", *self._rooms]), self._key())

    def _upload(self) -> Deed:
        return Upload(self._chance.randbytes(self._chance.randrange(1, MOST_UPLOADED)))

    def _whisper(self) -> Deed:
        return Whisper(self._chance.choice(self.friends), self._key())


class Follower:
    """A device that syncs: `events` are those that came to it by room, `whispers` and `notes` what else did. With few
    events a sync (`most`) it has gaps to read.
    """

    def __init__(self, caller: Caller, *, wait_ms: int, most: int = FEW) -> None:
        self.caller = caller
        self.token = ""
        self.events: dict[str, list[str]] = {}
        self.whispers: list[str] = []
        self.notes: dict[str, str] = {}
        self.typing: dict[str, list[str]] = {}
        self._wait_ms = wait_ms
        self._most = most

    def follow(self, stop: Event, bear: Callable[[Refusal], None]) -> None:
        """Sync until `stop` is set or the server is gone; `bear` judges refusals."""
        try:
            while not stop.is_set():
                try:
                    self.sync(self._wait_ms)
                except Refusal as refusal:
                    bear(refusal)
                    stop.wait(RETRY_S)
        except Lost:
            pass

    def sync(self, wait_ms: int = 0) -> bool:
        """Sync once; whether there was something new.

        Raises: Lost; then nothing was taken.
        """
        page = read_sync(self.caller, self.token, wait_ms, self._most)
        rooms = {**page.get("rooms", {}).get("join", {}), **page.get("rooms", {}).get("leave", {})}
        came = {room: self._timeline(room, part) for room, part in rooms.items()}
        self.token = page["next_batch"]
        for room, events in came.items():
            self.events.setdefault(room, []).extend(events)
            self._take(room, rooms[room])
        self._take("", page)
        self.whispers += [event["content"]["key"] for event in page.get("to_device", {}).get("events", ())]
        return bool(rooms) or any(page.get(part, {}).get("events") for part in ("to_device", "account_data"))

    def catch_up(self) -> None:
        """Sync until there is nothing new.

        Raises: Lost.
        """
        for _ in range(MOST_SYNCS):
            if not self.sync():
                return
        raise AssertionError("a sync never comes to an end")

    def _take(self, room: str, part: dict[str, Any]) -> None:
        """Take account data and typing."""
        for event in part.get("account_data", {}).get("events", ()):
            if event["type"] == NOTE:
                self.notes[room] = event["content"]["key"]
        for event in part.get("ephemeral", {}).get("events", ()):
            if event["type"] == "m.typing":
                self.typing[room] = event["content"]["user_ids"]

    def _timeline(self, room: str, part: dict[str, Any]) -> list[str]:
        """The events of a room's part after those that came before."""
        events = self.events.get(room)
        return continue_timeline(self.caller, room, part, events[-1] if events else "")


def read_sync(caller: Caller, token: str, wait_ms: int = 0, most: int = FEW) -> dict[str, Any]:
    """One sync, with so many events a room."""
    query: dict[str, object] = {"timeout": wait_ms, "filter": f'{{"room":{{"timeline":{{"limit":{most}}}}}}}'}
    if token:
        query["since"] = token
    page: dict[str, Any] = caller.call("GET", "/sync", query=query)
    return page


def bear_nothing(refusal: Refusal) -> None:
    """Nobody may be refused."""
    raise refusal


def continue_timeline(caller: Caller, room: str, part: dict[str, Any], last: str) -> list[str]:
    """The IDs of a room's events that a sync's part tells of, after the `last` one known; where there is a gap it is
    read from the room. A timeline that begins anew, as after coming back, may repeat what is known.
    """
    timeline = part.get("timeline", {"events": []})
    events = [event["event_id"] for event in timeline["events"]]
    if not timeline.get("limited") or not last:
        return events
    if last in events:
        return events[events.index(last) + 1 :]
    return read_back(caller, room, timeline["prev_batch"], last) + events


def read_back(caller: Caller, room: str, token: str, until: str) -> list[str]:
    """The IDs of a room's events before a token and after the event `until`, oldest first."""
    found: list[str] = []
    for page in pages(caller, room, token):
        for event in page:
            if event["event_id"] == until:
                return found[::-1]
            found.append(event["event_id"])
    return found[::-1]


def pages(caller: Caller, room: str, token: str = "") -> Iterator[list[dict[str, Any]]]:
    """A room's events in pages, the latest first, to its start."""
    while True:
        query: dict[str, object] = {"dir": "b", "limit": 500}
        if token:
            query["from"] = token
        page = caller.call("GET", "/rooms/{}/messages", None, room, query=query)
        yield page["chunk"]
        if "end" not in page:
            return
        assert page["end"] != token, "a page that leads to itself"
        token = page["end"]


def read_room(caller: Caller, room: str) -> list[dict[str, Any]]:
    """All events of a room, oldest first."""
    return [event for page in pages(caller, room) for event in page][::-1]
