"""Transaction ids: a request that is sent again does not happen again, also after a restart.

Each device has its last requests in memory, read from its stored events when it first sends something. Whoever comes
while the first of two equal requests is under way waits for that one.

Spec: client-server-api#transaction-identifiers
"""

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeAlias

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from federation.ids import DeviceID, EventID, UserID
from homeserver.storage.database import Database, StorageUnavailable
from homeserver.storage.events import Origin, load_sent

MOST_REQUESTS: Final = 300
"""How many requests of a device are known again; a transaction id that is older than that counts as new."""
MOST_HELD: Final = 100_000
"""How many requests of all devices are in memory, about 350 bytes each."""


class Request(NamedTuple):
    """The path of a request: `door` is the event type for /send, the event ID for /redact."""

    room_id: str
    door: str
    txn_id: str


_Waiting: TypeAlias = list[Deferred[EventID]]
_Device: TypeAlias = dict[Request, "EventID | _Waiting"]
_Owner: TypeAlias = tuple[UserID, DeviceID | None]


class Transactions:
    """What devices sent lately."""

    def __init__(self, database: Database, *, most_held: int = MOST_HELD) -> None:
        self._db = database
        self._most_held = most_held
        self._held = 0
        self._devices: OrderedDict[_Owner, _Device] = OrderedDict()
        self._doubtful: set[_Owner] = set()
        """Devices a request of which failed with storage: it may have been done all the same."""

    async def once(self, origin: Origin, request: Request, send: Callable[[], Coroutine[Any, Any, EventID]]) -> EventID:
        """The event of that request: that of its first time, or the one that `send` makes now.

        It is made even if nobody waits for it any more, so that the client's next try finds it.

        Raises: what `send` raises; the request may then be tried again.
        """
        owner = (origin.user_id, origin.device_id)
        device = self._devices.get(owner)
        if device is None or owner in self._doubtful:
            device = await self._load(owner)
        self._devices.move_to_end(owner)
        known = device.get(request)
        if isinstance(known, str):
            return known
        answer: Deferred[EventID] = Deferred()
        if known is not None:
            known.append(answer)
            return await answer
        device[request] = [answer]
        self._held += 1
        ensureDeferred(send()).addCallbacks(
            self._answer, self._fail, callbackArgs=(device, request), errbackArgs=(owner, device, request)
        )
        return await answer

    async def _load(self, owner: _Owner) -> _Device:
        loaded: _Device = {}
        # the writer alone knows what became of a commit whose answer was lost: it reads behind that
        read = self._db.write if owner in self._doubtful else self._db.read
        stored = await read(load_sent, *owner, MOST_REQUESTS)
        self._doubtful.discard(owner)
        for sent in reversed(stored):
            loaded[Request(sent.room_id, sent.type, sent.txn_id)] = sent.event_id
            if sent.redacts is not None:
                loaded[Request(sent.room_id, sent.redacts, sent.txn_id)] = sent.event_id
        # whoever was faster has the device's present
        device = self._devices.setdefault(owner, {})
        self._held -= len(device)
        device |= {request: event_id for request, event_id in loaded.items() if request not in device}
        self._held += len(device)
        self._let_go()
        return device

    def _let_go(self) -> None:
        """Forget the devices that sent nothing for longest and wait for nothing, but never the one that came last."""
        for owner, device in list(self._devices.items())[:-1] if self._held > self._most_held else ():
            if all(isinstance(known, str) for known in device.values()):
                self._held -= len(device)
                self._doubtful.discard(owner)
                del self._devices[owner]
            if self._held <= self._most_held:
                return

    def _answer(self, event_id: EventID, device: _Device, request: Request) -> None:
        waiting = device[request]
        device[request] = event_id
        oldest = next(iter(device))
        if len(device) > MOST_REQUESTS and isinstance(device[oldest], str):
            del device[oldest]
            self._held -= 1
        for answer in waiting if isinstance(waiting, list) else ():
            answer.callback(event_id)

    def _fail(self, failure: Failure, owner: _Owner, device: _Device, request: Request) -> None:
        if isinstance(failure.value, StorageUnavailable):
            self._doubtful.add(owner)
        waiting = device.pop(request)
        self._held -= 1
        for answer in waiting if isinstance(waiting, list) else ():
            answer.errback(failure)
