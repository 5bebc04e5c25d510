"""What operators see of files and do with them: quarantine, protection, age, and who has how many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from federation.ids import RoomID, ServerName, UserID
from homeserver.storage.database import Row, Txn
from homeserver.storage.media.files import COLUMNS, SECRET, MediaRecord, read_record

Which = tuple[ServerName, str]
"""A file's origin and media ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMedia:
    """A file as operators see it: `quarantined_by` keeps it from everybody, `protected` from quarantine."""

    record: MediaRecord
    quarantined_by: UserID | None
    protected: bool


def _read_kept(row: Row) -> KeptMedia:
    *record, quarantined_by, protected = row
    return KeptMedia(record=read_record(tuple(record)), quarantined_by=quarantined_by, protected=bool(protected))


def find_kept(txn: Txn, origin: ServerName, media_id: str) -> KeptMedia | None:
    """Find a file, also one that is in quarantine."""
    row = txn.one(
        f"SELECT {COLUMNS}, quarantined_by, protected FROM media WHERE origin = ? AND media_id = ?",  # noqa: S608 - ours
        (origin, media_id),
    )
    return None if row is None else _read_kept(row)


# quarantine


def set_quarantined(txn: Txn, media: Sequence[Which], by: UserID, now_ms: int) -> int:
    """Put files into quarantine, and whatever has the same content, now and later; how many files that took.

    Protected files stay, as do other files of their content.
    """
    return sum(_quarantine(txn, origin, media_id, by, now_ms) for origin, media_id in media)


def _quarantine(txn: Txn, origin: ServerName, media_id: str, by: UserID, now_ms: int) -> int:
    row = txn.one(
        "SELECT sha256, size FROM media WHERE origin = ? AND media_id = ? AND NOT EXISTS ("
        "SELECT 1 FROM media safe WHERE safe.sha256 = media.sha256 AND safe.protected = 1)",
        (origin, media_id),
    )
    if row is None:
        return 0
    txn.run(
        "INSERT INTO media_quarantine (sha256, size, done_by, at_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (*row, by, now_ms),
    )
    return txn.run("UPDATE media SET quarantined_by = ? WHERE sha256 = ? AND quarantined_by IS NULL", (by, row[0]))


def is_length_quarantined(txn: Txn, least: int, most: int) -> bool:
    """Whether content of so many bytes, from `least` to `most`, may be some that is in quarantine."""
    sql = "SELECT 1 FROM media_quarantine WHERE size BETWEEN ? AND ? OR size IS NULL LIMIT 1"
    return txn.one(sql, (least, most)) is not None


def remove_quarantine(txn: Txn, origin: ServerName, media_id: str) -> None:
    """Let a file be seen again, and whatever has the same content."""
    row = txn.one("SELECT sha256 FROM media WHERE origin = ? AND media_id = ?", (origin, media_id))
    if row is not None:
        txn.run("DELETE FROM media_quarantine WHERE sha256 = ?", row)
        txn.run("UPDATE media SET quarantined_by = NULL WHERE sha256 = ?", row)


def set_protected(txn: Txn, origin: ServerName, media_id: str, protected: bool) -> bool:
    """Protect a file from quarantine, or no longer; False when there is none."""
    row = (int(protected), origin, media_id)
    return txn.run("UPDATE media SET protected = ? WHERE origin = ? AND media_id = ?", row) == 1


_TO_QUARANTINE: Final = (
    " quarantined_by IS NULL AND NOT EXISTS ("
    "SELECT 1 FROM media safe WHERE safe.sha256 = media.sha256 AND safe.protected = 1) LIMIT ?"
)


def load_visible_in_room(txn: Txn, room_id: RoomID, most: int) -> list[Which]:
    """Some of the files that a room shows and a quarantine would take."""
    rows = txn.all(
        "SELECT DISTINCT media.origin, media.media_id"  # noqa: S608 - our own words
        " FROM media_references shown JOIN media"
        " ON media.origin = shown.origin AND media.media_id = shown.media_id"
        " WHERE shown.room_nid = (SELECT nid FROM rooms WHERE room_id = ?) AND" + _TO_QUARANTINE,
        (room_id, most),
    )
    return [(origin, media_id) for origin, media_id in rows]


def load_visible_of_user(txn: Txn, user_id: UserID, most: int) -> list[Which]:
    """Some of the files that a person has uploaded and a quarantine would take."""
    rows = txn.all(
        "SELECT origin, media_id FROM media WHERE uploader = ? AND" + _TO_QUARANTINE,  # noqa: S608 - our own words
        (user_id, most),
    )
    return [(origin, media_id) for origin, media_id in rows]


def load_room_media(txn: Txn, room_id: RoomID, after: Which, most: int) -> list[Which]:
    """A page of the files that the events of a room refer to, in the order of their names, from behind one on."""
    rows = txn.all(
        "SELECT DISTINCT origin, media_id FROM media_references"
        " WHERE room_nid = (SELECT nid FROM rooms WHERE room_id = ?) AND (origin, media_id) > (?, ?)"
        " ORDER BY origin, media_id LIMIT ?",
        (room_id, *after, most),
    )
    return [(origin, media_id) for origin, media_id in rows]


# age


class Place(NamedTuple):
    """Where in the order of their use the files were left off."""

    used_ms: int
    origin: str
    media_id: str


START: Final = Place(-1, "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """Files that nobody has got since `before_ms` and that are larger than that: our own, or those of other servers.

    With `keep_pictures` those are left out that are somebody's or a room's picture, with `keep_shown` those that an
    event shows, or may show, being encrypted. What belongs to a preview is never among them.
    """

    local: bool
    before_ms: int
    larger_than: int = -1
    keep_pictures: bool = True
    keep_shown: bool = True


_NO_PICTURE: Final = (
    " AND NOT EXISTS (SELECT 1 FROM profiles WHERE avatar_url = 'mxc://' || media.origin || '/' || media.media_id)"
    " AND NOT EXISTS (SELECT 1 FROM media_references shown JOIN events ON events.nid = shown.event_nid"
    " WHERE shown.origin = media.origin AND shown.media_id = media.media_id AND events.type = 'm.room.avatar')"
)
_NOT_SHOWN: Final = (  # a file of that type may be encrypted, and so may the event that shows it
    f" AND content_type <> '{SECRET}'"  # noqa: S608 - our own words
    " AND NOT EXISTS (SELECT 1 FROM media_references shown"
    " WHERE shown.origin = media.origin AND shown.media_id = media.media_id)"
)


def load_unused(txn: Txn, server_name: ServerName, wanted: Unused, after: Place, most: int) -> list[Place]:
    """A page of such files, those that were not used for the longest first, from behind a place on."""
    rows = txn.all(
        "SELECT used_ms, origin, media_id FROM media"  # noqa: S608 - our own words
        " WHERE used_ms < ? AND (used_ms, origin, media_id) > (?, ?, ?)"
        f" AND origin {'=' if wanted.local else '<>'} ? AND size > ? AND preview_of IS NULL"
        f"{_NO_PICTURE if wanted.keep_pictures else ''}{_NOT_SHOWN if wanted.keep_shown else ''}"
        " ORDER BY used_ms, origin, media_id LIMIT ?",
        (wanted.before_ms, *after, server_name, wanted.larger_than, most),
    )
    return [Place(*row) for row in rows]


def load_known_files(txn: Txn, file_ids: Sequence[str]) -> set[str]:
    """Those of some names of files on disk that a record names."""
    return {file_id for (file_id,) in txn.all_in("SELECT file_id FROM media WHERE file_id {in}", file_ids)}


class Round(NamedTuple):
    """How far a daily round has come, and when it was last at its end."""

    place: str = ""
    done_ms: int = 0


def find_round(txn: Txn, task: str) -> Round:
    """Find how far a round has come."""
    row = txn.one("SELECT place, done_ms FROM media_rounds WHERE task = ?", (task,))
    return Round() if row is None else Round(*row)


def set_round(txn: Txn, task: str, state: Round) -> None:
    """Note how far a round has come."""
    txn.run(
        "INSERT INTO media_rounds (task, place, done_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (task) DO UPDATE SET place = excluded.place, done_ms = excluded.done_ms",
        (task, *state),
    )


# who has what

ORDERS: Final = {
    "media_id": "media_id",
    "upload_name": "COALESCE(filename, '')",
    "created_ts": "created_ms",
    "last_access_ts": "used_ms",
    "media_length": "size",
    "media_type": "content_type",
    "quarantined_by": "COALESCE(quarantined_by, '')",
    "safe_from_quarantine": "protected",
}
"""By what a person's files can be put in order, under the names of the administration API."""

USER_ORDERS: Final = {
    "user_id": "users.user_id",
    "displayname": "COALESCE(displayname, '')",
    "media_length": "length",
    "media_count": "number",
}
"""By what people can be put in order, likewise."""


class Page(NamedTuple):
    """Which part of a list: its order (a key of one of the tables above), and where to begin."""

    order: str
    backwards: bool
    start: int
    limit: int


def load_user_media(txn: Txn, user_id: UserID, page: Page) -> tuple[list[KeptMedia], int]:
    """A page of what a person has uploaded, and how much there is."""
    way = "DESC" if page.backwards else "ASC"
    rows = txn.all(
        f"SELECT {COLUMNS}, quarantined_by, protected FROM media WHERE uploader = ?"  # noqa: S608 - our own names
        f" ORDER BY {ORDERS[page.order]} {way}, media_id LIMIT ? OFFSET ?",
        (user_id, page.limit, page.start),
    )
    (total,) = txn.one("SELECT COUNT(*) FROM media WHERE uploader = ?", (user_id,)) or (0,)
    return [_read_kept(row) for row in rows], total


class Usage(NamedTuple):
    """How many files somebody has, and how many bytes they are."""

    user_id: UserID
    displayname: str | None
    number: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Whose files of what time: uploaded between two times (ms), by people whose name or ID has some text in it."""

    from_ms: int = 0
    until_ms: int = 2**62
    search: str = ""


_USERS: Final = (
    " FROM (SELECT uploader AS user_id, COUNT(*) AS number, SUM(size) AS length FROM media"
    " WHERE uploader IS NOT NULL AND created_ms BETWEEN ? AND ? GROUP BY uploader) users"
    " LEFT JOIN profiles ON profiles.user_id = users.user_id"
    " WHERE LOWER(SUBSTR(users.user_id, 2, LENGTH(users.user_id) - ?)) LIKE ? ESCAPE '!'"
    " OR LOWER(COALESCE(displayname, '')) LIKE ? ESCAPE '!'"
)


def load_usage(txn: Txn, server_name: ServerName, span: Span, page: Page) -> tuple[list[Usage], int]:
    """A page of who has uploaded how much, and how many such people there are."""
    text = span.search.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
    wanted = (span.from_ms, span.until_ms, len(server_name) + 2, f"%{text}%", f"%{text}%")
    way = "DESC" if page.backwards else "ASC"
    rows = txn.all(
        f"SELECT users.user_id, displayname, number, length{_USERS}"
        f" ORDER BY {USER_ORDERS[page.order]} {way}, users.user_id LIMIT ? OFFSET ?",
        (*wanted, page.limit, page.start),
    )
    (total,) = txn.one(f"SELECT COUNT(*){_USERS}", wanted) or (0,)
    return [Usage(UserID(user_id), name, number, int(length)) for user_id, name, number, length in rows], total
