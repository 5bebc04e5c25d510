"""The caretaker's rounds: now and then every school is settled, so that who is no longer verified is in no room.

The gate refuses from the very moment on; the rounds take the memberships away that would still show what others write.

School: decided 2
"""

import logging
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from homeserver.schools.desk import Desk
from homeserver.storage.database import StorageUnavailable

EVERY_S: Final = 3600.0

_log = logging.getLogger(__name__)


class Rounds:
    """Settles all schools, every hour; the first time is the caller's, at the start."""

    def __init__(self, desk: Desk, reactor: IReactorTime) -> None:
        self._desk = desk
        self._loop = LoopingCall(self._go)
        self._loop.clock = reactor

    def start(self) -> None:
        """Go on rounds from now on."""
        self._loop.start(EVERY_S, now=False)

    def stop(self) -> None:
        """Go on no more rounds."""
        if self._loop.running:
            self._loop.stop()

    def _go(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._settle())

    async def _settle(self) -> None:
        try:
            await self._desk.settle_all()
        except StorageUnavailable as fault:
            _log.warning("the schools were not settled, but will be the next time: %s", fault)
