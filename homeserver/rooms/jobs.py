"""Work on all that is there, done by the way: a bounded piece at a time, begun again where a stop has ended it.

There are two jobs: to write the overviews of rooms that have none, which each start begins with, and to build the user
directory's words anew, which an operator may ask for.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred

from federation.ids import UserID
from homeserver.operators import Operators
from homeserver.policy import Administer, Invalid
from homeserver.rooms.overview import build_overview
from homeserver.rooms.rooms import Rooms
from homeserver.storage.accounts import load_accounts
from homeserver.storage.database import Database, StorageUnavailable, Txn
from homeserver.storage.names import renew_words
from homeserver.storage.roomlist import add_overview, load_rooms_without_overview, remove_overviews

_log = logging.getLogger(__name__)

AT_ONCE: Final = 50
OVERVIEWS: Final = "populate_stats_process_rooms"
DIRECTORY: Final = "regenerate_directory"


@dataclass(slots=True, kw_only=True)
class Progress:
    """A job that runs: how many things it has dealt with, since when."""

    name: str
    began_ms: int
    items: int = 0


class Jobs:
    """Runs one job at a time; `stop` ends it between two pieces."""

    def __init__(self, rooms: Rooms, database: Database, operators: Operators) -> None:
        self._rooms = rooms
        self._db = database
        self._operators = operators
        self._jobs: dict[str, Callable[[Progress], Awaitable[None]]] = {
            OVERVIEWS: self._write_overviews,
            DIRECTORY: self._renew_directory,
        }
        self._enabled = True
        self._stopping = False
        self._running: Deferred[None] | None = None
        self.current: Progress | None = None

    @property
    def enabled(self) -> bool:
        """Whether jobs may run; not kept over a restart."""
        return self._enabled

    async def set_enabled(self, by: UserID, enabled: bool) -> None:
        """Let jobs run, or let the one that runs end after its piece.

        Raises: Refused.
        """
        await self._operators.note(await self._operators.check(Administer(by=by, deed="run_job"), enabled=enabled))
        self._enabled = enabled
        if enabled:
            self.resume()

    async def start(self, by: UserID, name: str) -> None:
        """Begin a job from its beginning.

        Raises: Invalid: there is no such job, or one runs already; Refused.
        """
        if name not in self._jobs:
            raise Invalid("M_UNKNOWN", "Invalid job_name")
        if self.current is not None:
            raise Invalid("M_UNKNOWN", f"Job {self.current.name} is running")
        entry = await self._operators.check(Administer(by=by, deed="run_job"), job=name)
        await self._operators.write(entry, remove_overviews if name == OVERVIEWS else _nothing)
        self._begin(name)

    def resume(self) -> None:
        """Go on with what is not done."""
        self._begin(OVERVIEWS)

    async def stop(self) -> None:
        """End the job that runs."""
        self._stopping = True
        if self._running is not None:
            await self._running

    def _begin(self, name: str) -> None:
        if self.current is None and not self._stopping:
            self.current = Progress(name=name, began_ms=self._rooms.seal.now_ms())
            self._running = Deferred.fromCoroutine(self._run(self.current))

    async def _run(self, progress: Progress) -> None:
        try:
            await self._jobs[progress.name](progress)
        except StorageUnavailable as fault:
            _log.warning("the job %s goes on at the next start: %s", progress.name, fault)
        finally:
            self.current = None

    def _may_go_on(self) -> bool:
        return self._enabled and not self._stopping

    async def _write_overviews(self, progress: Progress) -> None:
        after = 0
        while self._may_go_on() and (page := await self._db.read(load_rooms_without_overview, after, AT_ONCE)):
            for nid, room_id in page:
                room = await self._rooms.load(room_id)
                if room is not None:
                    await self._db.write(add_overview, build_overview(room.nid, room.shown.find))
                progress.items += 1
                after = nid

    async def _renew_directory(self, progress: Progress) -> None:
        after = ""
        while self._may_go_on() and (page := await self._db.read(load_accounts, after, AT_ONCE)):
            await self._db.write(_renew, [account.user_id for account in page])
            progress.items += len(page)
            after = page[-1].user_id


def _renew(txn: Txn, people: list[UserID]) -> None:
    for user_id in people:
        renew_words(txn, user_id)


def _nothing(txn: Txn) -> None:
    """A job that has nothing to forget first."""
