"""People at any Matrix homeserver, in another process: what they ask over HTTP, and what they are told by /sync."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

T = TypeVar("T")
Event = dict[str, Any]

V3 = "/_matrix/client/v3"
PASSWORD = "correct horse 5"
PATIENCE_S = 40.0

_numbers = count()


class Fetched(NamedTuple):
    """A file, and what is said of it; the names are in lower case."""

    headers: dict[str, str]
    content: bytes


class Denied(Exception):
    """The server said no."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.errcode = body.get("errcode") if isinstance(body, dict) else None


def ask(base_url: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
    """The JSON (or bytes) that a server answers. Raises: Denied."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = urllib.request.Request(base_url + path, body, dict(headers or {}), method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            content = reply.read()
            return json.loads(content) if reply.headers.get_content_type() == "application/json" else content
    except urllib.error.HTTPError as error:
        content = error.read()
        try:
            raise Denied(error.code, json.loads(content)) from None
        except ValueError:
            raise Denied(error.code, content) from None


def fetch(base_url: str, path: str, headers: Mapping[str, str]) -> Fetched:
    """A file, as it is served. Raises: HTTPError."""
    with urllib.request.urlopen(urllib.request.Request(base_url + path, headers=dict(headers)), timeout=60) as reply:
        return Fetched({name.lower(): value for name, value in reply.headers.items()}, reply.read())


def log_in_or_register(base_url: str, name: str) -> "Person":
    """Somebody new."""
    wanted = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    got = ask(base_url, "POST", f"{V3}/register", wanted)
    return Person(base_url, got["user_id"], got["device_id"], got["access_token"])


@dataclass
class Person:
    """Somebody at a device. What /sync has told them is kept in `told`, an answer each."""

    base_url: str
    user_id: str
    device_id: str
    token: str
    told: list[dict[str, Any]] = field(default_factory=list)
    _since: str | None = None

    def ask(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The server's answer. Raises: Denied."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        return ask(self.base_url, method, path, body, headers)

    def fetch(self, path: str) -> Fetched:
        """A file."""
        return fetch(self.base_url, path, {"Authorization": f"Bearer {self.token}"})

    def denied(self, method: str, path: str, body: Any = None) -> Denied:
        """The server's refusal."""
        try:
            answer = self.ask(method, path, body)
        except Denied as denial:
            return denial
        raise AssertionError(f"{method} {path} was allowed: {answer}")

    # rooms

    def create(self, version: str, **wanted: Any) -> str:
        """A new room."""
        request = {"room_version": version, "preset": "public_chat", **wanted}
        room_id: str = self.ask("POST", f"{V3}/createRoom", request)["room_id"]
        return room_id

    def join(self, room: str, via: str) -> str:
        """Join a room, by its ID or alias, through another server."""
        path = f"{V3}/join/{quote(room, safe='')}?via={quote(via)}&server_name={quote(via)}"
        room_id: str = self.ask("POST", path, {})["room_id"]
        return room_id

    def move(self, room_id: str, how: str, person: "Person | None" = None, **more: Any) -> Any:
        """Invite, kick, ban or unban somebody, or leave."""
        body = more if person is None else {"user_id": person.user_id, **more}
        return self.ask("POST", f"{self.room(room_id)}/{how}", body)

    def room(self, room_id: str) -> str:
        """The path of a room."""
        return f"{V3}/rooms/{quote(room_id, safe='')}"

    def send(self, room_id: str, content: Mapping[str, Any], kind: str = "m.room.message") -> str:
        """Send an event; its ID."""
        path = f"{self.room(room_id)}/send/{kind}/t{next(_numbers)}"
        event_id: str = self.ask("PUT", path, content)["event_id"]
        return event_id

    def say(self, room_id: str, words: str, **more: Any) -> str:
        """Send a text; its event ID."""
        return self.send(room_id, {"msgtype": "m.text", "body": words, **more})

    def redact(self, room_id: str, event_id: str) -> str:
        """Redact an event; the redaction's ID."""
        path = f"{self.room(room_id)}/redact/{quote(event_id, safe='')}/t{next(_numbers)}"
        redaction: str = self.ask("PUT", path, {})["event_id"]
        return redaction

    def set_state(self, room_id: str, kind: str, content: Mapping[str, Any], state_key: str = "") -> str:
        """Set state; its event ID."""
        path = f"{self.room(room_id)}/state/{kind}/{quote(state_key, safe='')}"
        event_id: str = self.ask("PUT", path, content)["event_id"]
        return event_id

    def state(self, room_id: str, kind: str, state_key: str = "") -> Any:
        """The content of state."""
        return self.ask("GET", f"{self.room(room_id)}/state/{kind}/{quote(state_key, safe='')}")

    def members(self, room_id: str) -> set[str]:
        """Who is joined."""
        return set(self.ask("GET", f"{self.room(room_id)}/joined_members")["joined"])

    def find(self, room_id: str, event_id: str) -> Event:
        """An event."""
        event: Event = self.ask("GET", f"{self.room(room_id)}/event/{quote(event_id, safe='')}")
        return event

    def read_back(self, room_id: str, most: int = 20) -> list[Event]:
        """The room's history from now back to its beginning, or as far as there are pages."""
        events: list[Event] = []
        start = ""
        for _ in range(most):
            page = self.ask("GET", f"{self.room(room_id)}/messages?dir=b&limit=50{start}")
            events += page["chunk"]
            if "end" not in page:
                break
            start = f"&from={quote(page['end'])}"
        return events

    # what they are told

    def sync(self, timeout_ms: int = 0) -> dict[str, Any]:
        """What is new."""
        since = "" if self._since is None else f"&since={quote(self._since)}"
        answer: dict[str, Any] = self.ask("GET", f"{V3}/sync?timeout={timeout_ms}{since}")
        self._since = answer["next_batch"]
        self.told.append(answer)
        return answer

    def until(self, look: Callable[[dict[str, Any]], T | None], what: str = "it") -> T:
        """Sync until something is told: what `look` finds in one of the answers."""
        ends = time.monotonic() + PATIENCE_S
        looked = 0
        while True:
            for answer in self.told[looked:]:
                found = look(answer)
                if found is not None:
                    return found
            looked = len(self.told)
            assert time.monotonic() < ends, f"{self.user_id} was not told of {what}: {json.dumps(self.told)[-3000:]}"
            self.sync(2000)

    def hears(self, room_id: str, event_id: str) -> Event:
        """The event, once it is in the room's timeline."""

        def look(answer: dict[str, Any]) -> Event | None:
            room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
            events = [*room.get("timeline", {}).get("events", ()), *room.get("state", {}).get("events", ())]
            return next((event for event in events if event["event_id"] == event_id), None)

        return self.until(look, event_id)

    def sees(self, room_id: str, person: "Person", membership: str) -> Event:
        """Somebody's member event, once it is that."""

        def look(answer: dict[str, Any]) -> Event | None:
            for how in ("join", "leave"):
                room = answer.get("rooms", {}).get(how, {}).get(room_id, {})
                for event in (*room.get("state", {}).get("events", ()), *room.get("timeline", {}).get("events", ())):
                    if event.get("state_key") == person.user_id and event["content"].get("membership") == membership:
                        found: Event = event
                        return found
            return None

        return self.until(look, f"{person.user_id} {membership}")

    def is_invited(self, room_id: str) -> list[Event]:
        """The stripped state of an invite, once it is there."""
        return self.until(
            lambda answer: (
                answer.get("rooms", {}).get("invite", {}).get(room_id, {}).get("invite_state", {}).get("events")
            ),
            f"an invite to {room_id}",
        )

    def ephemeral(self, room_id: str, kind: str, look_in: Callable[[dict[str, Any]], object]) -> None:
        """Sync until an ephemeral event of that type is told in a room in which `look_in` finds something."""

        def look(answer: dict[str, Any]) -> bool | None:
            room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
            events = room.get("ephemeral", {}).get("events", ())
            return any(event["type"] == kind and look_in(event["content"]) for event in events) or None

        self.until(look, kind)

    def ask_until(self, ask: Callable[[], T], good: Callable[[T], object]) -> T:
        """Ask again and again, of a server that is known to answer late, until the answer is good."""
        ends = time.monotonic() + PATIENCE_S
        while True:
            answer = ask()
            if good(answer):
                return answer
            assert time.monotonic() < ends, answer
            threading.Event().wait(0.2)  # another process: nothing here could tell us
