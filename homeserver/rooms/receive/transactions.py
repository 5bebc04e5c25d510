"""Transactions of other servers: events and what is not kept, done once each.

Spec: server-server-api#transactions
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from federation.errors import BadIdentifier, BadJSON, Refused, RemoteFault
from federation.ids import ServerName
from federation.transport.tasks import side_by_side
from homeserver.policy import Conflict, Invalid, NotFound
from homeserver.rooms.receive.placing import SoftFailed
from homeserver.rooms.receive.receiver import Receiver

TakeEDU: TypeAlias = Callable[[ServerName, Mapping[str, Any]], Awaitable[None]]
"""Takes the content of an EDU of some type that a server sent. What it raises is the sender's fault or affair."""

MOST_PDUS: Final = 50
MOST_EDUS: Final = 100
MOST_AT_ONCE: Final = 10
"""How many requests of one server are under way: what they bring is in memory until then."""
MOST_REMEMBERED: Final = 20
"""How many transactions of one server are remembered; an honest one has one under way at a time."""
MOST_SERVERS: Final = 1000
_FAULTS: Final = (Refused, RemoteFault, BadIdentifier, BadJSON, Invalid, NotFound, Conflict)

_log: Final = Logger()

Key: TypeAlias = tuple[ServerName, str]


class TooManyAtOnce(Exception):
    """A server sends more at once than is taken."""


class Transactions:
    """Does transactions of other servers. A repeated one gets the answer of the first, also while that is being done.

    Only the last answers are remembered, and not over a restart: events are known by their IDs, and whoever takes EDUs
    bears to get them twice. Whoever takes EDUs of a type puts itself into `edus`.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.edus: dict[str, TakeEDU] = {}
        self._done: OrderedDict[ServerName, OrderedDict[str, Mapping[str, Any]]] = OrderedDict()
        self._running: dict[Key, list[Deferred[Mapping[str, Any]]]] = {}

    async def receive(
        self, origin: ServerName, txn_id: str, pdus: Sequence[object], edus: Sequence[object] = ()
    ) -> Mapping[str, Any]:
        """Do a transaction: for each event by its ID nothing, or under `error` why it was not taken. Of one that was
        taken and is not shown nobody is told.

        All that was taken is committed when this returns.

        Raises: Invalid when there is too much in it; TooManyAtOnce; StorageUnavailable.
        Spec: server-server-api#put_matrixfederationv1sendtxnid
        """
        if len(pdus) > MOST_PDUS or len(edus) > MOST_EDUS:
            raise Invalid("M_BAD_JSON", f"A transaction has at most {MOST_PDUS} PDUs and {MOST_EDUS} EDUs")
        key = (origin, txn_id)
        known = self._done[origin].get(txn_id) if origin in self._done else None
        if known is not None:
            return known
        if sum(len(waiting) for (server, _), waiting in self._running.items() if server == origin) >= MOST_AT_ONCE:
            raise TooManyAtOnce
        answer: Deferred[Mapping[str, Any]] = Deferred()
        waiting = self._running.setdefault(key, [])
        waiting.append(answer)
        if len(waiting) == 1:
            # a Deferred of its own: the first who asks may go away, a retry still waits
            Deferred.fromCoroutine(self._do(origin, pdus, edus)).addBoth(self._give, key)
        return await answer

    def _give(self, outcome: "Mapping[str, Any] | Failure", key: Key) -> None:
        if not isinstance(outcome, Failure):
            self._remember(*key, outcome)
        for answer in self._running.pop(key):
            answer.callback(outcome)

    def _remember(self, origin: ServerName, txn_id: str, outcome: Mapping[str, Any]) -> None:
        done = self._done.setdefault(origin, OrderedDict())
        done[txn_id] = outcome
        self._done.move_to_end(origin)
        for remembered, most in ((done, MOST_REMEMBERED), (self._done, MOST_SERVERS)):
            if len(remembered) > most:
                remembered.popitem(last=False)

    @property
    def remembered(self) -> int:
        """How many answers are remembered."""
        return sum(len(done) for done in self._done.values())

    async def _do(self, origin: ServerName, pdus: Sequence[object], edus: Sequence[object]) -> Mapping[str, Any]:
        outcomes, _ = await side_by_side([self._take_pdus(origin, pdus), self._take_edus(origin, edus)])
        return outcomes

    async def _take_pdus(self, origin: ServerName, pdus: Sequence[object]) -> Mapping[str, Any]:
        outcomes = await self._receiver.receive_all(origin, pdus)
        return {event_id: _dump(fault) for event_id, fault in outcomes.items()}

    async def _take_edus(self, origin: ServerName, edus: Sequence[object]) -> Mapping[str, Any]:
        for edu in edus:
            kind, content = (edu.get("edu_type"), edu.get("content")) if isinstance(edu, dict) else (None, None)
            take = self.edus.get(kind) if isinstance(kind, str) else None
            if take is None or not isinstance(content, dict):
                continue
            try:
                await take(origin, content)
            except _FAULTS as fault:
                _log.debug("an EDU of {origin} is not taken: {fault}", origin=origin, fault=str(fault))
        return {}


def _dump(fault: Exception | None) -> Mapping[str, str]:
    return {} if fault is None or isinstance(fault, SoftFailed) else {"error": str(fault)}
