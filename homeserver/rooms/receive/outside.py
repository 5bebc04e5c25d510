"""What other servers are asked about a room, and how the events they answer with are inspected: nobody is trusted.

Whatever comes has the form its room version demands, is signed by those who must, and is whole or redacted. Lists are
bounded, so is the time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

from federation.errors import BadAnswer, BadEvent, Refused, RemoteFault
from federation.event import Event, parse_event
from federation.hashes import check_content_hash
from federation.ids import EventID, RoomID, ServerName
from federation.redaction import redact_event
from federation.transport.peers import Asks, Runs
from federation.transport.tasks import side_by_side
from federation.versions import RoomVersion
from homeserver.rooms.seal import Seal
from homeserver.storage.rooms import RoomRecord

ASK_S: Final = 30.0
SIGN_S: Final = 10.0
TELL_S: Final = 20.0
MOST_IDS: Final = 200_000
"""How many events a state and its auth chain may have."""
MOST_STATE_BYTES: Final = 64 << 20
"""What such a state with its auth chain may have, as other servers send it: that of a room of some 80,000 members."""
MOST_ID: Final = 255
AT_ONCE: Final = 10
"""How many single events are asked for side by side."""
PARSED_AT_ONCE: Final = 20
"""How many events are parsed on the reactor's thread; more go to another."""


class ChecksEvents(Protocol):
    """Checks signatures; see `federation.transport.keyring`."""

    async def check_events(self, events: Sequence[Event]) -> dict[EventID, RemoteFault]:
        """Which of the events are not signed by each server that must, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateIDs:
    """The state before an event, as another server tells it, by IDs."""

    state: tuple[EventID, ...]
    chain: tuple[EventID, ...]


class Outside:
    """The other servers, as a room needs them."""

    def __init__(self, peers: Asks, keyring: ChecksEvents, run: Runs) -> None:
        self._peers = peers
        self._keyring = keyring
        self.run = run

    # asking

    async def missing(
        self, server: ServerName, room: RoomRecord, ends: tuple[Sequence[str], Sequence[str]], most: int
    ) -> list[Event]:
        """Events between the earliest and the latest of `ends`.

        Raises: RemoteFault; Refused.
        Spec: server-server-api#post_matrixfederationv1get_missing_eventsroomid
        """
        body = {"earliest_events": list(ends[0]), "latest_events": list(ends[1]), "limit": most, "min_depth": 0}
        path = f"/_matrix/federation/v1/get_missing_events/{quote(room.room_id, safe='')}"
        answer = await self._peers.ask(server, "POST", path, body=body, timeout_s=ASK_S)
        return await self._inspect(room, _list_in(answer, "events")[: most + len(ends[1])])

    async def state_ids(self, server: ServerName, room: RoomRecord, event_id: EventID) -> StateIDs:
        """The state before an event.

        Raises: RemoteFault; Refused.
        Spec: server-server-api#get_matrixfederationv1state_idsroomid
        """
        path = f"/_matrix/federation/v1/state_ids/{quote(room.room_id, safe='')}"
        answer = await self._peers.ask(server, "GET", path, query=[("event_id", event_id)], timeout_s=ASK_S)
        return StateIDs(state=_ids_in(answer, "pdu_ids"), chain=_ids_in(answer, "auth_chain_ids"))

    async def state(self, server: ServerName, room: RoomRecord, event_id: EventID) -> tuple[StateIDs, list[Event]]:
        """The state before an event, with its events and those of its auth chain.

        Raises: RemoteFault, also where an event of the state is none, or not properly signed; Refused.
        Spec: server-server-api#get_matrixfederationv1stateroomid
        """
        path = f"/_matrix/federation/v1/state/{quote(room.room_id, safe='')}"
        query = [("event_id", event_id)]
        answer = await self._peers.ask(server, "GET", path, query=query, timeout_s=ASK_S, most_bytes=MOST_STATE_BYTES)
        state, chain = _list_in(answer, "pdus"), _list_in(answer, "auth_chain")
        if len(state) + len(chain) > MOST_IDS:
            raise BadAnswer("the state is too large")
        events, others = await self._inspect(room, state), await self._inspect(room, chain)
        if len(events) < len(state):
            raise BadAnswer("a state of which not all can be had")
        ids = StateIDs(state=tuple(e.event_id for e in events), chain=tuple(e.event_id for e in others))
        return ids, [*others, *events]

    async def auth_chain(self, server: ServerName, room: RoomRecord, event_id: EventID) -> list[Event]:
        """All events that one rests on.

        Raises: RemoteFault; Refused.
        Spec: server-server-api#get_matrixfederationv1event_authroomideventid
        """
        path = f"/_matrix/federation/v1/event_auth/{quote(room.room_id, safe='')}/{quote(event_id, safe='')}"
        answer = await self._peers.ask(server, "GET", path, timeout_s=ASK_S)
        return await self._inspect(room, _list_in(answer, "auth_chain")[:MOST_IDS])

    async def backfill(
        self, server: ServerName, room: RoomRecord, event_ids: Sequence[EventID], most: int
    ) -> list[Event]:
        """What came before these events, and they themselves.

        Raises: RemoteFault; Refused.
        Spec: server-server-api#get_matrixfederationv1backfillroomid
        """
        path = f"/_matrix/federation/v1/backfill/{quote(room.room_id, safe='')}"
        query = [*[("v", event_id) for event_id in event_ids], ("limit", str(most))]
        answer = await self._peers.ask(server, "GET", path, query=query, timeout_s=ASK_S)
        return await self._inspect(room, _list_in(answer, "pdus")[:most])

    async def events(self, server: ServerName, room: RoomRecord, event_ids: Iterable[EventID]) -> list[Event]:
        """Single events, those of them that are to be had.

        Spec: server-server-api#get_matrixfederationv1eventeventid
        """
        found = await side_by_side([self._find(server, event_id) for event_id in event_ids], at_once=AT_ONCE)
        return await self._inspect(room, [pdu for pdus in found for pdu in pdus])

    async def ask_to_sign(self, server: ServerName, event: Event, timeout_s: float = SIGN_S) -> dict[str, Any]:
        """What a policy server says of an event.

        Raises: RemoteFault; Refused.
        Spec: server-server-api#post_matrixpolicyv1sign
        """
        body = event.pdu()
        return await self._peers.ask(server, "POST", "/_matrix/policy/v1/sign", body=body, timeout_s=timeout_s)

    async def tell(self, server: ServerName, events: Sequence[Event], by: Seal) -> None:
        """Send events that a server must know before anything else; otherwise the outbox does that. Whether it takes
        them is its own matter.

        Raises: RemoteFault; Refused.
        Spec: server-server-api#put_matrixfederationv1sendtxnid
        """
        now_ms = by.now_ms()
        path = f"/_matrix/federation/v1/send/{quote(events[-1].event_id, safe='')}.{now_ms}"
        body = {"origin": by.server, "origin_server_ts": now_ms, "pdus": [event.pdu() for event in events]}
        await self._peers.ask(server, "PUT", path, body=body, timeout_s=TELL_S)

    async def _find(self, server: ServerName, event_id: EventID) -> list[Any]:
        path = f"/_matrix/federation/v1/event/{quote(event_id, safe='')}"
        try:
            return _list_in(await self._peers.ask(server, "GET", path, timeout_s=ASK_S), "pdus")[:1]
        except (RemoteFault, Refused):
            return []

    # inspecting

    async def _inspect(self, room: RoomRecord, pdus: Sequence[object]) -> list[Event]:
        """Those that are events of that room and properly signed, each once; what is not whole is redacted."""
        if len(pdus) <= PARSED_AT_ONCE:
            events = parse_all(room.version, room.room_id, pdus)
        else:
            events = await self.run(parse_all, room.version, room.room_id, pdus)
        return await self.check(events)

    async def check(self, events: Sequence[Event]) -> list[Event]:
        """Those of the events that are properly signed; what is not whole is redacted."""
        faults = await self._keyring.check_events(events)
        return await self.complete([event for event in events if event.event_id not in faults])

    async def find_faults(self, events: Sequence[Event]) -> dict[EventID, RemoteFault]:
        """Which of the events are not properly signed."""
        return await self._keyring.check_events(events)

    async def complete(self, events: Sequence[Event]) -> list[Event]:
        """The events, redacted where they are not whole."""
        return complete(events) if len(events) <= PARSED_AT_ONCE else await self.run(complete, events)


def parse_all(version: RoomVersion, room_id: RoomID, pdus: Iterable[object]) -> list[Event]:
    """Those that are events of that room, each once."""
    events: dict[EventID, Event] = {}
    for pdu in pdus:
        try:
            event = parse_event(pdu, version)  # type: ignore[arg-type]  # whatever it is not is a BadEvent
        except BadEvent:
            continue
        if event.room_id == room_id:
            events.setdefault(event.event_id, event)
    return list(events.values())


def complete(events: Iterable[Event]) -> list[Event]:
    """The events, redacted where their content is not what was hashed.

    Spec: server-server-api#validating-hashes-and-signatures-on-received-events
    """
    return [event if check_content_hash(event) else redact_event(event) for event in events]


def _list_in(answer: dict[str, Any], name: str) -> list[Any]:
    value = answer.get(name)
    if not isinstance(value, list):
        raise BadAnswer(f"{name} is not a list")
    return value


def _ids_in(answer: dict[str, Any], name: str) -> tuple[EventID, ...]:
    ids = _list_in(answer, name)
    if len(ids) > MOST_IDS or not all(isinstance(event_id, str) and len(event_id) <= MOST_ID for event_id in ids):
        raise BadAnswer(f"{name} is no list of event IDs, or too long")
    return tuple(dict.fromkeys(ids))
