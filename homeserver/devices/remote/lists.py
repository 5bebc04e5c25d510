"""Device lists of people elsewhere who are in rooms with ours: kept, changed as their servers tell, asked for again.

A list of which changes were missed is stale: it is asked for in the background, and again by who needs it, until that
works; also after a restart. Our people are told when a list becomes another, or when that cannot be found out.

Spec: server-server-api#device-management
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from federation.errors import PeerRefused, Refused, RemoteFault
from federation.ids import DeviceID, ServerName, UserID, server_of
from homeserver.devices.remote.asking import MOST_DEVICES, Asking
from homeserver.storage import keys, remotedevices
from homeserver.storage.changes import EventAdded
from homeserver.storage.database import Change, Database, StorageUnavailable, Txn
from homeserver.storage.keys import CrossSigningKey
from homeserver.storage.remotedevices import DeviceList

AT_ONCE: Final = 10
"""How many lists are asked for side by side."""
MOST_WAITING: Final = 10_000
"""How many lists wait to be asked for in the background; more are asked for when they are needed."""
MOST_TRIES: Final = 3
"""How often a list is asked for in one go because it changed meanwhile."""
REST_S: Final = 5.0
"""How long a list that was asked for in the background is not asked for so again; who needs it asks at once."""
PAGE: Final = 500
SWEEP_S: Final = 30.0
"""How long after somebody left a room it is looked whose lists nobody needs any more."""

_log: Final = logging.getLogger(__name__)


class Update(NamedTuple):
    """A change of a list: the device's new keys, None when it has none or `is_gone`, and the changes before."""

    user_id: UserID
    device_id: DeviceID
    keys: bytes | None
    stream_id: int
    before: Sequence[int]
    is_gone: bool


class _Renewal:
    """A list that is being asked for; `again`: it has changed meanwhile, and what is answered may be out of date."""

    def __init__(self) -> None:
        self.again = False
        self.waiting: list[Deferred[None]] = []


class _Rest:
    """A list that was asked for in the background just now; `again`: changes of it were missed since."""

    def __init__(self, end: IDelayedCall) -> None:
        self.again = False
        self.end = end


class RemoteLists:
    """The device lists of people elsewhere."""

    def __init__(self, server: ServerName, database: Database, asking: Asking, clock: IReactorTime) -> None:
        self._server = server
        self._database = database
        self._asking = asking
        self._clock = clock
        self._running: dict[UserID, _Renewal] = {}
        self._resting: dict[UserID, _Rest] = {}
        self._turns = DeferredSemaphore(AT_ONCE)
        self._sweep: IDelayedCall | None = None
        self._stopped = False

    async def resume(self) -> None:
        """Ask again for the lists that were stale when the last run ended."""
        self.renew_soon(await self._database.read(remotedevices.load_stale, UserID(""), MOST_WAITING))
        self._sweep_soon()

    def stop(self) -> None:
        """Begin nothing any more."""
        self._stopped = True
        for rest in self._resting.values():
            rest.end.cancel()
        self._resting.clear()
        if self._sweep is not None and self._sweep.active():
            self._sweep.cancel()

    def heed(self, changes: Iterable[Change]) -> None:
        """Look, in a while, whose lists nobody needs any more when somebody has left a room."""
        for change in changes:
            if isinstance(change, EventAdded) and change.event.event.membership in ("leave", "ban"):
                self._sweep_soon()

    async def update(self, update: Update) -> None:
        """Take one change of a list; of who is in no room with ours nothing is kept or told."""
        self._overtake(update.user_id)
        if await self._database.write(_update, update):
            self.renew_soon([update.user_id])

    async def update_cross_signing(self, user_id: UserID, new: Sequence[CrossSigningKey]) -> None:
        """Take new cross-signing keys of somebody."""
        self._overtake(user_id)
        await self._database.write(_update_cross_signing, user_id, new)

    def _overtake(self, user_id: UserID) -> None:
        """An answer that is waited for may not know of a change, and is kept as stale unless it came before that."""
        if user_id in self._running:
            self._running[user_id].again = True

    async def renew(self, user_id: UserID) -> None:
        """Ask for somebody's list, and keep it if they are in a room with one of ours; once for all who want it now.

        Raises: RemoteFault; Refused.
        """
        waiter: Deferred[None] = Deferred()
        renewal = self._running.get(user_id)
        if renewal is None:
            renewal = self._running[user_id] = _Renewal()
            renewal.waiting.append(waiter)
            # a Deferred of its own: the first who asks may go away
            Deferred.fromCoroutine(self._renew(user_id, renewal)).addBoth(self._conclude, user_id, renewal)
        else:
            renewal.waiting.append(waiter)
        await waiter

    def _conclude(self, outcome: None | Failure, user_id: UserID, renewal: _Renewal) -> None:
        del self._running[user_id]
        for waiter in renewal.waiting:
            waiter.callback(outcome)

    async def _renew(self, user_id: UserID, renewal: _Renewal) -> None:
        for _ in range(MOST_TRIES):
            renewal.again = False
            since = self._database.position
            found = await self._asking.devices(user_id)
            await self._database.write(_keep, found, since, renewal)
            if not renewal.again:
                return

    # in the background

    def renew_soon(self, people: Iterable[UserID]) -> None:
        """Ask for lists in the background."""
        for user_id in people:
            going_on = self._running.get(user_id) or self._resting.get(user_id)
            if going_on is not None:
                going_on.again = True
            elif not self._stopped and len(self._turns.waiting) < MOST_WAITING:
                self._turns.run(self._start, user_id)

    def _start(self, user_id: UserID) -> Deferred[None]:
        return Deferred.fromCoroutine(self._try(user_id))

    def _rest(self, user_id: UserID) -> None:
        """Ask for a list no more for a while, whatever changes its server tells."""
        if user_id not in self._resting and not self._stopped:
            self._resting[user_id] = _Rest(self._clock.callLater(REST_S, self._wake, user_id))

    def _wake(self, user_id: UserID) -> None:
        if self._resting.pop(user_id).again:
            self.renew_soon([user_id])

    async def _try(self, user_id: UserID) -> None:
        """Ask for a list; where that fails let our people ask themselves."""
        if self._stopped:
            return
        self._rest(user_id)
        try:
            await self.renew(user_id)
        except (RemoteFault, Refused) as fault:
            _log.info("the devices of %s are not known: %s", user_id, fault)
            if isinstance(fault, PeerRefused) and fault.errcode == "M_NOT_FOUND":
                await self._write_off(user_id)
                return
            await self._tell(user_id)
        except StorageUnavailable as fault:
            _log.warning("the devices of %s are not kept: %s", user_id, fault)

    async def _tell(self, user_id: UserID) -> None:
        try:
            await self._database.write(keys.set_changed, user_id)
        except StorageUnavailable as fault:
            _log.warning("that devices of %s changed is not told: %s", user_id, fault)

    async def _write_off(self, user_id: UserID) -> None:
        """Their server knows nobody of that name."""
        try:
            await self._database.write(_forget, user_id)
        except StorageUnavailable as fault:
            _log.warning("the devices of %s are not forgotten: %s", user_id, fault)

    def _sweep_soon(self) -> None:
        if self._sweep is None and not self._stopped:
            self._sweep = self._clock.callLater(SWEEP_S, self._begin_sweep)

    def _begin_sweep(self) -> None:
        self._sweep = None
        Deferred.fromCoroutine(self.sweep()).addErrback(
            lambda failure: _log.warning("lists that nobody needs stay for now: %s", failure)
        )

    async def sweep(self) -> None:
        """Forget the lists of all who are in no room with ours any more."""
        after: UserID | None = UserID("")
        while after is not None and not self._stopped:
            after = await self._database.write(remotedevices.remove_strangers, after, PAGE)

    def is_theirs(self, user_id: UserID) -> bool:
        """Whether it is somebody of another server."""
        return server_of(user_id) != self._server


def _update(txn: Txn, update: Update) -> bool:
    """The unit of a change; whether the list has to be asked for."""
    user_id = update.user_id
    known = remotedevices.find_known(txn, user_id)
    if known is None:
        if (update.keys is not None or update.is_gone) and remotedevices.has_company(txn, user_id):
            keys.set_changed(txn, user_id)
        return False
    if known.stale:
        return True
    if update.stream_id <= known.stream_id:
        return False
    follows = bool(update.before) and all(stream_id == known.stream_id for stream_id in update.before)
    if not follows or (update.keys is not None and remotedevices.count_devices(txn, user_id) >= MOST_DEVICES):
        remotedevices.set_stale(txn, user_id)
        return True
    remotedevices.set_device(txn, user_id, update.device_id, update.keys, update.stream_id)
    return False


def _update_cross_signing(txn: Txn, user_id: UserID, new: Sequence[CrossSigningKey]) -> None:
    if remotedevices.find_known(txn, user_id) is not None:
        remotedevices.set_cross_signing_keys(txn, user_id, new)
    elif remotedevices.has_company(txn, user_id):
        keys.set_changed(txn, user_id)


def _keep(txn: Txn, found: DeviceList, since: int, renewal: _Renewal) -> None:
    if remotedevices.has_company(txn, found.user_id):
        remotedevices.set_list(txn, found, since, stale=renewal.again)


def _forget(txn: Txn, user_id: UserID) -> None:
    if remotedevices.find_known(txn, user_id) is not None:
        keys.set_changed(txn, user_id)
        remotedevices.remove_list(txn, user_id)
