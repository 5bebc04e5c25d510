"""Who may have a person exported, and where the archive waits to be fetched.

The operator has everything exported: for the person, to whom it is handed over. The administrators of the school that
keeps the person's record have all but what was said in rooms that the school is not in. Nobody else may, and each
export is in the audit log before it begins.

School: row 47
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from twisted.internet.defer import Deferred

from federation.ids import UserID
from homeserver.commands import CommandFailed, Say
from homeserver.policy import NotFound
from homeserver.schools.export.person import Export, Exporter
from homeserver.schools.export.sinks import FolderSink, ZipSink
from homeserver.schools.facts import Facts
from homeserver.schools.office import Asker, check_may_command
from homeserver.schools.rights import Command
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.database import Database, StorageUnavailable
from homeserver.storage.export import find_organisation_of

_log = logging.getLogger(__name__)

LASTS_MS: Final = 86_400_000
"""How long an archive waits to be fetched."""
MOST: Final = 20
"""How many archives wait at once."""


@dataclass(slots=True, kw_only=True)
class Job:
    """An export that was asked for, by whom, and what has become of it."""

    by: UserID
    org_id: str
    path: Path
    began_ms: int
    export: Export
    status: Literal["active", "complete", "failed"] = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What exports need of the outside; `folder` is emptied at the start."""

    database: Database
    facts: Facts
    exporter: Exporter
    folder: Path
    new_id: Callable[[], str]
    now_ms: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """Exports people for the operator at the console, with everything."""

    exporter: Exporter

    async def export(self, user_id: UserID, path: Path, *, shown: bool, say: Say) -> None:
        """Write an export to an archive (*.zip) or a new folder.

        Raises: CommandFailed: the disk does not take it, or something is there already.
        """
        export = Export(user_id=user_id, whole=True, shown=shown)
        try:
            if path.exists():
                raise FileExistsError(17, "is there already")
            sink = ZipSink(path) if path.suffix == ".zip" else FolderSink(path)
            await self.exporter.write(export, sink, say)
        except OSError as fault:
            raise CommandFailed(f"{path}: {fault.strerror}") from None
        say(f"exported {user_id} to {path}: {export.rooms} rooms, {export.messages} events, {export.uploads} files")


class Exports:
    """Exports people for those who may ask for it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs: dict[str, Job] = {}
        for left_over in world.folder.glob("*"):
            left_over.unlink()

    async def begin(self, asker: Asker, org_id: str, user_id: UserID, *, shown: bool) -> str:
        """Begin an export; the ID to ask about it by.

        Raises: NotFound for who may not, and for whose record that organisation does not keep.
        """
        world = self._world
        await check_may_command(world.facts, asker, Command.EXPORT, org_id)
        if await world.database.read(find_organisation_of, user_id) != org_id:
            raise NotFound("There is no such person")
        now_ms = world.now_ms()
        self._forget_old(now_ms)
        export = Export(user_id=user_id, whole=asker.region, shown=shown)
        detail = {"whole": export.whole, "files": shown}
        entry = AuditEntry(
            org_id=org_id, at_ms=now_ms, done_by=asker.user_id, deed="export", subject=user_id, detail=detail
        )
        await world.database.write(append_audit, entry)
        export_id = world.new_id()
        path = world.folder / f"{export_id}.zip"
        job = Job(by=asker.user_id, org_id=org_id, path=path, began_ms=now_ms, export=export)
        self._jobs[export_id] = job
        Deferred.fromCoroutine(self._run(job))
        return export_id

    def load(self, asker: Asker, org_id: str, export_id: str) -> Job:
        """An export that the asker has asked for.

        Raises: NotFound.
        """
        job = self._jobs.get(export_id)
        if job is None or job.by != asker.user_id or job.org_id != org_id:
            raise NotFound("There is no such export")
        return job

    async def load_complete(self, asker: Asker, org_id: str, export_id: str) -> Job:
        """The same with its archive, for who may still have it.

        Raises: NotFound.
        """
        job = self.load(asker, org_id, export_id)
        await check_may_command(self._world.facts, asker, Command.EXPORT, org_id)
        if job.status != "complete":
            raise NotFound("This export is not complete")
        return job

    def _forget_old(self, now_ms: int) -> None:
        for export_id, job in list(self._jobs.items()):
            if job.status != "active" and (job.began_ms < now_ms - LASTS_MS or len(self._jobs) >= MOST):
                job.path.unlink(missing_ok=True)
                del self._jobs[export_id]

    async def _run(self, job: Job) -> None:
        try:
            await self._world.exporter.write(job.export, ZipSink(job.path), lambda line: None)
        except (OSError, StorageUnavailable) as fault:
            job.status = "failed"
            _log.error("the export of %s has failed: %s", job.export.user_id, fault)
        else:
            job.status = "complete"
