"""The audit log: what was done, by whom, to whom. The database itself lets nobody change or shorten it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from homeserver.logs import request_id
from homeserver.storage.database import Row, Txn

_SELECT = "SELECT entry, org_id, at_ms, done_by, deed, subject, detail, outcome, request FROM audit"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One deed; `entry` is its number (0 until written), `subject` the person, room, class or organisation it was done
    to. Without an `org_id` it belongs to the organisation that keeps the subject's record, if one does.

    `request` is the id in the access log of the request that is being served, empty for what is done without one.
    """

    org_id: str = ""
    at_ms: int
    done_by: str
    deed: str
    subject: str
    detail: Mapping[str, object] = msgspec.field(default_factory=dict)
    outcome: Literal["done", "refused"] = "done"
    request: str = msgspec.field(default_factory=lambda: "" if request_id.get() == "-" else request_id.get())
    entry: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which entries: below the number `before`, of one organisation, by somebody, to somebody or something."""

    before: int | None = None
    org_id: str | None = None
    done_by: str | None = None
    subject: str | None = None


def append_audit(txn: Txn, entry: AuditEntry) -> None:
    """Add a deed to the log."""
    txn.run(
        "INSERT INTO audit (entry, org_id, at_ms, done_by, deed, subject, detail, outcome, request)"
        " SELECT COALESCE(MAX(entry), 0) + 1,"
        " COALESCE(NULLIF(?, ''), (SELECT org_id FROM people WHERE user_id = ?), ''), ?, ?, ?, ?, ?, ?, ? FROM audit",
        (
            entry.org_id,
            entry.subject,
            entry.at_ms,
            entry.done_by,
            entry.deed,
            entry.subject,
            msgspec.json.encode(entry.detail),
            entry.outcome,
            entry.request,
        ),
    )


def load_audit(txn: Txn, which: Which, limit: int) -> list[AuditEntry]:
    """Load a page of the log, newest first."""
    conditions = ["entry < ?"]
    params: list[object] = [2**62 if which.before is None else which.before]
    for column, value in (("org_id", which.org_id), ("done_by", which.done_by), ("subject", which.subject)):
        if value is not None:
            conditions.append(f"{column} = ?")
            params.append(value)
    where = " AND ".join(conditions)
    rows = txn.all(f"{_SELECT} WHERE {where} ORDER BY entry DESC LIMIT ?", (*params, limit))
    return [_read(row) for row in rows]


def _read(row: Row) -> AuditEntry:
    entry, org_id, at_ms, done_by, deed, subject, detail, outcome, request = row
    return AuditEntry(
        entry=entry,
        org_id=org_id,
        at_ms=at_ms,
        done_by=done_by,
        deed=deed,
        subject=subject,
        detail=msgspec.json.decode(detail, type=dict[str, object]),
        outcome=outcome,
        request=request,
    )
