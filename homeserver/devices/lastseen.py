"""When and from where devices were last seen: noted in memory, written seldom and together.

Spec: client-server-api#get_matrixclientv3devices
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from federation.ids import DeviceID, UserID
from homeserver.storage import devices
from homeserver.storage.database import Database, StorageUnavailable
from homeserver.storage.devices import Device

EVERY_MS: Final = 5 * 60 * 1000
"""How seldom it is written."""
AT_ONCE: Final = 500
"""How many sightings are written in one unit of work."""

_log = Logger()


class LastSeen:
    """Sightings of devices. A crash forgets those of the last few minutes."""

    def __init__(self, database: Database, reactor: IReactorTime, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._seen: dict[tuple[UserID, DeviceID], tuple[int, str]] = {}
        self._loop = LoopingCall(self._write_or_log)
        self._loop.clock = reactor

    def note(self, user_id: UserID, device_id: DeviceID, ip: str) -> None:
        """Note that a device was seen now; called for every request, so it does next to nothing."""
        self._seen[user_id, device_id] = (self._now_ms(), ip)

    def renew(self, user_id: UserID, found: Sequence[Device]) -> list[Device]:
        """A person's devices with what was noted of them since they were written."""
        renewed = []
        for device in found:
            at_ms, ip = self._seen.get((user_id, device.device_id), (device.last_seen_ms, device.last_seen_ip))
            renewed.append(replace(device, last_seen_ms=at_ms, last_seen_ip=ip))
        return renewed

    def start(self) -> None:
        """Begin to write every few minutes."""
        self._loop.start(EVERY_MS / 1000, now=False)

    async def stop(self) -> None:
        """Write what is left, and no more after that."""
        if self._loop.running:
            self._loop.stop()
        await self._write_or_log()

    async def write(self) -> None:
        """Write what was noted since the last time, some at a time so that others get their turn.

        Raises:
            StorageUnavailable: What is left will be tried again with what comes next.
        """
        seen, self._seen = self._seen, {}
        try:
            while seen:
                some = list(islice(seen.items(), AT_ONCE))
                rows = [(at_ms, ip, user_id, device_id) for (user_id, device_id), (at_ms, ip) in some]
                await self._database.write(devices.set_last_seen, rows)
                for device, _ in some:
                    del seen[device]
        except StorageUnavailable:
            self._seen = {**seen, **self._seen}
            raise

    async def _write_or_log(self) -> None:
        try:
            await self.write()
        except StorageUnavailable as fault:
            _log.warn("cannot write when devices were last seen: {fault}", fault=str(fault))
