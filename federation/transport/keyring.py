"""The keys of other servers: what they sign is checked with them.

Keys are remembered while they are valid, kept in a store over restarts, and asked for when they are missing: the server
itself first, then the notaries. A server whose keys the list of regions names is not asked at all. Whatever is asked
for, each server is asked once for all who wait, and seldom again; unknown names cost a bounded number of requests.

Spec: server-server-api#retrieving-server-keys
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThreadPool

from federation import canonical
from federation.ed25519 import VerifyKey
from federation.errors import BadServerKeys, BadSignature, PeerUnreachable, Refused, RemoteFault
from federation.ids import EventID, ServerName, is_address, split_server_name
from federation.keys import (
    ServerKeys,
    build_key_finder,
    key_valid_at,
    key_valid_now,
    parse_notary_answer,
    parse_server_keys,
)
from federation.pdu import Event
from federation.signatures import check_event_signatures, servers_that_must_sign, verify_json
from federation.transport.lines import FairTurns
from federation.transport.memory import Memory
from federation.transport.tasks import side_by_side

KNOWN: Final = 10_000
"""How many servers' keys are in memory; the others are in the store."""
AT_ONCE: Final = 32
"""How many servers are asked for their keys at a time."""
AT_ONCE_EACH: Final = 8
"""How many of them may be of one party: whose names are of one domain. So its slow servers delay no others."""
MOST_WAITING: Final = 1000
"""How many wait to be asked; of those of whom more wait than of others, nothing is known."""
AGAIN_MS: Final = 60_000
"""A server that was asked and had nothing new to say is not asked again for so long."""
SOON_MS: Final = 100
"""One that had may be asked again after that: who has begun to sign with another key is believed at once."""
FETCH_S: Final = 10.0
MOST_BYTES: Final = 1 << 18
FEW: Final = 4
"""So many events are verified at once: for them a thread costs more than it spares."""
SLICE: Final = 64
"""How many events are worth a thread of their own."""
VERIFYING: Final = 4
"""How many threads verify what came together: more only wait for each other."""

BATCH: Final = 2_000
"""How many events are looked through in one go, to see who must have signed them."""

T = TypeVar("T")
Wanted = Callable[[ServerKeys], bool]
"""Tells whether these keys will do."""


class KeyStore(Protocol):
    """Keeps what servers published."""

    async def find(self, server: ServerName) -> tuple[bytes, int] | None:
        """The answer and when it was received."""

    async def set(self, keys: ServerKeys, received_ms: int) -> None:
        """Keep the newest answer of a server."""


class Fetches(Protocol):
    """Asks other servers."""

    async def fetch(self, destination: ServerName, path: str, *, timeout_s: float, most_bytes: int) -> dict[str, Any]:
        """Make a GET request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Where keys come from. `find_listed` gives those that the list of regions names, `check` refuses a server.

    `ours` gives our own, as we publish them. `reactor` and `threads` are where signatures are verified.
    """

    ours: Callable[[], ServerKeys]
    peers: Fetches
    store: KeyStore
    notaries: Sequence[ServerName]
    find_listed: Callable[[ServerName], ServerKeys | None]
    check: Callable[[ServerName], None]
    now_ms: Callable[[], int]
    reactor: Any
    threads: Any


@dataclass(frozen=True, slots=True)
class _Known:
    """A server's keys, None if there are none to be had; until when it is not asked again, 0 if it was not asked."""

    keys: ServerKeys | None
    rests_until_ms: int


class Keyring:
    """Finds keys, and checks with them."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._known: Memory[ServerName, _Known] = Memory(KNOWN)
        self._turns = FairTurns(AT_ONCE, AT_ONCE_EACH, MOST_WAITING)

    async def verify(self, value: Mapping[str, Any], server: ServerName) -> None:
        """Check that the server has signed the object with a key that is valid now.

        Raises:
            BadSignature: It has not, or its keys cannot be had.
            Refused: this server has nothing to do with that one.
        """
        now_ms = self._archive.now_ms()
        signatures = value.get("signatures")
        named = signatures.get(server) if isinstance(signatures, dict) else None
        if not isinstance(named, dict):
            raise BadSignature(f"{server} has not signed this")
        keys = await self.find(server, lambda keys: any(key_valid_now(keys, name, now_ms) for name in named))
        if keys is None:
            raise BadSignature(f"the keys of {server} cannot be had")
        verify_json(value, server, {name: key for name, key in keys.verify_keys.items() if _is_current(keys, now_ms)})

    async def find_key(self, server: ServerName, key_id: str) -> VerifyKey | None:
        """The key that the server may sign requests with today; None if there is none of that name, or none to be had.

        Raises: Refused.
        """
        now_ms = self._archive.now_ms()
        keys = await self.find(server, lambda keys: key_valid_now(keys, key_id, now_ms) is not None)
        return None if keys is None else key_valid_now(keys, key_id, now_ms)

    async def check_events(self, events: Sequence[Event]) -> dict[EventID, RemoteFault]:
        """Which of the events are not signed by each server that must, and why.

        A key must have been valid when the event was made, as the room's version says. Servers are asked side by side,
        and threads verify.

        Spec: server-server-api#validating-hashes-and-signatures-on-received-events
        """
        faults: dict[EventID, RemoteFault] = {}
        for at in range(0, len(events), BATCH):
            faults |= await self._check_batch(events[at : at + BATCH])
        return faults

    async def _check_batch(self, events: Sequence[Event]) -> dict[EventID, RemoteFault]:
        faults: dict[EventID, RemoteFault] = {}
        wanted: dict[ServerName, list[Event]] = {}
        for event in events:
            try:
                for server in servers_that_must_sign(event):
                    wanted.setdefault(server, []).append(event)
            except BadSignature as fault:
                faults[event.event_id] = fault
        found = dict(await side_by_side(self._find_for(server, signed) for server, signed in wanted.items()))
        left = [event for event in events if event.event_id not in faults]
        archive = self._archive
        if len(left) <= FEW:
            return faults | _check_slice(left, found)
        size = max(SLICE, -(-len(left) // VERIFYING))
        jobs = [
            deferToThreadPool(archive.reactor, archive.threads, _check_slice, left[at : at + size], found)
            for at in range(0, len(left), size)
        ]
        for some in await gatherResults(jobs, consumeErrors=True):
            faults |= some
        return faults

    async def find(self, server: ServerName, will_do: Wanted) -> ServerKeys | None:
        """The keys of a server, asked for anew where those at hand will not do; the best there are, None without any.

        Raises: Refused.
        """
        if server != self._archive.ours().server_name:
            self._archive.check(server)
            listed = self._archive.find_listed(server)
            if listed is not None:
                return listed
        return await self.find_published(server, will_do)

    async def find_published(self, server: ServerName, will_do: Wanted) -> ServerKeys | None:
        """As `find`, but what the server published itself, whatever the list of regions says of its keys.

        Raises: Refused.
        """
        if server == self._archive.ours().server_name:
            return self._archive.ours()
        self._archive.check(server)
        known = await self._known.get(server, lambda known: self._is_settled(known, will_do), self._look_up)
        if not self._is_settled(known, will_do):
            known = await self._known.get(server, lambda known: self._is_settled(known, will_do), self._look_up)
        return known.keys

    def _is_settled(self, known: _Known, will_do: Wanted) -> bool:
        """Whether the keys will do, or the server was asked so recently that it is not asked again."""
        if known.keys is not None and will_do(known.keys):
            return True
        return self._archive.now_ms() < known.rests_until_ms

    async def _look_up(self, server: ServerName, known: _Known | None) -> _Known:
        """What the store has, if nothing was known; else what is said when asked."""
        if known is None:
            stored = await self._archive.store.find(server)
            if stored is not None:
                return _Known(_read_stored(server, *stored), 0)
        before = None if known is None else known.keys
        if server in self._archive.notaries:  # somebody with a turn may be waiting for that
            return self._note(await self._ask(server), before)
        party = _party_of(server)
        try:
            await self._turns.enter(party)
        except PeerUnreachable:
            return _Known(before, 0)
        try:
            return self._note(await self._ask(server), before)
        finally:
            self._turns.leave(party)

    def _note(self, said: ServerKeys | None, before: ServerKeys | None) -> _Known:
        """What is known once a server was asked."""
        is_new = said is not None and (before is None or _encoded(said) != _encoded(before))
        return _Known(said or before, self._archive.now_ms() + (SOON_MS if is_new else AGAIN_MS))

    async def _ask(self, server: ServerName) -> ServerKeys | None:
        """Ask the server itself, then the notaries (no notary speaks for another one); what comes is kept."""
        notaries = self._archive.notaries
        for source in (server, *(() if server in notaries else notaries)):
            try:
                keys = await self._ask_at(source, server)
            except (RemoteFault, Refused):
                continue
            if keys is not None:
                await self._archive.store.set(keys, self._archive.now_ms())
                return keys
        return None

    async def _ask_at(self, source: ServerName, server: ServerName) -> ServerKeys | None:
        archive = self._archive
        if source == server:
            answer = await archive.peers.fetch(
                server, "/_matrix/key/v2/server", timeout_s=FETCH_S, most_bytes=MOST_BYTES
            )
            return parse_server_keys(answer, server=server, received_ms=archive.now_ms())
        now_ms = archive.now_ms()
        path = f"/_matrix/key/v2/query/{quote(server, safe='')}?minimum_valid_until_ts={now_ms}"
        answer = await archive.peers.fetch(source, path, timeout_s=FETCH_S, most_bytes=MOST_BYTES)
        notary = await self.find(source, lambda keys: _is_current(keys, now_ms))
        if notary is None:
            raise PeerUnreachable(f"the keys of {source} cannot be had")
        found = parse_notary_answer(answer, notary=source, notary_keys=notary.verify_keys, received_ms=now_ms)
        return found.get(server)

    async def _find_for(self, server: ServerName, events: Sequence[Event]) -> tuple[ServerName, ServerKeys | None]:
        """The keys with which the server may have signed these events."""
        needs = [(tuple(event.signatures.get(server, ())), event) for event in events]

        def will_do(keys: ServerKeys) -> bool:
            return all(
                any(key_valid_at(keys, name, event.origin_server_ts, event.version) for name in names)
                for names, event in needs
                if names
            )

        try:
            return server, await self.find(server, will_do)
        except Refused:
            return server, None


def _party_of(server: ServerName) -> str:
    """Whose server that is, as far as its name tells: the address (of IPv6 the network), or the last two labels."""
    host, _ = split_server_name(server)
    if host.startswith("["):
        return f"{int(IPv6Address(host.strip('[]'))) >> 64:x}"
    return host if is_address(host) else ".".join(host.lower().rsplit(".", 2)[-2:])


def _read_stored(server: ServerName, raw: bytes, received_ms: int) -> ServerKeys | None:
    try:
        return parse_server_keys(canonical.decode(raw), server=server, received_ms=received_ms)
    except BadServerKeys:
        return None


def _check_slice(events: Sequence[Event], found: Mapping[ServerName, ServerKeys | None]) -> dict[EventID, RemoteFault]:
    """Verify, in a thread."""
    faults: dict[EventID, RemoteFault] = {}
    for event in events:
        try:
            check_event_signatures(event, build_key_finder(event, found.get))
        except BadSignature as fault:
            faults[event.event_id] = fault
    return faults


def _encoded(keys: ServerKeys) -> Mapping[str, str]:
    return {key_id: key.encode() for key_id, key in keys.verify_keys.items()}


def _is_current(keys: ServerKeys, now_ms: int) -> bool:
    return now_ms <= keys.valid_until_ms
