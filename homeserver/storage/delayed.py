"""The table of delayed events: what people want sent later, and what became of it.

A delayed event is *scheduled* until it is *finalised*: sent, cancelled, or given up with an error.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from federation.ids import DeviceID, EventID, RoomID, UserID
from homeserver.storage.database import Row, Txn

KEPT_MS: Final = 7 * 24 * 60 * 60 * 1000
"""How long it is known what became of a delayed event."""
MOST_KEPT: Final = 1_000
"""Of how many of a person's finalised events it is known."""

_COLUMNS: Final = (
    "delay_id, user_id, device_id, room_id, txn_id, event, delay_ms, since_ms, due_ms, finalised_ms, event_id, error"
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM delayed_events"  # noqa: S608 - columns, no values


class Later(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The event to be: state if it has a `state_key`."""

    type: str
    content: dict[str, Any]
    state_key: str | None = None


_decoder: Final = msgspec.json.Decoder(Later)


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedEvent:
    """A row; `stored` is a `Later` as JSON, `error` a Matrix error as JSON. What is not so (yet) is None."""

    delay_id: str
    user_id: UserID
    device_id: DeviceID | None
    room_id: RoomID
    stored: bytes
    delay_ms: int
    since_ms: int
    txn_id: str | None = None
    due_ms: int | None = None
    finalised_ms: int | None = None
    event_id: EventID | None = None
    error: bytes | None = None

    @property
    def later(self) -> Later:
        """The event to be."""
        return _decoder.decode(self.stored)


class Crowd(NamedTuple):
    """How many events of a person are scheduled, and when the first of them is due (0 without any)."""

    scheduled: int
    first_ms: int


def append_delayed(txn: Txn, new: DelayedEvent) -> None:
    """Schedule an event for `due_ms`."""
    txn.run(
        "INSERT INTO delayed_events"
        " (delay_id, user_id, device_id, room_id, type, txn_id, event, delay_ms, since_ms, due_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.delay_id,
            new.user_id,
            new.device_id or "",
            new.room_id,
            new.later.type,
            new.txn_id,
            new.stored,
            new.delay_ms,
            new.since_ms,
            new.due_ms,
        ),
    )


def find_requested(txn: Txn, new: DelayedEvent) -> str | None:
    """Find the delay ID that the same request got before, if it has a transaction ID."""
    row = txn.one(
        "SELECT delay_id FROM delayed_events"
        " WHERE user_id = ? AND device_id = ? AND room_id = ? AND type = ? AND txn_id = ?",
        (new.user_id, new.device_id or "", new.room_id, new.later.type, new.txn_id),
    )
    return None if row is None else str(row[0])


def count_scheduled(txn: Txn, user_id: UserID) -> Crowd:
    """Count what a person has scheduled."""
    row = txn.one(
        "SELECT COUNT(*), COALESCE(MIN(due_ms), 0) FROM delayed_events WHERE user_id = ? AND due_ms IS NOT NULL",
        (user_id,),
    )
    return Crowd(0, 0) if row is None else Crowd(int(row[0]), int(row[1]))


def find_delayed(txn: Txn, delay_id: str) -> DelayedEvent | None:
    """Find a delayed event, finalised or not."""
    row = txn.one(f"{_SELECT} WHERE delay_id = ?", (delay_id,))
    return None if row is None else _read(row)


def load_scheduled(txn: Txn, user_id: UserID) -> list[DelayedEvent]:
    """Load what a person has scheduled, what is due first in front."""
    rows = txn.all(f"{_SELECT} WHERE user_id = ? AND due_ms IS NOT NULL ORDER BY due_ms, delay_id", (user_id,))
    return [_read(row) for row in rows]


def load_due(txn: Txn, now_ms: int, limit: int) -> list[str]:
    """Load the IDs of what is due by now, in the order in which it was to be sent."""
    rows = txn.all(
        "SELECT delay_id FROM delayed_events WHERE due_ms <= ? ORDER BY due_ms, delay_id LIMIT ?", (now_ms, limit)
    )
    return [delay_id for (delay_id,) in rows]


def find_next_due(txn: Txn) -> int | None:
    """Find when the next event is to be sent, None if there is none."""
    row = txn.one("SELECT MIN(due_ms) FROM delayed_events WHERE due_ms IS NOT NULL")
    return None if row is None or row[0] is None else int(row[0])


def set_restarted(txn: Txn, delay_id: str, now_ms: int) -> int:
    """Let the delay of a scheduled event begin anew; gives when it is due."""
    row = txn.one(
        "UPDATE delayed_events SET since_ms = ?, due_ms = ? + delay_ms WHERE delay_id = ? AND due_ms IS NOT NULL"
        " RETURNING due_ms",
        (now_ms, now_ms, delay_id),
    )
    return now_ms if row is None else int(row[0])


def set_finalised(
    txn: Txn, delayed: DelayedEvent, now_ms: int, event_id: EventID | None, error: bytes | None = None
) -> None:
    """Note what became of a scheduled event: sent, given up with an error, or with neither cancelled.

    What has been known for long enough is forgotten.
    """
    txn.run(
        "UPDATE delayed_events SET due_ms = NULL, finalised_ms = ?, event_id = ?, error = ?"
        " WHERE delay_id = ? AND due_ms IS NOT NULL",
        (now_ms, event_id, error, delayed.delay_id),
    )
    txn.run("DELETE FROM delayed_events WHERE finalised_ms < ?", (now_ms - KEPT_MS,))
    txn.run(
        "DELETE FROM delayed_events WHERE delay_id IN (SELECT delay_id FROM delayed_events"
        " WHERE user_id = ? AND due_ms IS NULL ORDER BY finalised_ms DESC LIMIT 100 OFFSET ?)",
        (delayed.user_id, MOST_KEPT),
    )


def remove_delayed(txn: Txn, user_id: UserID) -> None:
    """Forget all delayed events of a person; none of them is sent."""
    txn.run("DELETE FROM delayed_events WHERE user_id = ?", (user_id,))


def _read(row: Row) -> DelayedEvent:
    delay_id, user_id, device_id, room_id, txn_id, stored, delay_ms, since_ms, due_ms, finalised_ms, *end = row
    event_id, error = end
    return DelayedEvent(
        delay_id=delay_id,
        user_id=UserID(user_id),
        device_id=DeviceID(device_id) if device_id else None,
        room_id=RoomID(room_id),
        txn_id=txn_id,
        stored=stored,
        delay_ms=delay_ms,
        since_ms=since_ms,
        due_ms=due_ms,
        finalised_ms=finalised_ms,
        event_id=event_id,
        error=error,
    )
