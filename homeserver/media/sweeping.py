"""Taking the bytes of files away whose records are gone."""

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.threads import deferToThreadPool

from homeserver.media.files import Files
from homeserver.storage.database import Database
from homeserver.storage.doomed import load_doomed, remove_doomed

AT_ONCE: Final = 100


class Sweeper:
    """Sweeps out what `storage.doomed` names."""

    def __init__(self, database: Database, files: Files, reactor: Any) -> None:
        self._db = database
        self._files = files
        self._reactor = reactor

    async def sweep(self) -> None:
        """Take away the bytes of all files that are doomed; can be repeated at any time."""
        while file_ids := await self._db.read(load_doomed, AT_ONCE):
            await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._remove, file_ids)
            await self._db.write(remove_doomed, file_ids)

    def _remove(self, file_ids: Sequence[str]) -> None:
        for file_id in file_ids:
            self._files.remove(file_id)
