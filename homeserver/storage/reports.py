"""Reports: what people found inappropriate, waiting for somebody to settle them.

Spec: client-server-api#reporting-content
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from federation.ids import EventID, RoomID, UserID
from homeserver.storage.database import Txn

Kind: TypeAlias = Literal["event", "room", "user"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report; `user_id` is whom it is about: the sender of an event, or the person. `nid` is 0 until written."""

    kind: Kind
    reporter: UserID
    at_ms: int
    reason: str = ""
    room_id: RoomID | None = None
    event_id: EventID | None = None
    user_id: UserID | None = None
    nid: int = 0


def append_report(txn: Txn, report: Report) -> None:
    """Add a report to those that wait."""
    txn.run(
        "INSERT INTO reports (nid, kind, reporter, room_id, event_id, user_id, reason, at_ms)"
        " SELECT COALESCE(MAX(nid), 0) + 1, ?, ?, ?, ?, ?, ?, ? FROM reports",
        (
            report.kind,
            report.reporter,
            report.room_id,
            report.event_id,
            report.user_id,
            report.reason,
            report.at_ms,
        ),
    )


def load_waiting_reports(txn: Txn, after: int, limit: int) -> list[Report]:
    """A page of the reports that nobody has settled, the oldest first, from behind number `after` on."""
    rows = txn.all(
        "SELECT kind, reporter, at_ms, reason, room_id, event_id, user_id, nid FROM reports"
        " WHERE settled_ms IS NULL AND nid > ? ORDER BY nid LIMIT ?",
        (after, limit),
    )
    names = ("kind", "reporter", "at_ms", "reason", "room_id", "event_id", "user_id", "nid")
    return [Report(**dict(zip(names, row, strict=True))) for row in rows]


def set_report_settled(txn: Txn, nid: int, at_ms: int) -> bool:
    """Note that a report is settled; False when it is not one that waits."""
    return txn.run("UPDATE reports SET settled_ms = ? WHERE nid = ? AND settled_ms IS NULL", (at_ms, nid)) == 1
