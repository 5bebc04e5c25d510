"""The audit log: what was done, by whom, to whom. The database itself lets nobody change or shorten it."""

from collections.abc import Mapping

import msgspec

from homeserver.storage.database import Txn


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One deed; `entry` is its number (0 until written), `subject` the person, class or organisation it was done to."""

    org_id: str
    at_ms: int
    done_by: str
    deed: str
    subject: str
    detail: Mapping[str, object] = msgspec.field(default_factory=dict)
    entry: int = 0


def append_audit(txn: Txn, entry: AuditEntry) -> None:
    """Add a deed to the log."""
    row = (entry.org_id, entry.at_ms, entry.done_by, entry.deed, entry.subject, msgspec.json.encode(entry.detail))
    txn.run(
        "INSERT INTO school_audit (entry, org_id, at_ms, done_by, deed, subject, detail)"
        " SELECT COALESCE(MAX(entry), 0) + 1, ?, ?, ?, ?, ?, ? FROM school_audit",
        row,
    )


def load_audit(txn: Txn, org_id: str, before: int | None, limit: int) -> list[AuditEntry]:
    """Load an organisation's deeds, newest first, from below the number `before` on."""
    rows = txn.all(
        "SELECT entry, at_ms, done_by, deed, subject, detail FROM school_audit WHERE org_id = ? AND entry < ?"
        " ORDER BY entry DESC LIMIT ?",
        (org_id, 2**62 if before is None else before, limit),
    )
    return [
        AuditEntry(
            entry=entry,
            org_id=org_id,
            at_ms=at_ms,
            done_by=done_by,
            deed=deed,
            subject=subject,
            detail=msgspec.json.decode(detail, type=dict[str, object]),
        )
        for entry, at_ms, done_by, deed, subject, detail in rows
    ]
