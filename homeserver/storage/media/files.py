"""What files there are, and which events refer to them."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from federation.ids import RoomID, ServerName, UserID, server_of
from homeserver.storage.database import Row, Txn

SECRET = "application/octet-stream"
"""The type of a file that is encrypted: the event that shows it may be so too."""

_REFER = """
    INSERT INTO media_references (origin, media_id, room_nid, event_nid)
    SELECT ?, ?, ?, ?
    WHERE EXISTS (SELECT 1 FROM media WHERE origin = ? AND media_id = ? AND uploader = ?)
       OR EXISTS (SELECT 1 FROM media_pending WHERE origin = ? AND media_id = ? AND uploader = ?)
       OR EXISTS (
            SELECT 1 FROM media_references known
            JOIN memberships ON memberships.room_nid = known.room_nid
            WHERE known.origin = ? AND known.media_id = ?
              AND memberships.user_id = ? AND memberships.membership = 'join')
       OR (? = 1 AND NOT EXISTS (SELECT 1 FROM users WHERE user_id = ?))
    ON CONFLICT DO NOTHING"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRecord:
    """A file that this server has: who brought it when, and what it is.

    `size` is in bytes, `sha256` in hex; `file_id` names its bytes on disk. `used_ms`: about when somebody last got it.
    `preview_of`: the page whose preview shows it; nobody's upload then.
    """

    origin: ServerName
    media_id: str
    uploader: UserID | None
    created_ms: int
    content_type: str
    filename: str | None
    size: int
    sha256: str
    file_id: str
    used_ms: int = 0
    preview_of: str | None = None


_NAMES = tuple(field.name for field in fields(MediaRecord))
COLUMNS = ", ".join(_NAMES)
"""The columns of a file's record, in the order of its fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingMedia:
    """An address that was given out before its file is there, to whom, and until when it waits."""

    origin: ServerName
    media_id: str
    uploader: UserID
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaUse:
    """Where a file is shown: rooms whose events refer to it, and people whose avatar it is."""

    rooms: tuple[RoomID, ...]
    avatar_of: tuple[UserID, ...]


def append_media(txn: Txn, record: MediaRecord) -> None:
    """Record a new file; one whose content is in quarantine is so, too, from the beginning."""
    row = astuple(record)
    txn.run(
        f"INSERT INTO media ({COLUMNS}, quarantined_by)"  # noqa: S608 - our own names
        f" VALUES ({', '.join('?' * len(row))}, (SELECT done_by FROM media_quarantine WHERE sha256 = ?))",
        (*row[:-2], max(record.used_ms, record.created_ms), record.preview_of, record.sha256),
    )


class MediaFull(Exception):
    """That person waits for too many uploads already, or may store no more bytes."""


class MediaTaken(Exception):
    """That address has a file already."""


def append_pending(txn: Txn, pending: PendingMedia, now_ms: int, most: int) -> None:
    """Give out an address for a file that is uploaded later, and forget those that have expired.

    Raises:
        MediaFull: The person has `most` such addresses already.
    """
    txn.run("DELETE FROM media_pending WHERE expires_ms <= ?", (now_ms,))
    (waiting,) = txn.one("SELECT COUNT(*) FROM media_pending WHERE uploader = ?", (pending.uploader,)) or (0,)
    if waiting >= most:
        raise MediaFull
    txn.run(
        "INSERT INTO media_pending (origin, media_id, uploader, expires_ms) VALUES (?, ?, ?, ?)",
        (pending.origin, pending.media_id, pending.uploader, pending.expires_ms),
    )


def find_pending(txn: Txn, origin: ServerName, media_id: str, now_ms: int) -> PendingMedia | None:
    """Find an address that waits for its file.

    Raises:
        MediaTaken: It has its file.
    """
    if txn.one("SELECT 1 FROM media WHERE origin = ? AND media_id = ?", (origin, media_id)) is not None:
        raise MediaTaken
    row = txn.one(
        "SELECT uploader, expires_ms FROM media_pending WHERE origin = ? AND media_id = ? AND expires_ms > ?",
        (origin, media_id, now_ms),
    )
    if row is None:
        return None
    return PendingMedia(origin=origin, media_id=media_id, uploader=row[0], expires_ms=row[1])


def find_holder(txn: Txn, origin: ServerName, media_id: str, now_ms: int) -> UserID | None:
    """Find who was given an address, whether its file has come or is waited for."""
    row = txn.one(
        "SELECT uploader FROM media WHERE origin = ? AND media_id = ? UNION ALL"
        " SELECT uploader FROM media_pending WHERE origin = ? AND media_id = ? AND expires_ms > ?",
        (origin, media_id, origin, media_id, now_ms),
    )
    return None if row is None else row[0]


def fill_pending(txn: Txn, record: MediaRecord) -> None:
    """Record the file of an address that waited for it.

    Raises:
        MediaTaken: Another upload was faster.
    """
    which = (record.origin, record.media_id)
    if not txn.run("DELETE FROM media_pending WHERE origin = ? AND media_id = ?", which):
        raise MediaTaken
    append_media(txn, record)


def find_media(txn: Txn, origin: ServerName, media_id: str) -> tuple[MediaRecord, MediaUse] | None:
    """Find a file and where it is shown; one that is in quarantine is not found."""
    row = txn.one(
        f"SELECT {COLUMNS} FROM media WHERE origin = ? AND media_id = ? AND quarantined_by IS NULL",  # noqa: S608 - ours
        (origin, media_id),
    )
    if row is None:
        return None
    record = read_record(row)
    use = find_use(txn, origin, media_id)
    if record.uploader is not None and record.content_type == SECRET and not (use.rooms or use.avatar_of):
        use = MediaUse(rooms=_load_encrypted_rooms(txn, record.uploader), avatar_of=())
    return record, use


def read_record(row: Row) -> MediaRecord:
    """The record of a row of :data:`COLUMNS`."""
    return MediaRecord(**dict(zip(_NAMES, row, strict=True)))


def set_used(txn: Txn, origin: ServerName, media_id: str, now_ms: int) -> None:
    """Note that somebody has got a file."""
    txn.run("UPDATE media SET used_ms = ? WHERE origin = ? AND media_id = ?", (now_ms, origin, media_id))


def _load_encrypted_rooms(txn: Txn, user_id: UserID) -> tuple[RoomID, ...]:
    """Where a person may have shown a file without the server's seeing it; not where other regions are, whatever they
    say of their rooms: those of cooperations are not encrypted.
    """
    rows = txn.all(
        "SELECT rooms.room_id FROM memberships JOIN rooms ON rooms.nid = memberships.room_nid"
        " WHERE user_id = ? AND membership = 'join' AND EXISTS (SELECT 1 FROM state_changes c"
        " WHERE c.room_nid = memberships.room_nid AND c.type = 'm.room.encryption' AND c.state_key = '')"
        " AND NOT EXISTS (SELECT 1 FROM cooperation_rooms k WHERE k.room_id = rooms.room_id) LIMIT 100",
        (user_id,),
    )
    return tuple(RoomID(room_id) for (room_id,) in rows)


def find_use(txn: Txn, origin: ServerName, media_id: str) -> MediaUse:
    """Find where a file is shown. As an avatar it is shown by its uploader alone: nobody opens it by wearing it.

    School: row 54
    """
    rooms = txn.all(
        "SELECT DISTINCT rooms.room_id FROM media_references JOIN rooms ON rooms.nid = media_references.room_nid"
        " WHERE origin = ? AND media_id = ? LIMIT 100",
        (origin, media_id),
    )
    people = txn.all(
        "SELECT user_id FROM profiles WHERE avatar_url = ? AND user_id IN ("
        "SELECT uploader FROM media WHERE origin = ? AND media_id = ?"
        " UNION ALL SELECT uploader FROM media_pending WHERE origin = ? AND media_id = ?)",
        (f"mxc://{origin}/{media_id}", origin, media_id, origin, media_id),
    )
    return MediaUse(rooms=tuple(r for (r,) in rooms), avatar_of=tuple(u for (u,) in people))


def append_references(
    txn: Txn, room_nid: int, event_nid: int, sender: UserID, media: Iterable[tuple[ServerName, str]]
) -> None:
    """Record which media an event refers to, as far as its sender may pass them on.

    What counts is what the sender has uploaded, or is shown in a room that the sender is joined to at this moment:
    nobody opens a file again by writing down an address that was seen in a room left since. For the files of another
    server that server answers, whoever of it shows them.

    School: row 54
    """
    for origin, media_id in media:
        which = (origin, media_id)
        is_theirs = int(server_of(sender) == origin)
        txn.run(_REFER, (*which, room_nid, event_nid, *[*which, sender] * 3, is_theirs, sender))


def remove_references(txn: Txn, event_nid: int) -> None:
    """Forget what an event referred to, as when it is redacted."""
    txn.run("DELETE FROM media_references WHERE event_nid = ?", (event_nid,))


def used_bytes(txn: Txn, uploader: UserID) -> int:
    """Sum the sizes of what a person has uploaded."""
    row = txn.one("SELECT COALESCE(SUM(size), 0) FROM media WHERE uploader = ?", (uploader,))
    return int(row[0]) if row is not None else 0
