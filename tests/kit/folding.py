"""A client that follows the specification: it folds the answers of syncs into what it knows.

Two clients that know the same are equal in `known()`: that is the law that sync is held to.
"""

from dataclasses import dataclass, field
from typing import Any

from federation.redaction import redact_content
from federation.versions import ROOM_VERSIONS

Key = tuple[str, str]


@dataclass
class FoldedRoom:
    """What a client knows of a room."""

    section: str = ""
    state: dict[Key, dict[str, Any]] = field(default_factory=dict)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    receipts: dict[tuple[str, str, str | None], str] = field(default_factory=dict)
    typing: set[str] = field(default_factory=set)
    unread: dict[str, Any] = field(default_factory=dict)
    threads: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    stripped: list[Any] = field(default_factory=list)
    redacted: set[str] = field(default_factory=set)


class FoldedClient:
    """What a client knows after some answers."""

    def __init__(self) -> None:
        self.rooms: dict[str, FoldedRoom] = {}
        self.data: dict[str, Any] = {}

    def fold(self, answer: dict[str, Any]) -> None:
        """Take an answer up."""
        for event in answer.get("account_data", {}).get("events", []):
            self.data[event["type"]] = event["content"]
        for section, rooms in answer.get("rooms", {}).items():
            for room_id, told in rooms.items():
                room = self.rooms.setdefault(room_id, FoldedRoom())
                room.section = section
                if section != "join":
                    room.typing = set()
                if section in ("join", "leave"):
                    _fold_room(room, told)
                room.stripped = told.get(f"{section}_state", {}).get("events", [])


def _fold_room(room: FoldedRoom, told: dict[str, Any]) -> None:
    timeline = told.get("timeline", {})
    if timeline.get("limited"):
        room.timeline = []
    after = told.get("state_after")
    for event in told.get("state", after or {}).get("events", []):
        _apply(room, event)
    for event in timeline.get("events", []):
        if event["event_id"] not in [known["event_id"] for known in room.timeline]:
            room.timeline.append(event)
        if after is None and "state_key" in event:
            _apply(room, event)
        if event["type"] == "m.room.redaction":
            room.redacted.add(event.get("redacts") or event["content"].get("redacts"))
    for event in told.get("account_data", {}).get("events", []):
        room.data[event["type"]] = event["content"]
    for event in told.get("ephemeral", {}).get("events", []):
        _fold_ephemeral(room, event)
    room.summary |= told.get("summary", {})
    if "unread_notifications" in told:
        room.unread = told["unread_notifications"]
        room.threads = told.get("unread_thread_notifications", {})


def _apply(room: FoldedRoom, event: dict[str, Any]) -> None:
    room.state[event["type"], event["state_key"]] = event


def _fold_ephemeral(room: FoldedRoom, event: dict[str, Any]) -> None:
    if event["type"] == "m.typing":
        room.typing = set(event["content"]["user_ids"])
        return
    for event_id, kinds in event["content"].items():
        for kind, people in kinds.items():
            for user_id, receipt in people.items():
                room.receipts[user_id, kind, receipt.get("thread_id")] = event_id


def shown_state(room: FoldedRoom, *, members: set[str] | None = None) -> dict[Key, Any]:
    """The state by key, as event ID and content, redacted where the client saw that; only these members."""
    return {
        key: (event["event_id"], _content(event, event["event_id"] in room.redacted))
        for key, event in room.state.items()
        if members is None or key[0] != "m.room.member" or key[1] in members
    }


def _content(event: dict[str, Any], redacted: bool) -> Any:
    if redacted or "redacted_because" in event.get("unsigned", {}):
        return redact_content(ROOM_VERSIONS["12"], event["type"], event["content"])
    return event["content"]


def members_of(room: FoldedRoom) -> set[str]:
    """Whose membership events a client has."""
    return {key[1] for key in room.state if key[0] == "m.room.member"}
