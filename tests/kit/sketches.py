"""Live rooms in plain values, to be compared."""

from typing import Any

from homeserver.rooms.room import Room


def sketch(room: Room) -> dict[str, Any]:
    """All that a live room is."""
    head = room.head
    return {
        "state": {key: held.event_id for key, held in head.state.items()},
        "contents": {key: held.event.content for key, held in head.state.items()},
        "group": (head.group, head.at.base, dict(head.at.delta)),
        "extremities": [held.event_id for held in head.extremities],
        "joined": {user: held.event_id for user, held in head.joined.items()},
        "servers": dict(head.servers),
        "levels": (head.levels.users, head.levels.events, head.levels.redact, head.levels.notifications),
        "recent": [(held.stream, held.event_id, held.group, held.replaces) for held in room.recent],
        "redacted": [held.event_id for held in room.recent if held.redacted_because],
        "floor": room.recent_floor,
        "published": room.published,
    }
