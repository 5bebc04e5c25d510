"""Another server, as a room of thin air: it can sign anything, and answers what a homeserver asks about that room.

    peer = Peer(factory)
    receiver = ...Outside(peer, Keys(), run)

`lies` replaces answers: by the last part of the endpoint's name, a function of the true answer. `asked` counts. `told`
are the events that were sent, by whom they were sent to.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from federation.ed25519 import SigningKey
from federation.errors import BadSignature, PeerRefused, RemoteFault
from federation.event import Event
from federation.hashes import essential_bytes
from federation.ids import EventID, ServerName, UserID
from federation.signatures import check_event_signatures
from federation.unpadded import encode_base64
from tests.kit.rooms import RoomFactory, signing_key

FEDERATION = "/_matrix/federation/v1/"


class Keys:
    """The keys of all servers of tests."""

    async def check_events(self, events: Sequence[Event]) -> dict[EventID, RemoteFault]:
        faults: dict[EventID, RemoteFault] = {}
        for event in events:
            try:
                check_event_signatures(event, _find_key)
            except BadSignature as fault:
                faults[event.event_id] = fault
        return faults


def _find_key(server: ServerName, key_id: str) -> Any:
    key = signing_key(server)
    return key.verify_key if key.key_id == key_id else None


class Peer:
    """Answers from the history of a room."""

    def __init__(self, factory: RoomFactory) -> None:
        self.factory = factory
        self.asked: Counter[str] = Counter()
        self.told: list[tuple[ServerName, list[dict[str, Any]]]] = []
        self.signs: SigningKey | None = None
        self.lies: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}

    async def ask(
        self,
        destination: ServerName,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: object | None = None,
        timeout_s: float = 30,
        most_bytes: int = 32 << 20,
    ) -> dict[str, Any]:
        if path == "/_matrix/policy/v1/sign":
            return self._recommend(destination, body)
        name, *rest = [unquote(part) for part in path.removeprefix(FEDERATION).split("/")]
        self.asked[name] += 1
        if name == "send" and isinstance(body, dict):
            self.told.append((destination, body["pdus"]))
        answer: dict[str, Any] = getattr(self, f"_{name}")(rest, list(query), body)
        lie = self.lies.get(name)
        return answer if lie is None else lie(answer)

    def _recommend(self, server: ServerName, pdu: Any) -> dict[str, Any]:
        """What a policy server answers that recommends everything, with the key that it has."""
        if self.signs is None:
            raise PeerRefused(400, "M_FORBIDDEN", "not this", {})
        signature = self.signs.sign(essential_bytes(self.factory.version, pdu))
        return {server: {"ed25519:policy_server": encode_base64(signature)}}

    # what is asked

    def _event(self, rest: Sequence[str], query: Any, body: Any) -> dict[str, Any]:
        return {"pdus": [self._find(rest[0]).pdu()]}

    def _get_missing_events(self, rest: Any, query: Any, body: Any) -> dict[str, Any]:
        stop = set(body["earliest_events"])
        ahead = [each for latest in body["latest_events"] for each in self._find(latest).prev_events]
        found: dict[EventID, Event] = {}
        while ahead and len(found) < body["limit"]:
            event_id = ahead.pop(0)
            if event_id not in found and event_id not in stop:
                found[event_id] = self._find(event_id)
                ahead += found[event_id].prev_events
        return {"events": [event.pdu() for event in reversed(found.values())]}

    def _state_ids(self, rest: Any, query: Any, body: Any) -> dict[str, Any]:
        state, chain = self._state_before(dict(query)["event_id"])
        return {"pdu_ids": [e.event_id for e in state], "auth_chain_ids": [e.event_id for e in chain]}

    def _state(self, rest: Any, query: Any, body: Any) -> dict[str, Any]:
        state, chain = self._state_before(dict(query)["event_id"])
        return {"pdus": [e.pdu() for e in state], "auth_chain": [e.pdu() for e in chain]}

    def _event_auth(self, rest: Sequence[str], query: Any, body: Any) -> dict[str, Any]:
        return {"auth_chain": [e.pdu() for e in self.chain([self._find(rest[1])])]}

    def _backfill(self, rest: Any, query: Sequence[tuple[str, str]], body: Any) -> dict[str, Any]:
        limit = int(dict(query)["limit"])
        ahead = [self._find(value) for name, value in query if name == "v"]
        found: dict[EventID, Event] = {}
        while ahead and len(found) < limit:
            ahead.sort(key=lambda event: event.depth)
            event = ahead.pop()
            if event.event_id not in found:
                found[event.event_id] = event
                ahead += [self._find(each) for each in event.prev_events]
        return {"pdus": [event.pdu() for event in found.values()]}

    def _make_join(self, rest: Sequence[str], query: Any, body: Any) -> dict[str, Any]:
        person = UserID(rest[1])
        event = self.factory.build_member(person, person, "join").pdu()
        proposed = {name: value for name, value in event.items() if name not in ("hashes", "signatures", "event_id")}
        return {"room_version": self.factory.version.id, "event": proposed}

    def _send(self, rest: Sequence[str], query: Any, body: Any) -> dict[str, Any]:
        return {"pdus": {}}

    def _send_join(self, rest: Sequence[str], query: Any, body: Any) -> dict[str, Any]:
        state = list(self.factory.state().values())
        chain = self.chain(state)
        return {"state": [e.pdu() for e in state], "auth_chain": [e.pdu() for e in chain], "event": body}

    # what there is

    def _find(self, event_id: str) -> Event:
        event = self.factory.events.get(EventID(event_id))
        if event is None:
            raise PeerRefused(404, "M_NOT_FOUND", "no such event", {})
        return event

    def _state_before(self, event_id: str) -> tuple[list[Event], list[Event]]:
        event = self._find(event_id)
        state = self.factory.state([self._find(each) for each in event.prev_events])
        return list(state.values()), self.chain(list(state.values()))

    def chain(self, events: Sequence[Event]) -> list[Event]:
        """The auth chain of some events."""
        found: dict[EventID, Event] = {}
        ahead = [each for event in events for each in event.auth_events]
        if self.factory.version.room_id_is_create_hash:
            ahead.append(self.factory.create.event_id)
        while ahead:
            event_id = ahead.pop()
            if event_id not in found:
                found[event_id] = self.factory.events[event_id]
                ahead += found[event_id].auth_events
        return list(found.values())


class Nobody:
    """No server can be reached."""

    async def ask(self, destination: ServerName, method: str, path: str, **more: Any) -> Mapping[str, Any]:
        raise RemoteFault("nobody is there")
