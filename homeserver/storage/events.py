"""Events as they are kept: the record of one in memory, its row, and the ways to find rows.

`RoomEvent` is what rooms, sync and push pass around. It is made once when an event is sealed or received, and is then
the same object in the room's state, in its recent events and in the changes that a commit tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from federation.event import Event, encode_client_event
from federation.ids import DeviceID, EventID, UserID


class Origin(NamedTuple):
    """Which request of which of our devices made an event."""

    user_id: UserID
    device_id: DeviceID | None
    txn_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """The state event that another one replaced, as far as `unsigned` tells of it."""

    event_id: EventID
    nid: int
    stream: int
    group: int
    sender: UserID
    content: Mapping[str, object]


class RoomEvent:
    """An event in its room, in memory.

    `stream` is 0 until the commit and negative when backfilled; `group` is the state group after the event. `event` and
    `client` (the client form with `room_id` and without `unsigned`) are replaced when the event is redacted;
    `redacted_because` is then the redaction in client form. Nothing else of it ever changes.
    """

    __slots__ = (
        "_client",
        "event",
        "event_id",
        "group",
        "nid",
        "origin",
        "redacted_because",
        "replaced",
        "room_nid",
        "stream",
    )

    def __init__(
        self, event: Event, *, nid: int, room_nid: int, group: int, stream: int = 0, origin: Origin | None = None
    ) -> None:
        self.event = event
        self.event_id = event.event_id
        self.nid = nid
        self.room_nid = room_nid
        self.group = group
        self.stream = stream
        self.origin = origin
        self.replaced: Replaced | None = None
        self.redacted_because: bytes | None = None
        self._client: bytes | None = None

    @property
    def client(self) -> bytes:
        """The event as clients get it, with `room_id` and without `unsigned`: a JSON object, encoded once."""
        if self._client is None:
            self._client = encode_client_event(self.event)
        return self._client

    @property
    def replaces(self) -> EventID | None:
        """The state event that this one replaced."""
        return self.replaced.event_id if self.replaced else None

    def redact(self, event: Event, because: bytes) -> None:
        """Become the pruned `event`; `because` is the redaction in client form."""
        self.event = event
        self._client = None
        self.redacted_because = because
