"""The daily upkeep of files: what has had its time goes, and what no record names.

Each kind of work is a round of its own that notes how far it has come, so a restart carries on; each step is small, so
nobody waits for it.
"""

import logging
from typing import Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall

from config.settings import Media as MediaSettings
from federation.ids import ServerName
from homeserver.media.files import FOLDERS, Files
from homeserver.media.keeping import delete_unused
from homeserver.media.sweeping import Sweeper
from homeserver.media.world import World
from homeserver.storage.database import Database, StorageUnavailable
from homeserver.storage.media import keeping as table
from homeserver.storage.media.keeping import Round, Unused
from homeserver.storage.media.previews import remove_old_previews

EVERY_S: Final = 3600.0
DAY_MS: Final = 24 * 60 * 60 * 1000
AT_ONCE: Final = 200

_log = logging.getLogger(__name__)


class Upkeep:
    """Looks every hour whether a day has passed since the last round, and makes one."""

    def __init__(
        self,
        server_name: ServerName,
        database: Database,
        files: Files,
        sweeper: Sweeper,
        settings: MediaSettings,
        world: World,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._files = files
        self._sweeper = sweeper
        self._settings = settings
        self._world = world
        self._stopped = False
        self._working = DeferredLock()
        self._loop = LoopingCall(self._go)
        self._loop.clock = world.reactor

    def start(self) -> None:
        """Begin: what an earlier run has left to be taken away goes at once."""
        self._loop.start(EVERY_S)

    async def stop(self) -> None:
        """Stop; returns when the step that is being done is at its end."""
        self._stopped = True
        if self._loop.running:
            self._loop.stop()
        await self._working.acquire()

    def _go(self) -> Deferred[None]:
        return self._working.run(lambda: Deferred.fromCoroutine(self._try()))

    async def _try(self) -> None:
        try:
            await self.work()
        except StorageUnavailable as fault:
            _log.warning("files were not looked after, but will be the next time: %s", fault)

    async def work(self) -> None:
        """Do what is due.

        Raises: StorageUnavailable.
        """
        await self._sweeper.sweep()
        now_ms = self._world.now_ms()
        if self._goes_on() and now_ms - (await self._database.read(table.find_round, "retention")).done_ms >= DAY_MS:
            await self._remove_previews(now_ms)
            await self._remove_unused(now_ms)
            if self._goes_on():
                await self._database.write(table.set_round, "retention", Round(done_ms=now_ms))
        await self._sweep(now_ms)

    def _goes_on(self) -> bool:
        return not self._stopped

    async def _remove_previews(self, now_ms: int) -> None:
        before_ms = now_ms - self._settings.previews.keep_days * DAY_MS
        while self._goes_on() and await self._database.write(remove_old_previews, before_ms, AT_ONCE) > 0:
            await self._sweeper.sweep()

    async def _remove_unused(self, now_ms: int) -> None:
        kept = self._settings.retention
        for local, days in ((True, kept.local_days), (False, kept.remote_days)):
            if days is not None and self._goes_on():
                wanted = Unused(
                    local=local,
                    before_ms=now_ms - days * DAY_MS,
                    keep_pictures=local and kept.keep_pictures,
                    keep_shown=local and kept.keep_shown,
                )
                deleted = await delete_unused(self._database, self._sweeper, self._server_name, wanted, self._goes_on)
                if deleted:
                    _log.info("%d files had had their time", len(deleted))

    async def _sweep(self, now_ms: int) -> None:
        """Take away files that no record names, folder by folder; young ones may be about to get one."""
        state = await self._database.read(table.find_round, "sweep")
        if not state.place and now_ms - state.done_ms < DAY_MS:
            return
        for folder in FOLDERS:
            if folder <= state.place:
                continue
            if not self._goes_on():
                return
            await self._sweep_folder(folder, now_ms - DAY_MS)
            await self._database.write(table.set_round, "sweep", Round(folder, state.done_ms))
        await self._database.write(table.set_round, "sweep", Round("", now_ms))

    async def _sweep_folder(self, folder: str, before_ms: int) -> None:
        found = await self._world.call(self._files.find_old, folder, before_ms)
        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            known = await self._database.read(table.load_known_files, some)
            lost = [file_id for file_id in some if file_id not in known]
            for file_id in lost:
                await self._world.call(self._files.remove, file_id)
            if lost:
                _log.info("%d files without a record were taken away", len(lost))
