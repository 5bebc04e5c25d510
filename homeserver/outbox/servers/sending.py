"""Tells other servers what concerns them.

`heed` lets what a commit tells wait for each destination, and returns at once. Each destination then has one
transaction under way at a time, until it has taken it or cannot be reached; nobody waits for another.

Spec: server-server-api#transactions
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from twisted.internet.task import deferLater
from twisted.logger import Logger

from federation.errors import PeerRefused, PeerUnreachable, Refused, RemoteFault
from federation.ids import ServerName
from federation.transport.peers import Asks
from federation.transport.tasks import Tasks
from homeserver.outbox.servers.audiences import Audiences
from homeserver.outbox.servers.destination import LONGEST_DELAY_S, Destination
from homeserver.outbox.servers.packing import Packing
from homeserver.outbox.servers.parcels import Encoder, Parcel
from homeserver.rooms.rooms import Rooms
from homeserver.storage.changes import EDUsQueued, EventAdded
from homeserver.storage.database import Change, Database, StorageUnavailable, Txn
from homeserver.storage.outbox import load_positions, set_positions
from homeserver.storage.waiting import encode_edu, remove_surplus

NOTE_S: Final = 5.0
"""How often it is noted how far servers were told."""
FAR: Final = 10_000
"""After how many positions that is noted of a server of which there was nothing to tell."""
SLICE: Final = 50
"""With how many destinations it begins in one turn of the reactor."""
WITHIN_S: Final = 60.0
MOST_ANSWER: Final = 1 << 20
_BAD: Final = frozenset({400, 413, 422})
"""What a server answers that will not take this transaction, however often it comes."""

_log = Logger()


class Calls(Asks, Protocol):
    """Asks other servers, and knows who is left alone after failures."""

    def retry_ms(self, server: ServerName) -> int:
        """Until when the server is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What sending uses."""

    server: ServerName
    database: Database
    rooms: Rooms
    peers: Calls
    clock: Any
    now_ms: Callable[[], int]
    token_bytes: Callable[[int], bytes]


class Sending:
    """The ways to all other servers, on the reactor's thread. `resume` once at the start, `stop` at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._packing = Packing(world.database, world.rooms, world.server)
        self._encoder = Encoder(world.server)
        self._audiences = Audiences(world.server)
        self._destinations: dict[ServerName, Destination] = {}
        self._position = world.database.position
        self._state: Literal["new", "running", "stopped"] = "new"
        self._tasks = Tasks(lambda failure: _log.failure("telling other servers failed", failure))
        self._timer: Any = None
        self._began_ms = world.now_ms()
        self._number = 0

    # from outside

    async def resume(self) -> None:
        """Load how far each server was told, and begin to tell the rest.

        Raises: StorageUnavailable.
        """
        for server, position in (await self._world.database.read(load_positions)).items():
            destination = self._find(server)
            destination.position = destination.noted = position
        self._position = max(self._position, self._world.database.position)
        self._state = "running"
        self._timer = self._world.clock.callLater(NOTE_S, self._note_again)
        self._tasks.run(self._start_all())

    def heed(self, position: int, changes: Sequence[Change]) -> None:
        """Take note of what a commit tells."""
        self._position = position
        added = [each for each in changes if isinstance(each, EventAdded) and each.audience is not None]
        added.sort(key=lambda each: each.position)
        for each in added:
            for server in self._audiences.find(each):
                destination = self._find(server, each.position - 1)
                destination.put(each.event)
                self._start(destination)
        for change in changes:
            if isinstance(change, EDUsQueued):
                for server in change.servers:
                    destination = self._find(server, position)
                    destination.has_edus = True
                    self._start(destination)

    def tell(self, kind: str, content: object, servers: Iterable[ServerName], key: object = None) -> None:
        """Tell servers something that is not kept: it is lost if they are away. The latest under a key is enough.

        Spec: server-server-api#edus
        """
        edu = encode_edu(kind, content)
        for server in servers:
            if server != self._world.server:
                destination = self._find(server, self._position)
                if destination.timer is None:
                    destination.hear((kind, key), edu)
                    self._start(destination)

    def note_heard(self, server: ServerName) -> None:
        """A request of theirs has come: if they could not be reached, they are tried again now."""
        destination = self._destinations.get(server)
        if destination is not None and destination.is_away:
            self.hurry(server)

    def hurry(self, server: ServerName) -> None:
        """Try a server again now that waits."""
        destination = self._destinations.get(server)
        if destination is not None and destination.timer is not None:
            destination.stop_waiting()
            destination.failures = 0
            self._start(destination)

    @property
    def is_idle(self) -> bool:
        """Whether every server was told all that it can be by now."""
        return not any(each.is_busy or each.is_ready for each in self._destinations.values())

    def is_told(self, server: ServerName) -> bool:
        """Whether a server was told everything."""
        destination = self._destinations.get(server)
        return destination is None or destination.is_idle

    def measure(self) -> dict[str, float]:
        """Sizes for the metrics."""
        all_of_them = self._destinations.values()
        oldest_ms = min((each.held[0].event.origin_server_ts for each in all_of_them if each.held), default=None)
        return {
            "destinations": len(all_of_them),
            "destinations_behind": sum(each.is_behind for each in all_of_them),
            "events_to_servers": sum(len(each.held) for each in all_of_them),
            "events_to_servers_lag_seconds": max(0, self._world.now_ms() - oldest_ms) / 1000 if oldest_ms else 0,
        }

    async def stop(self) -> None:
        """Tell nobody any more, and note how far everybody was told."""
        was, self._state = self._state, "stopped"
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for destination in self._destinations.values():
            destination.stop_waiting()
        self._tasks.cancel()
        if was == "running":
            await self._note()

    # destinations

    def _find(self, server: ServerName, position: int = 0) -> Destination:
        """The way to a server; of one that is new here nothing is owed up to a position."""
        destination = self._destinations.get(server)
        if destination is None:
            is_known = self._state == "running"
            destination = Destination(server, position if is_known else 0, floor=position if is_known else None)
            self._destinations[server] = destination
        return destination

    async def _start_all(self) -> None:
        for number, destination in enumerate(tuple(self._destinations.values()), 1):
            self._start(destination)
            if number % SLICE == 0:
                await self._breathe()

    def _start(self, destination: Destination) -> None:
        if self._state != "running" or destination.is_busy or not destination.is_ready:
            return
        wait_ms = self._world.peers.retry_ms(destination.server) - self._world.now_ms()
        if wait_ms > 0:
            self._wait(destination, wait_ms / 1000)
            destination.is_away = True
        else:
            destination.is_busy = True
            self._tasks.run(self._tell_all(destination))

    async def _tell_all(self, destination: Destination) -> None:
        try:
            await self._breathe()  # let what comes together go together
            while destination.is_ready and self._state == "running":
                parcel = await self._packing.pack(destination, self._position)
                if not parcel.is_empty:
                    await self._send(destination, parcel)
                await self._packing.finish(destination, parcel)
        except (RemoteFault, Refused, StorageUnavailable) as fault:
            destination.has_edus = True
            self._try_later(destination, fault)
        finally:
            destination.is_busy = False

    async def _send(self, destination: Destination, parcel: Parcel) -> None:
        """Send a transaction until it is answered.

        Raises: RemoteFault; Refused.
        """
        self._number += 1
        parcel.at_ms = parcel.at_ms or self._world.now_ms()
        path = "/_matrix/federation/v1/send/" + parcel.build_id(f"{self._began_ms}.{self._number}")
        body = self._encoder.encode(parcel)
        try:
            answer = await self._world.peers.ask(
                destination.server, "PUT", path, body=body, timeout_s=WITHIN_S, most_bytes=MOST_ANSWER
            )
        except PeerRefused as refusal:
            if refusal.status not in _BAD:
                raise
            if not parcel.is_one:
                destination.most = max(1, max(len(parcel.pdus), len(parcel.edus) // 2) // 2)
                raise
            _log.warn("{server} does not take {what}: {why}", server=destination.server, what=path, why=str(refusal))
        else:
            _log_errors(destination.server, answer)
        destination.mend()

    # waiting

    def _try_later(self, destination: Destination, fault: Exception) -> None:
        if self._state != "running":
            return
        delay_s = destination.delay_s(int.from_bytes(self._world.token_bytes(2), "big") / 0xFFFF)
        if isinstance(fault, Refused):
            delay_s = LONGEST_DELAY_S
        wait_ms = self._world.peers.retry_ms(destination.server) - self._world.now_ms()
        _log.debug("{server} was not told ({fault})", server=destination.server, fault=str(fault))
        self._wait(destination, wait_ms / 1000 if wait_ms > 0 else delay_s)
        destination.is_away = isinstance(fault, PeerUnreachable)

    def _wait(self, destination: Destination, delay_s: float) -> None:
        """Leave a server alone for a while, and hold nothing for it."""
        destination.pause()
        destination.timer = self._world.clock.callLater(delay_s, self._try_again, destination)

    def _try_again(self, destination: Destination) -> None:
        destination.timer = None
        self._start(destination)

    async def _breathe(self) -> None:
        await deferLater(self._world.clock, 0, lambda: None)

    # how far everybody is

    def _note_again(self) -> None:
        self._timer = self._world.clock.callLater(NOTE_S, self._note_again)
        self._tasks.run(self._note())

    async def _note(self) -> None:
        """Note how far servers were told."""
        positions: dict[ServerName, int] = {}
        for server, destination in self._destinations.items():
            is_new = destination.position != destination.noted
            if destination.is_idle and not destination.is_behind:
                destination.take(self._position)
            if is_new or destination.position - destination.noted >= FAR:
                positions[server] = destination.position
        away = [server for server, each in self._destinations.items() if each.timer is not None]
        if not positions and not away:
            return
        with suppress(StorageUnavailable):
            await self._world.database.write(_note, positions, away)
            for server, position in positions.items():
                self._destinations[server].noted = position


def _note(txn: Txn, positions: dict[ServerName, int], away: Sequence[ServerName]) -> None:
    """The unit of noting."""
    if positions:
        set_positions(txn, positions)
    for server in away:
        remove_surplus(txn, server)


def _log_errors(server: ServerName, answer: dict[str, Any]) -> None:
    pdus = answer.get("pdus")
    for event_id, outcome in pdus.items() if isinstance(pdus, dict) else ():
        if isinstance(outcome, dict) and outcome.get("error"):
            why = str(outcome["error"])[:200]
            _log.info("{server} did not take {event_id}: {why}", server=server, event_id=event_id, why=why)
