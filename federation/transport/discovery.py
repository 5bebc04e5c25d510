"""Finding servers: ``.well-known``, SRV records, and what is remembered of both.

The names in SRV records and delegations are resolved by the connecting agent, which also judges the addresses.

Spec: server-server-api#resolving-server-names
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

from twisted.internet.defer import Deferred, TimeoutError
from twisted.names import dns
from twisted.names.error import DNSQueryTimeoutError, DomainError, ResolverError

from federation.discovery import (
    LONGEST_MS,
    SERVICES,
    SHORTEST_MS,
    Places,
    Record,
    build_places,
    failure_kept_for_ms,
    find_places,
    kept_for_ms,
    order_records,
    parse_delegation,
)
from federation.errors import BadAnswer, RemoteFault
from federation.ids import ServerName
from federation.transport.agent import Incoming, Outgoing
from federation.transport.memory import Memory

WELL_KNOWN: Final = "/.well-known/matrix/server"
WELL_KNOWN_BYTES: Final = 50 * 1024
WELL_KNOWN_MS: Final = 10_000
"""How long a delegation is waited for, redirects included."""
MOST_REDIRECTS: Final = 5
SRV_S: Final = (1, 3, 6)
"""How long each attempt to ask for an SRV record waits, in seconds."""
REMEMBERED: Final = 10_000
"""How many servers' delegations and records are remembered."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Asks(Protocol):
    """Makes requests outward."""

    async def ask(self, request: Outgoing) -> Incoming:
        """Make a request and hear the whole answer."""


class Resolves(Protocol):
    """Looks up SRV records; one of `twisted.names`."""

    def lookupService(self, name: str, timeout: Any = None) -> Deferred[Any]:  # noqa: N802 - Twisted's name
        """The answers, authorities and additional records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Whom to ask, the clock, and chance as numbers from 0 to 1.

    `check_delegation(server, delegated)` refuses a server to say that it is where that name is.
    """

    outward: Asks
    resolver: Resolves
    now_ms: Callable[[], int]
    chance: Callable[[], float]
    check_delegation: Callable[[ServerName, ServerName], None] = lambda server, delegated: None
    well_known_port: int = 443


@dataclass(frozen=True, slots=True)
class _Delegation:
    """What a server said of itself: a name, or nothing. `failures` in a row have led to nothing."""

    name: ServerName | None
    until_ms: int
    failures: int = 0


@dataclass(frozen=True, slots=True)
class _Records:
    records: tuple[Record, ...]
    until_ms: int


class Discovery:
    """Knows where servers are, or finds out."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._delegations: Memory[str, _Delegation] = Memory(REMEMBERED)
        self._records: Memory[str, _Records] = Memory(REMEMBERED)

    async def find(self, server: ServerName) -> Places:
        """Where the server is.

        Raises: Refused when it says that it is where it may not be.
        Spec: server-server-api#resolving-server-names
        """
        places = find_places(server)
        if places is not None:
            return places
        delegated = await self._delegations.get(server, self._is_fresh, self._ask_delegation)
        if delegated.name is None:
            return await self._places_of(server)
        self._sources.check_delegation(server, delegated.name)
        return find_places(delegated.name) or await self._places_of(delegated.name)

    def forget(self, server: ServerName) -> None:
        """Ask again where the server is, the next time: it was not there."""
        known = self._delegations.peek(server)
        if known is not None and known.name is not None:
            self._delegations.forget(server)
            self._records.forget(known.name)
        self._records.forget(server)

    async def _places_of(self, host: str) -> Places:
        found = await self._records.get(host, self._is_fresh, self._ask_records)
        return build_places(host, order_records(found.records, self._sources.chance))

    def _is_fresh(self, known: _Delegation | _Records) -> bool:
        return self._sources.now_ms() < known.until_ms

    # .well-known

    async def _ask_delegation(self, host: str, known: _Delegation | None) -> _Delegation:
        """Ask the server for its delegation; that there is none is believed longer each time."""
        now_ms = self._sources.now_ms
        port = self._sources.well_known_port
        try:
            answer = await self._follow(f"https://{host}{'' if port == 443 else f':{port}'}{WELL_KNOWN}")
            name = parse_delegation(answer.body)
        except RemoteFault:
            failures = (known.failures if known else 0) + 1
            return _Delegation(None, now_ms() + failure_kept_for_ms(failures), failures)
        return _Delegation(name, now_ms() + kept_for_ms(answer.headers, now_ms()))

    async def _follow(self, url: str) -> Incoming:
        """The answer at the end of some redirects; each goes out like any other request, so addresses are judged.

        Raises: Unreachable; TooMuch; BadAnswer.
        """
        seen: set[str] = set()
        until_ms = self._sources.now_ms() + WELL_KNOWN_MS
        for _ in range(MOST_REDIRECTS + 1):
            seen.add(url)
            left_s = max(until_ms - self._sources.now_ms(), 0) / 1000
            request = Outgoing(method="GET", url=url, headers={}, most_bytes=WELL_KNOWN_BYTES, within_s=left_s)
            answer = await self._sources.outward.ask(request)
            if answer.status == 200:
                return answer
            url = _redirected(url, answer) if answer.status in _REDIRECTS else ""
            if not url or url in seen:
                break
        raise BadAnswer("no delegation where one was looked for")

    # SRV

    async def _ask_records(self, host: str, known: _Records | None) -> _Records:
        """Ask for the SRV records of a host, for the old name only where there are none of the new one."""
        kept_ms = SHORTEST_MS
        for service in SERVICES:
            try:
                records, kept_ms = await self._look_up(f"{service}.{host}")
            except (OSError, TimeoutError, DNSQueryTimeoutError):
                return _Records(known.records if known else (), self._sources.now_ms() + SHORTEST_MS)
            if records:
                return _Records(records, self._sources.now_ms() + kept_ms)
        return _Records((), self._sources.now_ms() + kept_ms)

    async def _look_up(self, name: str) -> tuple[tuple[Record, ...], int]:
        """The records of a name, and for how long; none when the name does not exist or cannot be asked for."""
        try:
            answers, _, _ = await self._sources.resolver.lookupService(name, SRV_S)
        except (DomainError, ResolverError, UnicodeError, ValueError):
            return (), SHORTEST_MS
        found = [answer for answer in answers if answer.type == dns.SRV]
        ttl_ms = min((answer.ttl for answer in found), default=0) * 1000
        records = tuple(_read_record(answer.payload) for answer in found)
        return records, min(max(ttl_ms, SHORTEST_MS), LONGEST_MS) if found else SHORTEST_MS


def _read_record(payload: Any) -> Record:
    target = payload.target.name.decode("ascii", "replace").rstrip(".")
    return Record(payload.priority, payload.weight, target, payload.port)


def _redirected(url: str, answer: Incoming) -> str:
    """Where a redirect leads, nothing if that is no HTTPS."""
    try:
        target = urljoin(url, answer.headers.get("location", ""))
        parts = urlsplit(target)
        return target if parts.scheme == "https" and parts.hostname and parts.username is None else ""
    except ValueError:
        return ""
