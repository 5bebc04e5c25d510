"""Files whose records are gone: their names stay here until their bytes are gone from the disk, too.

So whatever forgets a file does that in its own unit of work, and a crash before the disk has forgotten it loses
nothing.
"""

from collections.abc import Collection, Iterable

from federation.ids import ServerName
from homeserver.storage.database import Txn


def doom_media(txn: Txn, media: Iterable[tuple[ServerName, str]]) -> int:
    """Forget files that this server has, whoever shows them; how many there were."""
    return sum(_doom(txn, origin, media_id) for origin, media_id in media)


def doom_unshown(txn: Txn, media: Collection[tuple[ServerName, str]]) -> int:
    """Forget those of some files that no event shows any more, and that are nobody's picture; how many."""
    return doom_media(txn, [which for which in media if not _is_shown(txn, *which)])


def _is_shown(txn: Txn, origin: ServerName, media_id: str) -> bool:
    shown = txn.one(
        "SELECT 1 FROM media_references WHERE origin = ? AND media_id = ?"
        " UNION ALL SELECT 1 FROM profiles WHERE avatar_url = ?",
        (origin, media_id, f"mxc://{origin}/{media_id}"),
    )
    return shown is not None


def _doom(txn: Txn, origin: ServerName, media_id: str) -> int:
    row = txn.one("DELETE FROM media WHERE origin = ? AND media_id = ? RETURNING file_id", (origin, media_id))
    if row is None:
        return 0
    txn.run("INSERT INTO doomed_files (file_id) VALUES (?) ON CONFLICT DO NOTHING", row)
    return 1


def load_doomed(txn: Txn, most: int) -> list[str]:
    """Names of files that are to go."""
    return [file_id for (file_id,) in txn.all("SELECT file_id FROM doomed_files LIMIT ?", (most,))]


def remove_doomed(txn: Txn, file_ids: Iterable[str]) -> None:
    """Note that these are gone."""
    txn.many("DELETE FROM doomed_files WHERE file_id = ?", [(file_id,) for file_id in file_ids])
