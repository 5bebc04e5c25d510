"""With which servers this one has to do at all: those of the signed list of regions, everybody, or nobody.

Whatever talks to another server, or listens to one, asks `Regions.check` first. The list is read from its file and its
URL at the start and every few minutes; the newest that was accepted is kept in the database. Without a list, or with
one that has expired, there is no federation, and the log and the metrics say so.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from config.settings import Federation
from federation import canonical
from federation.ed25519 import VerifyKey
from federation.errors import BadRegionList, Refused, RemoteFault
from federation.ids import ServerName
from federation.keys import ServerKeys
from federation.regions import (
    MOST_BYTES,
    RULE,
    RegionList,
    check_succession,
    parse_authority_keys,
    parse_region_list,
)
from federation.transport.agent import Incoming, Outgoing
from homeserver.storage.database import Database, StorageUnavailable
from homeserver.storage.regions import StoredList, find_region_list, set_region_list

EVERY_S: Final = 300.0
_SOON_MS: Final = 3 * 24 * 60 * 60 * 1000
"""How long before a list expires the log begins to warn."""

_log: Final = logging.getLogger(__name__)


class Asks(Protocol):
    """Makes requests outward."""

    async def ask(self, request: Outgoing) -> Incoming:
        """Make a request and hear the whole answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the regions stand on."""

    server: ServerName
    settings: Federation
    database: Database
    outward: Asks
    now_ms: Callable[[], int]
    reactor: IReactorTime


class Regions:
    """The servers that this one has to do with. `on_change` is called when there is another list."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.mode = ground.settings.mode
        self._anchor = canonical.encode(ground.settings.list.authority_keys)
        self._configured = parse_authority_keys(ground.settings.list.authority_keys)
        self.known: RegionList | None = None
        self.on_change: Callable[[], None] = lambda: None
        self._loop = LoopingCall(self._look)
        self._loop.clock = ground.reactor
        self._looking: Deferred[None] | None = None

    def check(self, server: ServerName) -> None:
        """Check that this server has to do with that one; it always has with itself.

        Raises: Refused.
        """
        if server != self._ground.server and self.mode != "open":
            self._check_listed(server)

    def may_talk(self, server: ServerName) -> bool:
        """Whether this server has to do with that one."""
        try:
            self.check(server)
        except Refused:
            return False
        return True

    def check_delegation(self, server: ServerName, delegated: ServerName) -> None:
        """Check that a server may say that it is where the server of that name is.

        Raises: Refused.
        """
        if self.mode == "list":
            self._list().check_delegation(server, delegated, self._ground.now_ms())

    def find_keys(self, server: ServerName) -> ServerKeys | None:
        """The keys that the list names for a server; None where it may publish any."""
        region = self.known.regions.get(server) if self.known is not None and self.mode == "list" else None
        return None if region is None else region.keys

    @property
    def is_in_force(self) -> bool:
        """Whether there is federation: always in mode open, never in mode none, else with a list that is valid."""
        if self.mode != "list":
            return self.mode == "open"
        return self.known is not None and self._ground.now_ms() < self.known.valid_until_ms

    async def begin(self) -> None:
        """Remember the list that was accepted before, look into the file for a newer one, and go on looking."""
        if self.mode != "list":
            return
        places = self._ground.settings.list
        if places.file is None and places.url is None:
            _log.info("no list of regions is configured: there is no federation")
            return
        await self._remember()
        await self._try_file()
        self._warn()
        if not self._loop.running:
            self._loop.start(EVERY_S, now=places.url is not None).addErrback(_log_end)

    def stop(self) -> None:
        """Look for no newer list any more."""
        if self._loop.running:
            self._loop.stop()
        if self._looking is not None:
            self._looking.cancel()

    async def refresh(self) -> None:
        """Look for a newer list in its file and at its URL; what cannot be accepted is told to the log."""
        places = self._ground.settings.list
        url = places.url
        if self.mode != "list" or (places.file is None and url is None):
            return
        await self._try_file()
        if url is not None:
            try:
                request = Outgoing(method="GET", url=url, headers={}, most_bytes=MOST_BYTES)
                answer = await self._ground.outward.ask(request)
                await self._try(url, answer.body if answer.status == 200 else None)
            except RemoteFault as fault:
                _log.warning("the list of regions cannot be fetched from %s: %s", url, fault)
        self._warn()

    def measure(self) -> dict[str, float]:
        """Sizes for the metrics: whether federation stands, and how long the list is still good."""
        if self.mode != "list":
            return {}
        left_ms = 0 if self.known is None else max(0, self.known.valid_until_ms - self._ground.now_ms())
        return {
            "region_list_valid": float(left_ms > 0),
            "region_list_valid_seconds": left_ms / 1000,
            "region_list_version": -1 if self.known is None else self.known.version,
        }

    def _check_listed(self, server: ServerName) -> None:
        if self.mode == "none":
            raise Refused(RULE, "this server does not federate")
        self._list().check(server, self._ground.now_ms())

    def _list(self) -> RegionList:
        if self.known is None:
            raise Refused(RULE, "there is no list of regions")
        return self.known

    @property
    def _trusted(self) -> Mapping[str, VerifyKey]:
        """Who may sign the next list: whom the known one names, or for the first one whom the configuration does."""
        return self._configured if self.known is None else self.known.authority_keys

    async def _remember(self) -> None:
        """Take the stored list; one that was accepted under other keys of the authority must be signed by these."""
        stored = await self._ground.database.read(find_region_list)
        if stored is None:
            return
        try:
            trusted = None if stored.anchor == self._anchor else self._configured
            self.known = parse_region_list(stored.raw, trusted)
        except BadRegionList as fault:
            _log.error("the list of regions that was known before is dropped: %s", fault)

    async def _try_file(self) -> None:
        file = self._ground.settings.list.file
        if file is not None:
            await self._try(str(file), _read(file))

    async def _try(self, place: str, raw: bytes | None) -> None:
        """Take a list that was found, if it is newer."""
        if raw is None:
            _log.warning("there is no list of regions at %s", place)
            return
        try:
            found = parse_region_list(raw, self._trusted)
            if not check_succession(self.known, found, self._ground.now_ms()):
                return
        except BadRegionList as fault:
            _log.error("the list of regions at %s is not accepted: %s", place, fault)
            return
        await self._ground.database.write(set_region_list, StoredList(found.version, self._anchor, found.raw))
        self.known = found
        self.on_change()
        _log.info("the list of regions is now version %d, with %d regions", found.version, len(found.regions))

    def _warn(self) -> None:
        left_ms = 0 if self.known is None else self.known.valid_until_ms - self._ground.now_ms()
        if left_ms <= 0:
            why = "there is none" if self.known is None else "it has expired"
            _log.error("no federation without a list of regions: %s", why)
        elif left_ms < _SOON_MS:
            _log.warning("the list of regions expires in %d hours", left_ms // 3_600_000)

    def _look(self) -> Deferred[None]:
        self._looking = Deferred.fromCoroutine(self._refresh())
        return self._looking

    async def _refresh(self) -> None:
        try:
            await self.refresh()
        except (StorageUnavailable, CancelledError) as fault:
            _log.warning("the list of regions was not refreshed, but will be the next time: %s", fault)


def _read(file: Path) -> bytes | None:
    """What is in the file, None if it cannot be read or is too large to be a list."""
    try:
        return file.read_bytes() if file.stat().st_size <= MOST_BYTES else None
    except OSError:
        return None


def _log_end(failure: Failure) -> None:
    _log.error("the list of regions is looked at no more: %s", failure)
