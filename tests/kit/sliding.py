"""Devices that sync by sliding, and what they make of what they are told.

phone = Slider(self.alice)
answer = await phone.ask(lists={"all": window(0, 19, limit=1)})
assert bodies(answer, room) == ["hi"]
assert phone.rooms[room].name == "A room"
"""

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from tests.kit.syncs import Syncer

STABLE = "/_matrix/client/v4/sync"
UNSTABLE = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
FIELDS = (
    "name", "avatar", "heroes", "is_dm", "joined_count", "invited_count", "membership", "bump_stamp",
    "notification_count", "highlight_count",
)  # fmt: skip


@dataclass(eq=False)
class SlidRoom:
    """A room as a client knows it. `state` are events by type and key, `timeline` those without a gap."""

    fields: dict[str, Any] = field(default_factory=dict)
    state: dict[tuple[str, str], Any] = field(default_factory=dict)
    timeline: list[Any] = field(default_factory=list)
    stripped: list[Any] = field(default_factory=list)
    limited: bool = False

    @property
    def name(self) -> str | None:
        return self.fields.get("name")

    def fold(self, told: dict[str, Any]) -> None:
        """Take up what an answer tells."""
        self.fields.update({name: told[name] for name in FIELDS if name in told})
        for event in told.get("required_state", ()):
            key = event["type"], event["state_key"]
            if "content" in event:
                self.state[key] = event
            else:
                self.state.pop(key, None)
        grown = told.get("expanded_timeline") or told.get("unstable_expanded_timeline")
        if told.get("limited") or grown:
            self.timeline, self.limited = [], bool(told.get("limited"))
        self.timeline += told.get("timeline", ())
        self.stripped = told.get("stripped_state") or told.get("invite_state") or []


@dataclass(eq=False)
class Slider:
    """A connection of a device; `pos` is the name of the last answer."""

    syncer: Syncer
    path: str = UNSTABLE
    conn_id: str | None = None
    pos: str | None = None
    rooms: dict[str, SlidRoom] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    async def ask(self, **body: Any) -> Any:
        """Sync from where the last answer ended, and take up what is told."""
        answer = await self.look(**body)
        self.take_up(answer)
        return answer

    async def look(self, **body: Any) -> Any:
        """The same, forgetting the answer."""
        query, body = self.request(body)
        return await self.syncer.ok("POST", self.path, body, **query)

    def wait(self, timeout: int = 30_000, **body: Any) -> Deferred[Any]:
        """Begin a sync that waits; fires with its answer, which is taken up."""
        return Deferred.fromCoroutine(self.ask(timeout=timeout, **body))

    async def refused(self, **body: Any) -> tuple[int, str]:
        query, body = self.request(body)
        return await self.syncer.refused("POST", self.path, body, **query)

    def request(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.conn_id is not None:
            body.setdefault("conn_id", self.conn_id)
        if self.pos is not None:
            body.setdefault("pos", self.pos)
        if self.path == STABLE:
            return {}, body
        moved = ("pos", "timeout", "set_presence")
        return {key: body[key] for key in moved if key in body}, {key: body[key] for key in body if key not in moved}

    def take_up(self, answer: Any) -> None:
        self.pos = answer["pos"]
        self.counts = {name: told["count"] for name, told in answer["lists"].items()}
        for room_id, told in answer["rooms"].items():
            if told.get("initial"):
                self.rooms[room_id] = SlidRoom()
            self.rooms[room_id].fold(told)


def window(first: int, last: int, *, limit: int = 10, state: Any = (), **filters: Any) -> dict[str, Any]:
    """A list in the unstable form."""
    return {
        "ranges": [[first, last]],
        "timeline_limit": limit,
        "required_state": list(state),
        **({"filters": filters} if filters else {}),
    }


def stable_window(first: int, last: int, *, limit: int = 10, state: Any = None, **filters: Any) -> dict[str, Any]:
    """A list in the stable form."""
    return {
        "range": [first, last],
        "timeline_limit": limit,
        "required_state": state or {},
        **({"filters": filters} if filters else {}),
    }


def bodies(answer: Any, room: str) -> list[str]:
    """What was said in a room."""
    events = answer["rooms"].get(room, {}).get("timeline", ())
    return [event["content"].get("body", "") for event in events if event["type"] == "m.room.message"]
