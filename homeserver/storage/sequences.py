"""Where the ids that are given from memory go on after a start: one past the largest that is stored."""

from collections.abc import Mapping
from typing import Final

_ROOMS: Final = "(SELECT nid FROM rooms UNION ALL SELECT room_nid FROM purges WHERE room_nid IS NOT NULL) AS known"
"""Rooms, also those of which rows may be left."""

SEQUENCES: Mapping[str, tuple[str, str]] = {
    "rooms": (_ROOMS, "nid"),
    "events": ("events", "nid"),
    "groups": ("state_groups", "nid"),
}
"""Name of a sequence to the table and column that hold its ids."""
