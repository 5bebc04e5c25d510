"""Keeping the index up with what is sent: in the background, by bounded batches, and before anybody is answered.

Spec: client-server-api#server-side-search
"""

import logging
from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from homeserver.storage.changes import EventAdded
from homeserver.storage.database import Change, Database, StorageUnavailable, Txn
from homeserver.storage.names import renew_next
from homeserver.storage.search.index import index_next, index_older, is_behind
from homeserver.storage.search.words import KINDS

SOON_S: Final = 1.0
"""How long after something was sent it is indexed, if nobody searches before: then with all that was sent meanwhile."""
PAUSE_S: Final = 0.05
"""How long the writer is left to others between two batches."""
MOST_BATCHES: Final = 40
"""How many batches a search waits for; it then does without what was sent in the last moments."""

_log = logging.getLogger(__name__)


async def catch_up(database: Database) -> None:
    """Index what was sent before now."""
    if await database.read(is_behind):
        for _ in range(MOST_BATCHES):
            if not await database.write(index_next):
                break


class Follower:
    """Indexes what was sent, what was there before the index, and what older accounts are called."""

    def __init__(self, database: Database, clock: IReactorTime) -> None:
        self._db = database
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._going = False
        self._older = True
        self._ended = False

    def start(self) -> None:
        """Go on where a former run of the server ended."""
        self._wake(0)

    def stop(self) -> None:
        """Index nothing more."""
        self._ended = True
        if self._call is not None and self._call.active():
            self._call.cancel()

    def heed(self, changes: Sequence[Change]) -> None:
        """Take note that something was committed."""
        if any(isinstance(change, EventAdded) and change.event.type in KINDS for change in changes):
            self._wake(SOON_S)

    def _wake(self, delay_s: float) -> None:
        if not self._ended and not self._going and (self._call is None or not self._call.active()):
            self._call = self._clock.callLater(delay_s, self._go)

    def _go(self) -> None:
        self._going = True
        Deferred.fromCoroutine(self._index()).addErrback(lambda failure: _log.error("%s", failure))

    async def _index(self) -> None:
        """Index a batch of each kind; what is left waits for its turn."""
        more, delay_s = True, SOON_S
        try:
            more = await self._db.write(index_next)
            if self._older:
                self._older = await self._db.write(_index_past)
            delay_s = PAUSE_S
        except StorageUnavailable as fault:
            _log.warning("what was sent is not yet indexed, but will be: %s", fault)
        self._going = False
        if more or self._older:
            self._wake(delay_s)


def _index_past(txn: Txn) -> bool:
    older, names = index_older(txn), renew_next(txn)
    return older or names
