"""Reports: what people found inappropriate, waiting for somebody to settle them.

Spec: client-server-api#reporting-content
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from federation.ids import EventID, RoomID, UserID
from homeserver.storage.database import Row, Txn
from homeserver.storage.patterns import containing

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


class NamedReport(NamedTuple):
    """A report, and what the room that it is about is called."""

    report: Report
    name: str | None
    canonical_alias: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportQuery:
    """Which waiting reports of a kind: by a reporter or about a room whose ID contains a text, about a person."""

    kind: Kind = "event"
    reporter: str | None = None
    room_id: str | None = None
    about: str | None = None
    forwards: bool = False
    start: int = 0
    limit: int = 100


_FIELDS = ("kind", "reporter", "at_ms", "reason", "room_id", "event_id", "user_id", "nid")
_COUNT = "SELECT COUNT(*) FROM reports r WHERE r.settled_ms IS NULL"
_NAMED = (
    "SELECT r.kind, r.reporter, r.at_ms, r.reason, r.room_id, r.event_id, r.user_id, r.nid, o.name, o.canonical_alias"
    " FROM reports r LEFT JOIN rooms ON rooms.room_id = r.room_id LEFT JOIN room_overviews o ON o.room_nid = rooms.nid"
    " WHERE r.settled_ms IS NULL"
)


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
    return [Report(**dict(zip(_FIELDS, row, strict=True))) for row in rows]


def load_reports(txn: Txn, query: ReportQuery) -> tuple[list[NamedReport], int]:
    """A page of the reports that nobody has settled, and how many there are on all pages."""
    conditions = " AND r.kind = ?"
    params: list[str] = [query.kind]
    for text, test in (
        (query.reporter and containing(query.reporter), "r.reporter LIKE ? ESCAPE '\\'"),
        (query.room_id and containing(query.room_id), "r.room_id LIKE ? ESCAPE '\\'"),
        (query.about, "r.user_id = ?"),
    ):
        if text:
            conditions += f" AND {test}"
            params.append(text)
    order = "ASC" if query.forwards else "DESC"
    page = f"{_NAMED}{conditions} ORDER BY r.nid {order} LIMIT ? OFFSET ?"
    rows = txn.all(page, (*params, query.limit, query.start))
    total = txn.one(f"{_COUNT}{conditions}", params)
    return [_named(row) for row in rows], 0 if total is None else int(total[0])


def find_report(txn: Txn, nid: int) -> NamedReport | None:
    """The report of that number, if nobody has settled it."""
    row = txn.one(f"{_NAMED} AND r.nid = ?", (nid,))
    return None if row is None else _named(row)


def _named(row: Row) -> NamedReport:
    return NamedReport(Report(**dict(zip(_FIELDS, row[:8], strict=True))), *row[8:])


def set_report_settled(txn: Txn, nid: int, at_ms: int) -> bool:
    """Note that a report is settled; False when it is not one that waits."""
    return txn.run("UPDATE reports SET settled_ms = ? WHERE nid = ? AND settled_ms IS NULL", (at_ms, nid)) == 1
