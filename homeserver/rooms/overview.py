"""What operators' lists say of a room, out of its present state. Pure."""

from typing import Final

from federation.ids import StateKey
from homeserver.rooms.head import CREATE, Head
from homeserver.rooms.listing import read_text
from homeserver.storage.roomlist import Overview

_FIELDS: Final[tuple[tuple[str, str], ...]] = (
    ("m.room.name", "name"),
    ("m.room.canonical_alias", "alias"),
    ("m.room.encryption", "algorithm"),
    ("m.room.join_rules", "join_rule"),
    ("m.room.guest_access", "guest_access"),
    ("m.room.history_visibility", "history_visibility"),
)
SHOWN: Final[frozenset[StateKey]] = frozenset({CREATE, *((event_type, "") for event_type, _ in _FIELDS)})
"""The state of which a change changes the overview."""


def build_overview(room_nid: int, head: Head) -> Overview:
    """The overview of a room at that moment."""
    name, alias, encryption, join_rules, guest_access, visibility = (
        read_text(head.find((event_type, "")), field) for event_type, field in _FIELDS
    )
    create = head.find(CREATE)
    return Overview(
        room_nid=room_nid,
        name=name,
        canonical_alias=alias,
        encryption=encryption,
        federatable=create is None or create.content.get("m.federate") is not False,
        join_rules=join_rules,
        guest_access=guest_access,
        history_visibility=visibility,
        room_type=read_text(create, "type"),
    )
