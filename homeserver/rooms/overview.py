"""What operators' lists say of a room, out of its present state. Pure."""

from collections.abc import Callable, Sequence
from typing import Final

from federation.event import Event
from federation.ids import StateKey
from homeserver.rooms.head import CREATE
from homeserver.rooms.listing import read_text
from homeserver.rooms.writing import Pending
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


def find_overview(room_nid: int, pendings: Sequence[Pending]) -> Overview | None:
    """The overview that events leave of their room, None if it stays as it was."""
    pruned = {pending.pruned.key: pending.pruned for pending in pendings if pending.pruned and pending.pruned.is_state}
    changed = any(pending.changes and not SHOWN.isdisjoint(pending.changes) for pending in pendings)
    if not changed and SHOWN.isdisjoint(pruned):
        return None
    head = pendings[-1].after

    def find(key: StateKey) -> Event | None:
        event, left = head.find(key), pruned.get(key)
        return left if event is not None and left is not None and left.event_id == event.event_id else event

    return build_overview(room_nid, find)


def build_overview(room_nid: int, find: Callable[[StateKey], Event | None]) -> Overview:
    """The overview of a room whose state `find` finds."""
    name, alias, encryption, join_rules, guest_access, visibility = (
        read_text(find((event_type, "")), field) for event_type, field in _FIELDS
    )
    create = find(CREATE)
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
