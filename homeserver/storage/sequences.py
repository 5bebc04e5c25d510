"""Where the ids that are given from memory go on after a start: one past the largest that is stored."""

from collections.abc import Mapping

SEQUENCES: Mapping[str, tuple[str, str]] = {
    "rooms": ("room_nids", "nid"),
    "events": ("events", "nid"),
    "groups": ("state_groups", "nid"),
}
"""Name of a sequence to the table and column that hold its ids."""
