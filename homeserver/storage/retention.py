"""How long rooms keep messages: before when they are shown no more (the horizon), and which rooms have one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from federation.ids import RoomID
from homeserver.storage.database import Txn


class Keeping(NamedTuple):
    """A room, what it says about how long it keeps messages (None: nothing), and its horizon (0: it has none)."""

    nid: int
    room_id: RoomID
    kind: str | None
    content: Mapping[str, Any] | None
    horizon_ms: int


def find_horizon(txn: Txn, room_nid: int) -> int:
    """Before when messages of a room are shown no more, 0 where all are."""
    row = txn.one("SELECT before_ms FROM room_horizons WHERE room_nid = ?", (room_nid,))
    return 0 if row is None else int(row[0])


def set_horizon(txn: Txn, room_nid: int, before_ms: int) -> None:
    """Show messages no more that were sent before a time; 0: show all that there are."""
    if before_ms == 0:
        txn.run("DELETE FROM room_horizons WHERE room_nid = ?", (room_nid,))
    else:
        txn.run(
            "INSERT INTO room_horizons (room_nid, before_ms) VALUES (?, ?)"
            " ON CONFLICT (room_nid) DO UPDATE SET before_ms = excluded.before_ms",
            (room_nid, before_ms),
        )


_SELECT = (
    "SELECT r.nid, r.room_id, r.kind, (SELECT e.json FROM state_changes c JOIN events e ON e.nid = c.event_nid"
    " WHERE c.room_nid = r.nid AND c.type = 'm.room.retention' AND c.state_key = '' ORDER BY c.stream DESC LIMIT 1),"
    " COALESCE(h.before_ms, 0) FROM rooms r LEFT JOIN room_horizons h ON h.room_nid = r.nid"
)


def load_keepings(txn: Txn, after: int, most: int) -> list[Keeping]:
    """How a page of rooms keep messages, in the order of their nids, from behind one on."""
    return [_read(row) for row in txn.all(f"{_SELECT} WHERE r.nid > ? ORDER BY r.nid LIMIT ?", (after, most))]


def _read(row: Sequence[Any]) -> Keeping:
    nid, room_id, kind, raw, horizon_ms = row
    return Keeping(nid, room_id, kind, None if raw is None else msgspec.json.decode(raw)["content"], horizon_ms)
