"""Transactions as other servers get them.

Spec: server-server-api#transactions
"""

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import msgspec

from federation.ids import EventID, ServerName
from homeserver.storage.waiting import WaitingEDU

MOST_EDUS: Final = 100
MOST_BYTES: Final = 1 << 19
"""After how much a transaction gets no more events."""


@dataclass(slots=True, kw_only=True)
class Parcel:
    """What a transaction holds: PDUs and EDUs as JSON, and what is so when it was taken.

    `upto`: the stream position up to which the server has then everything; `told`: the same for single rooms.
    `is_page`: it comes from the tables, and rooms behind the room `after` are next, None: it is the last. `rows`:
    positions of rows that then wait no more. `fleeting`: what is in it of that which is not kept, by its key. `at_ms`:
    when the newest of it was made.
    """

    at_ms: int = 0
    pdus: list[bytes] = field(default_factory=list)
    edus: list[bytes] = field(default_factory=list)
    events: list[EventID] = field(default_factory=list)
    upto: int | None = None
    told: dict[int, int] = field(default_factory=dict)
    is_page: bool = False
    after: int | None = None
    rows: Sequence[int] = ()
    fleeting: Mapping[object, bytes] = field(default_factory=dict)
    size: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.pdus or self.edus)

    @property
    def is_full(self) -> bool:
        """Whether no more events go in."""
        return self.size >= MOST_BYTES

    @property
    def is_one(self) -> bool:
        """Whether it cannot be made smaller."""
        return len(self.pdus) + len(self.edus) <= 1

    def add(self, event_id: EventID, at_ms: int, raw: bytes) -> None:
        """Put an event in."""
        self.pdus.append(raw)
        self.events.append(event_id)
        self.at_ms = max(self.at_ms, at_ms)
        self.size += len(raw)

    def add_rows(self, rows: Sequence[WaitingEDU]) -> int:
        """Put in as many rows as there is room for, one at least; how many."""
        taken: list[int] = []
        for row in rows:
            if taken and self.is_full:
                break
            taken.append(row.position)
            self.edus.append(row.edu)
            self.at_ms = max(self.at_ms, row.at_ms)
            self.size += len(row.edu)
        self.rows = taken
        return len(taken)

    def build_id(self, otherwise: str) -> str:
        """The transaction's ID: the same for the same content, or `otherwise` where that may come again."""
        if not (self.pdus or self.rows):
            return otherwise
        digest = sha256(",".join(self.events).encode() + b"\n" + b",".join(self.edus)).digest()
        return urlsafe_b64encode(digest[:24]).decode()


class Encoder:
    """Makes the bodies of transactions, once for all servers that are to get the same."""

    def __init__(self, server: ServerName) -> None:
        self._server = server
        self._last: tuple[tuple[object, ...], msgspec.Raw] = ((), msgspec.Raw())

    def encode(self, parcel: Parcel) -> msgspec.Raw:
        """The body, canonical JSON."""
        key = (parcel.at_ms, tuple(parcel.events), tuple(parcel.edus))
        if key != self._last[0]:
            head = b'{"edus":[' + b",".join(parcel.edus) + b'],"origin":"' + self._server.encode()
            middle = b'","origin_server_ts":' + str(parcel.at_ms).encode() + b',"pdus":['
            self._last = (key, msgspec.Raw(head + middle + b",".join(parcel.pdus) + b"]}"))
        return self._last[1]
