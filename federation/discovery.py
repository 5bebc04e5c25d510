"""Where a server is: the steps of server discovery as values, without asking anybody.

`find_places` ends it for names that say where they are; for others the answer of ``.well-known`` and then the SRV
records are to be asked for, which `federation.transport.discovery` does. What they say is read and judged here.

Spec: server-server-api#resolving-server-names
"""

import re
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import msgspec

from federation import canonical
from federation.errors import BadAnswer, BadIdentifier, BadJSON
from federation.ids import ServerName, is_address, parse_server_name, split_server_name

DEFAULT_PORT: Final = 8448
SERVICES: Final = ("_matrix-fed._tcp", "_matrix._tcp")
"""The SRV names to ask for, in this order."""
MAX_RECORDS: Final = 16
"""How many SRV records of one name are looked at."""

DEFAULT_MS: Final = 24 * 60 * 60 * 1000
LONGEST_MS: Final = 48 * 60 * 60 * 1000
SHORTEST_MS: Final = 60 * 1000
"""A server that forbids to remember it is asked once a minute all the same, not once a request."""
LONGEST_FAILURE_MS: Final = 60 * 60 * 1000

_MAX_AGE: Final = re.compile(r'(?:^|[,\s])max-age\s*=\s*"?([0-9]{1,12})"?', re.IGNORECASE)
_UNKEPT: Final = re.compile(r"(?:^|[,\s])(?:no-store|no-cache)(?:$|[,\s=])", re.IGNORECASE)


class Place(NamedTuple):
    """Somewhere to connect to: a DNS name or an address (an IPv6 one without brackets), and a port."""

    host: str
    port: int


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a server: where to connect, the first place first; whom the certificate must name, what to call it.

    `certified` is a DNS name, or an address without brackets.
    """

    host_header: str
    certified: str
    places: tuple[Place, ...]


class Record(NamedTuple):
    """An SRV record."""

    priority: int
    weight: int
    target: str
    port: int


def find_places(server: ServerName) -> Places | None:
    """Where a server is whose name is an address or has a port (steps 1 and 2, and of a delegated name 3.1 and 3.2).

    None when more must be asked for.

    Spec: server-server-api#resolving-server-names
    """
    host, port = split_server_name(server)
    if port is None and not is_address(host):
        return None
    bare = host.strip("[]")
    return Places(host_header=server, certified=bare, places=(Place(bare, DEFAULT_PORT if port is None else port),))


def build_places(host: str, records: Sequence[Record]) -> Places:
    """Where a server without a port is: where its SRV records say, in their order, or else at port 8448.

    Whatever they say, it must show the certificate of `host` (steps 3.3 to 3.5, and 4 to 6).

    Spec: server-server-api#resolving-server-names
    """
    places = tuple(Place(record.target, record.port) for record in records) or (Place(host, DEFAULT_PORT),)
    return Places(host_header=host, certified=host, places=places)


def parse_delegation(body: bytes) -> ServerName:
    """The server name in the body of ``/.well-known/matrix/server``.

    Raises: BadAnswer.
    Spec: server-server-api#resolving-server-names
    """
    try:
        answer = canonical.decode(body)
        return parse_server_name(answer["m.server"] if isinstance(answer, dict) else "")
    except (BadJSON, BadIdentifier, KeyError) as error:
        raise BadAnswer(f"no delegation: {error}") from None


def order_records(records: Sequence[Record], chance: Callable[[], float]) -> list[Record]:
    """The records in the order in which to try them: by priority, and at random by weight where that is the same.

    `chance` gives numbers from 0 to 1. A target of ``.`` says that there is no such service, and is left out.
    """
    left = sorted((record for record in records if record.target), key=lambda record: (record.priority, record.weight))
    ordered: list[Record] = []
    for _ in range(min(len(left), MAX_RECORDS)):
        alike = [record for record in left if record.priority == left[0].priority]
        ordered.append(_draw(alike, chance()))
        left.remove(ordered[-1])
    return ordered


def kept_for_ms(headers: Mapping[str, str], now_ms: int) -> int:
    """How long the answer with those headers (names in lower case) may be believed: a minute to two days.

    Spec: server-server-api#resolving-server-names
    """
    control = headers.get("cache-control", "")
    age = _MAX_AGE.search(control)
    if _UNKEPT.search(control):
        wanted = 0
    elif age is not None:
        wanted = int(age[1]) * 1000
    else:
        wanted = _until_expiry_ms(headers.get("expires"), now_ms)
    return min(max(wanted, SHORTEST_MS), LONGEST_MS)


def failure_kept_for_ms(failures: int) -> int:
    """How long to believe that there is no answer after so many failures in a row: twice as long each time, to an hour.

    Spec: server-server-api#resolving-server-names
    """
    return min(SHORTEST_MS << min(max(failures - 1, 0), 10), LONGEST_FAILURE_MS)


def _draw(records: Sequence[Record], chance: float) -> Record:
    """One of the records, by weight; those without weight, which come first, are seldom drawn."""
    mark = chance * sum(record.weight for record in records)
    for record in records:
        mark -= record.weight
        if mark <= 0:
            return record
    return records[-1]


def _until_expiry_ms(expires: str | None, now_ms: int) -> int:
    if expires is None:
        return DEFAULT_MS
    try:
        return int(parsedate_to_datetime(expires).timestamp() * 1000) - now_ms
    except (ValueError, OverflowError, TypeError):
        return 0
