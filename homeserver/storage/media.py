"""Tables of media: what files there are, and which events refer to them."""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.ids import RoomID, ServerName, UserID
from homeserver.storage.database import Txn

_REFER = """
    INSERT INTO media_references (origin, media_id, room_nid, event_nid)
    SELECT ?, ?, ?, ?
    WHERE EXISTS (SELECT 1 FROM media WHERE origin = ? AND media_id = ? AND uploader = ?)
       OR EXISTS (
            SELECT 1 FROM media_references known
            JOIN memberships ON memberships.room_nid = known.room_nid
            WHERE known.origin = ? AND known.media_id = ?
              AND memberships.user_id = ? AND memberships.membership = 'join')
    ON CONFLICT DO NOTHING"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRecord:
    """A file that this server has: who brought it when, and what it is. `size` in bytes, `sha256` in hex."""

    origin: ServerName
    media_id: str
    uploader: UserID | None
    created_ms: int
    content_type: str
    filename: str | None
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaUse:
    """Where a file is shown: rooms whose events refer to it, and people whose avatar it is."""

    rooms: tuple[RoomID, ...]
    avatar_of: tuple[UserID, ...]


def append_media(txn: Txn, record: MediaRecord) -> None:
    """Record a new file."""
    txn.run(
        "INSERT INTO media (origin, media_id, uploader, created_ms, content_type, filename, size, sha256)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.origin,
            record.media_id,
            record.uploader,
            record.created_ms,
            record.content_type,
            record.filename,
            record.size,
            record.sha256,
        ),
    )


def find_media(txn: Txn, origin: ServerName, media_id: str) -> tuple[MediaRecord, MediaUse] | None:
    """Find a file and where it is shown."""
    row = txn.one(
        "SELECT uploader, created_ms, content_type, filename, size, sha256 FROM media"
        " WHERE origin = ? AND media_id = ?",
        (origin, media_id),
    )
    if row is None:
        return None
    uploader, created_ms, content_type, filename, size, sha256 = row
    record = MediaRecord(
        origin=origin,
        media_id=media_id,
        uploader=uploader,
        created_ms=created_ms,
        content_type=content_type,
        filename=filename,
        size=size,
        sha256=sha256,
    )
    rooms = txn.all(
        "SELECT DISTINCT rooms.room_id FROM media_references JOIN rooms ON rooms.nid = media_references.room_nid"
        " WHERE origin = ? AND media_id = ? LIMIT 100",
        (origin, media_id),
    )
    people = txn.all("SELECT user_id FROM profiles WHERE avatar_url = ? LIMIT 100", (f"mxc://{origin}/{media_id}",))
    return record, MediaUse(rooms=tuple(r for (r,) in rooms), avatar_of=tuple(u for (u,) in people))


def append_references(
    txn: Txn, room_nid: int, event_nid: int, sender: UserID, media: Iterable[tuple[ServerName, str]]
) -> None:
    """Record which media an event refers to, as far as its sender may pass them on.

    What counts is what the sender has uploaded, or is shown in a room that the sender is joined to at this moment:
    nobody opens a file again by writing down an address that was seen in a room left since.

    School: row 54
    """
    for origin, media_id in media:
        which = (origin, media_id)
        txn.run(_REFER, (*which, room_nid, event_nid, *which, sender, *which, sender))


def remove_references(txn: Txn, event_nid: int) -> None:
    """Forget what an event referred to, as when it is redacted."""
    txn.run("DELETE FROM media_references WHERE event_nid = ?", (event_nid,))


def used_bytes(txn: Txn, uploader: UserID) -> int:
    """Sum the sizes of what a person has uploaded."""
    row = txn.one("SELECT COALESCE(SUM(size), 0) FROM media WHERE uploader = ?", (uploader,))
    return int(row[0]) if row is not None else 0
