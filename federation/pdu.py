"""The event as a value. Only `federation.event` makes one, so whoever holds one knows that it has its format."""

from collections.abc import Mapping
from typing import Any, Final, TypedDict

import msgspec

from federation.errors import EventTooLarge
from federation.ids import EventID, RoomID, ServerName, StateKey, UserID, server_of
from federation.versions import RoomVersion

MAX_EVENT_BYTES: Final = 65536
"""What an event may measure as canonical JSON, signatures included. Spec: client-server-api#size-limits"""

_encoder = msgspec.json.Encoder()


class StrippedState(TypedDict):
    """What an invited stranger is shown of a state event.

    Spec: client-server-api#stripped-state
    """

    content: Mapping[str, Any]
    sender: UserID
    state_key: str
    type: str


class Event(msgspec.Struct, frozen=True, eq=False, kw_only=True, weakref=True):
    """An event of a room: well formed, its ID known, never changed. Two are equal when their IDs are.

    `content`, `hashes`, `signatures` and `unsigned` are plain dicts that nobody mutates. `raw` is the canonical JSON of
    the whole event as it travels between servers, hashes and signatures included, without `unsigned`.

    Spec: rooms/v12#event-format
    """

    version: RoomVersion
    event_id: EventID
    room_id: RoomID
    type: str
    state_key: str | None
    sender: UserID
    content: Mapping[str, Any]
    prev_events: tuple[EventID, ...]
    auth_events: tuple[EventID, ...]
    depth: int
    origin_server_ts: int
    redacts: EventID | None
    hashes: Mapping[str, str]
    signatures: Mapping[str, Mapping[str, str]]
    unsigned: Mapping[str, Any]
    raw: bytes

    def __eq__(self, other: object) -> bool:
        return self.event_id == other.event_id if isinstance(other, Event) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.event_id)

    def __repr__(self) -> str:
        return f"<Event {self.event_id} {self.type} in {self.room_id}>"

    @property
    def is_state(self) -> bool:
        """Whether the event is part of the room's state."""
        return self.state_key is not None

    @property
    def key(self) -> StateKey:
        """What a state event is about. Asking this of a message is a bug of the caller."""
        if self.state_key is None:
            raise TypeError("a message has no state key")
        return self.type, self.state_key

    @property
    def membership(self) -> str | None:
        """The membership that an `m.room.member` event gives; None for other events, and when it is no string."""
        if self.type != "m.room.member":
            return None
        membership = self.content.get("membership")
        return membership if isinstance(membership, str) else None

    @property
    def origin(self) -> ServerName:
        """The server that the sender belongs to."""
        return server_of(self.sender)

    def pdu(self) -> dict[str, Any]:
        """The event as other servers get it, freshly decoded, for whoever must alter a copy."""
        pdu: dict[str, Any] = msgspec.json.decode(self.raw)
        return pdu


def check_event_size(raw: bytes) -> None:
    """Refuse an event that is larger than any event may be.

    Raises: EventTooLarge.
    Spec: client-server-api#size-limits
    """
    if len(raw) > MAX_EVENT_BYTES:
        raise EventTooLarge(f"the event is larger than {MAX_EVENT_BYTES} bytes")


def encode_client_event(event: Event) -> bytes:
    """The event in the form clients get, without `unsigned`: a JSON object, ready to be spliced into a response.

    A redaction names its target both at the top and in `content`, whatever its room version, so that old and new
    clients find it.

    Spec: client-server-api#room-event-format,
    rooms/v11#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
    """
    shown: dict[str, Any] = {
        "content": event.content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "sender": event.sender,
        "type": event.type,
    }
    if event.state_key is not None:
        shown["state_key"] = event.state_key
    shown["room_id"] = event.room_id
    if event.redacts is not None:
        shown["redacts"] = event.redacts
        shown["content"] = {**event.content, "redacts": event.redacts}
    return _encoder.encode(shown)


def stripped_state(event: Event) -> StrippedState:
    """The few facts of a state event that an invited or knocking stranger is shown.

    Spec: client-server-api#stripped-state
    """
    return {"content": event.content, "sender": event.sender, "state_key": event.key[1], "type": event.type}
