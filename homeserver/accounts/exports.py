"""Taking out what there is of a person: what the console asks of whoever can write it.

School: row 47
"""

from pathlib import Path
from typing import Protocol

from federation.ids import UserID
from homeserver.commands import CommandFailed, Say
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.database import Database


class ExportsToDisk(Protocol):
    """What writes exports of people."""

    async def export(self, user_id: UserID, path: Path, /, *, shown: bool, say: Say) -> None:
        """Write an export to an archive or a new folder.

        Raises: CommandFailed.
        """


async def take_out(database: Database, exports: ExportsToDisk, entry: AuditEntry, to: str, say: Say) -> None:
    """Export the subject of an audit entry, which is written before; its `shown` tells of others' files.

    Raises: CommandFailed.
    """
    path = Path(to)
    if not path.is_absolute():
        raise CommandFailed(f"{path}: name the whole path, from / on")
    await database.write(append_audit, entry)
    await exports.export(UserID(entry.subject), path, shown=bool(entry.detail["shown"]), say=say)
