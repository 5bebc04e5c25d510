"""What pages of the web were found to say, when, and until when that is believed."""

from dataclasses import dataclass

from homeserver.storage.database import Txn
from homeserver.storage.doomed import doom_media
from homeserver.storage.media.files import MediaRecord, append_media


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPreview:
    """What a page said at `fetched_ms`, as JSON; nobody asks it again before `fresh_ms`."""

    url: str
    fetched_ms: int
    fresh_ms: int
    answer: bytes


def find_preview(txn: Txn, url: str, at_ms: int) -> StoredPreview | None:
    """Find the newest that is known of a page at that time and was fresh then."""
    row = txn.one(
        "SELECT fetched_ms, fresh_ms, answer FROM media_previews WHERE url = ? AND fetched_ms <= ?"
        " ORDER BY fetched_ms DESC LIMIT 1",
        (url, at_ms),
    )
    if row is None or row[1] <= at_ms:
        return None
    return StoredPreview(url=url, fetched_ms=row[0], fresh_ms=row[1], answer=row[2])


def append_preview(txn: Txn, preview: StoredPreview, image: MediaRecord | None) -> None:
    """Record what a page said, together with the file of its image."""
    if image is not None:
        append_media(txn, image)
    txn.run(
        "INSERT INTO media_previews (url, fetched_ms, fresh_ms, answer) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (url, fetched_ms) DO NOTHING",
        (preview.url, preview.fetched_ms, preview.fresh_ms, preview.answer),
    )


def remove_old_previews(txn: Txn, before_ms: int, most: int) -> int:
    """Forget at most so many previews that were made before a time, and as many of their images; how many in all."""
    removed = txn.run(
        "DELETE FROM media_previews WHERE (url, fetched_ms) IN ("
        "SELECT url, fetched_ms FROM media_previews WHERE fetched_ms < ? ORDER BY fetched_ms LIMIT ?)",
        (before_ms, most),
    )
    images = txn.all(
        "SELECT origin, media_id FROM media WHERE preview_of IS NOT NULL AND created_ms < ? LIMIT ?", (before_ms, most)
    )
    return removed + doom_media(txn, [(origin, media_id) for origin, media_id in images])
