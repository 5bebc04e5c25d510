"""What the room directory says of a room: its entry, and the words it is found by. Pure."""

from typing import Final

import msgspec

from federation.event import Event
from homeserver.rooms.head import CREATE, Head
from homeserver.storage.directory import Listing
from homeserver.storage.rooms import RoomRecord

_ENTRIES: Final = (
    ("name", "m.room.name", "name"),
    ("topic", "m.room.topic", "topic"),
    ("canonical_alias", "m.room.canonical_alias", "alias"),
    ("avatar_url", "m.room.avatar", "url"),
    ("join_rule", "m.room.join_rules", "join_rule"),
)
_FOUND_BY: Final = ("name", "topic", "canonical_alias")


def build_listing(record: RoomRecord, head: Head) -> Listing:
    """The room's entry in the directory.

    Spec: client-server-api#get_matrixclientv3publicrooms
    """
    summary = build_summary(record, head)
    words = "\n".join(str(summary[name]) for name in _FOUND_BY if name in summary).casefold()
    room_type = summary.get("room_type")
    return Listing(
        record.nid,
        len(head.joined),
        words,
        room_type if isinstance(room_type, str) else None,
        msgspec.json.encode(summary),
    )


def build_summary(record: RoomRecord, head: Head) -> dict[str, object]:
    """What strangers who may see the room learn of it.

    Spec: client-server-api#get_matrixclientv3publicrooms
    """
    summary: dict[str, object] = {
        "room_id": record.room_id,
        "num_joined_members": len(head.joined),
        "world_readable": read_text(head.find(("m.room.history_visibility", "")), "history_visibility")
        == "world_readable",
        "guest_can_join": read_text(head.find(("m.room.guest_access", "")), "guest_access") == "can_join",
    }
    for name, event_type, field in _ENTRIES:
        text = read_text(head.find((event_type, "")), field)
        if text:
            summary[name] = text
    room_type = read_text(head.find(CREATE), "type")
    if room_type is not None:
        summary["room_type"] = room_type
    return summary


def read_text(event: Event | None, field: str) -> str | None:
    """A text in an event's content; None for anything else that may stand there."""
    value = event.content.get(field) if event is not None else None
    return value if isinstance(value, str) else None
