"""Events as they are kept: the record of one in memory, its row, and the ways to find rows.

`RoomEvent` is what rooms, sync and push pass around. It is made once when an event is sealed or received, and is then
the same object in the room's state, in its recent events and in the changes that a commit tells.

The place of an event in its room is the pair (depth, stream); what has no stream position is in no timeline.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

import msgspec

from federation.event import Event, encode_client_event, revive_event
from federation.ids import DeviceID, EventID, RoomID, StateKey, UserID
from homeserver.storage.database import Insert, Row, Txn
from homeserver.storage.rooms import RoomRecord

Place: TypeAlias = tuple[int, int]
"""Where an event is in its room: (depth, stream)."""

_REPLACEMENT: Final = "\ufffd"
_DEEPEST: Final = 2**63 - 1
MOST_AHEAD: Final = 2000


DELAYED: Final = DeviceID("\tdelayed")
"""In the place of a device in an `Origin`: the event was sent after a delay, whose ID is `txn_id`. No device has that
name, and only the sender is told the ID.
"""


class Standing(IntEnum):
    """What became of an event when it was judged."""

    ACCEPTED = 0
    SOFT_FAILED = 1
    REJECTED = 2
    OUTLIER = 3


class Origin(NamedTuple):
    """Which request of which of our devices made an event."""

    user_id: UserID
    device_id: DeviceID | None
    txn_id: str


class Replaced:
    """The state event that another one replaced, as far as `unsigned` tells of it; `content` is JSON."""

    __slots__ = ("content", "event_id", "group", "nid", "sender", "stream")

    def __init__(self, event_id: EventID, place: tuple[int, int, int], sender: UserID, content: bytes) -> None:
        self.event_id = event_id
        self.nid, self.stream, self.group = place
        self.sender = sender
        self.content = content


class RoomEvent:
    """An event in its room, in memory.

    `stream` is 0 until it is written, negative when backfilled; `group` is the state group after the event. `event` and
    `client` (the client form with `room_id` and without `unsigned`) are replaced when the event is redacted;
    `redacted_because` is then the redaction in client form. Nothing else of it ever changes.

    One that comes from storage is decoded when somebody first asks for its `event`: most members of a large room never
    are.
    """

    __slots__ = (
        "_client",
        "_event",
        "_stored",
        "event_id",
        "group",
        "membership",
        "nid",
        "origin",
        "redacted_because",
        "replaced",
        "room_nid",
        "state_key",
        "stream",
        "type",
    )

    def __init__(
        self, event: Event, *, nid: int, room_nid: int, group: int, stream: int = 0, origin: Origin | None = None
    ) -> None:
        self._event: Event | None = event
        self._stored: tuple[RoomRecord, bytes] | None = None
        self.event_id = event.event_id
        self.type = event.type
        self.state_key = event.state_key
        self.membership = event.membership
        self.nid = nid
        self.room_nid = room_nid
        self.group = group
        self.stream = stream
        self.origin = origin
        self.replaced: Replaced | None = None
        self.redacted_because: bytes | None = None
        self._client: bytes | None = None

    def __repr__(self) -> str:
        return f"<RoomEvent {self.stream} {self.event!r}>"

    @classmethod
    def of_row(cls, room: RoomRecord, row: Row) -> "RoomEvent":
        """The event of a row of one of the queries here."""
        held = cls.__new__(cls)
        nid, held.event_id, held.type, held.state_key, held.membership, stream, group, sender, *rest = row
        device_id, txn_id, raw, because_id, because, *previous = rest
        held._event = held._client = None
        held._stored = room, raw
        held.nid, held.room_nid, held.stream, held.group = nid, room.nid, stream or 0, group or 0
        held.origin = None if txn_id is None else Origin(sender, device_id or None, txn_id)
        held.redacted_because = None if because is None else _encode_stored(room, because_id, because)
        held.replaced = None if previous[0] is None else _read_replaced(previous)
        if _REPLACEMENT in held.type or _REPLACEMENT in (held.state_key or ""):
            # the columns cannot hold a NUL
            held.type, held.state_key = held.event.type, held.event.state_key
        return held

    def sign(self, signed: Event) -> None:
        """Let it be the same event with one more signature, as long as it is not written."""
        self._event = signed

    @property
    def event(self) -> Event:
        """The event itself."""
        stored = self._stored
        if self._event is None and stored is not None:
            room, raw = stored
            self._event = revive_event(room.version, raw, event_id=self.event_id, room_id=room.room_id)
            self._stored = None
        assert self._event is not None
        return self._event

    @property
    def key(self) -> StateKey:
        """What a state event is about. Asking this of a message is a bug of the caller."""
        if self.state_key is None:
            raise TypeError("a message has no state key")
        return self.type, self.state_key

    @property
    def client(self) -> bytes:
        """The event as clients get it, with `room_id` and without `unsigned`: a JSON object, encoded once."""
        if self._client is None:
            self._client = encode_client_event(self.event)
        return self._client

    @property
    def place(self) -> Place:
        """Where it is in its room."""
        return self.event.depth, self.stream

    @property
    def replaces(self) -> EventID | None:
        """The state event that this one replaced."""
        return self.replaced.event_id if self.replaced else None

    def redact(self, event: Event, because: bytes) -> None:
        """Become the pruned `event`; `because` is the redaction in client form."""
        self._event = event
        self._stored = self._client = None
        self.redacted_because = because

    def as_replaced(self) -> Replaced:
        """What an event that replaces this one tells of it."""
        content = msgspec.json.encode(self.event.content)
        return Replaced(self.event_id, (self.nid, self.stream, self.group), self.event.sender, content)


_EVENT: Final = Insert(
    "INSERT INTO events (nid, event_id, room_nid, stream, depth, type, state_key, sender, membership, origin_server_ts,"
    " group_nid, replaces_nid, redacts, device_id, txn_id, standing, json)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_PLAIN: Final = (
    "SELECT e.nid, e.event_id, e.type, e.state_key, e.membership, e.stream, e.group_nid, e.sender, e.device_id,"
    " e.txn_id, e.json, r.event_id, r.json, NULL, NULL, NULL, NULL, NULL, NULL"
    " FROM events e LEFT JOIN events r ON r.nid = e.redacted_by"
)
_WHOLE: Final = (
    "SELECT e.nid, e.event_id, e.type, e.state_key, e.membership, e.stream, e.group_nid, e.sender, e.device_id,"
    " e.txn_id, e.json, r.event_id, r.json, p.event_id, p.nid, p.stream, p.group_nid, p.sender, p.json"
    " FROM events e LEFT JOIN events r ON r.nid = e.redacted_by LEFT JOIN events p ON p.nid = e.replaces_nid"
)
"""The columns of `RoomEvent.of_row`; `_PLAIN` leaves out what the event replaced."""


class _OnlyContent(msgspec.Struct):
    content: msgspec.Raw


_content_decoder: Final = msgspec.json.Decoder(_OnlyContent)


def append_event(txn: Txn, held: RoomEvent, stream: int | None, standing: Standing = Standing.ACCEPTED) -> None:
    """Record an event at a stream position, or outside the timeline."""
    event = held.event
    origin = held.origin
    txn.append(
        _EVENT,
        (
            held.nid,
            event.event_id,
            held.room_nid,
            stream,
            event.depth,
            event.type,
            event.state_key,
            event.sender,
            event.membership,
            event.origin_server_ts,
            held.group,
            held.replaced.nid if held.replaced else None,
            event.redacts,
            origin.device_id or "" if origin else None,
            origin.txn_id if origin else None,
            standing.value,
            event.raw,
        ),
    )


def set_redacted(txn: Txn, nid: int, raw: bytes, by_nid: int) -> None:
    """Overwrite an event by what its redaction leaves of it."""
    txn.run("UPDATE events SET json = ?, redacted_by = ? WHERE nid = ? AND redacted_by IS NULL", (raw, by_nid, nid))


def _encode_stored(room: RoomRecord, event_id: EventID, raw: bytes) -> bytes:
    return encode_client_event(revive_event(room.version, raw, event_id=event_id, room_id=room.room_id))


def _read_replaced(row: Sequence[object]) -> Replaced:
    event_id, nid, stream, group, sender, raw = row
    content = bytes(_content_decoder.decode(raw).content)  # type: ignore[arg-type]  # columns of the join
    return Replaced(event_id, (nid, stream or 0, group or 0), sender, content)  # type: ignore[arg-type]  # the same


def load_events(txn: Txn, room: RoomRecord, nids: Iterable[int]) -> dict[int, RoomEvent]:
    """The events of those ids, by id, without what they replaced."""
    rows = txn.all_in(f"{_PLAIN} WHERE e.nid {{in}}", nids)
    return {row[0]: RoomEvent.of_row(room, row) for row in rows}


def load_whole(txn: Txn, room: RoomRecord, nids: Iterable[int]) -> dict[int, RoomEvent]:
    """The events of those ids, by id, with what they replaced."""
    rows = txn.all_in(f"{_WHOLE} WHERE e.nid {{in}}", nids)
    return {row[0]: RoomEvent.of_row(room, row) for row in rows}


def load_contents(txn: Txn, nids: Iterable[int]) -> dict[int, Mapping[str, object]]:
    """The contents of events, by id."""
    rows = txn.all_in("SELECT nid, json FROM events WHERE nid {in}", nids)
    return {nid: msgspec.json.decode(raw)["content"] for nid, raw in rows}


def find_event(txn: Txn, room: RoomRecord, event_id: str) -> RoomEvent | None:
    """The event of that ID, if it is in that room's timeline; anything may be asked."""
    row = txn.one(f"{_WHOLE} WHERE e.event_id = ? AND e.room_nid = ? AND e.stream IS NOT NULL", (event_id, room.nid))
    return None if row is None else RoomEvent.of_row(room, row)


def find_room_of(txn: Txn, event_id: str) -> RoomID | None:
    """The room in whose timeline the event of that ID is; anything may be asked."""
    row = txn.one(
        "SELECT rooms.room_id FROM events JOIN rooms ON rooms.nid = events.room_nid"
        " WHERE event_id = ? AND stream IS NOT NULL",
        (event_id,),
    )
    return None if row is None else RoomID(row[0])


def load_recent(txn: Txn, room: RoomRecord, most: int, *, after: int = 0, upto: int | None = None) -> list[RoomEvent]:
    """The last events with a stream position above `after` and not above `upto`, at most so many, in stream order."""
    end = (2**63 - 1) if upto is None else upto
    rows = txn.all(
        f"{_WHOLE} WHERE e.room_nid = ? AND e.stream > ? AND e.stream <= ? ORDER BY e.stream DESC LIMIT ?",
        (room.nid, after, end, most),
    )
    return [RoomEvent.of_row(room, row) for row in reversed(rows)]


def load_page(txn: Txn, room: RoomRecord, start: Place, most: int, *, backwards: bool) -> list[RoomEvent]:
    """Events from a place on, in the order of paging; `start` itself belongs to what lies before it."""
    # almost always these depths hold a page; without such bounds a planner may think little of a large room and sort it
    near = max(start[0] - 2 * most, 0) if backwards else min(start[0] + 2 * most, _DEEPEST)
    rows = _read_page(txn, room, start, (near, most), backwards=backwards)
    if len(rows) < most and near not in (0, _DEEPEST):
        far = 0 if backwards else _DEEPEST
        rows = _read_page(txn, room, start, (far, most), backwards=backwards)
    return [RoomEvent.of_row(room, row) for row in rows]


def _read_page(txn: Txn, room: RoomRecord, start: Place, bounds: tuple[int, int], *, backwards: bool) -> list[Row]:
    order, sign, within = ("DESC", "<=", ">=") if backwards else ("ASC", ">", "<=")
    depth, most = bounds
    return txn.all(
        f"{_WHOLE} WHERE e.room_nid = ? AND e.stream IS NOT NULL AND (e.depth, e.stream) {sign} (?, ?)"
        f" AND e.depth {within} ? ORDER BY e.depth {order}, e.stream {order} LIMIT ?",
        (room.nid, *start, depth, most),
    )


def load_dated(
    txn: Txn, room: RoomRecord, start: tuple[int, int, int], most: int, *, backwards: bool
) -> list[RoomEvent]:
    """Events by when they say they were sent, from (origin_server_ts, depth, stream) on, which is left out."""
    order, sign = ("DESC", "<") if backwards else ("ASC", ">")
    rows = txn.all(
        f"{_WHOLE} WHERE e.room_nid = ? AND e.stream IS NOT NULL"
        f" AND (e.origin_server_ts, e.depth, e.stream) {sign} (?, ?, ?)"
        f" ORDER BY e.origin_server_ts {order}, e.depth {order}, e.stream {order} LIMIT ?",
        (room.nid, *start, most),
    )
    return [RoomEvent.of_row(room, row) for row in rows]


def find_place(txn: Txn, room_nid: int, stream: int) -> Place | None:
    """The place of the last event of a room not after a stream position; backfilled ones lie before all positions."""
    row = txn.one(
        "SELECT depth, stream FROM events WHERE room_nid = ? AND stream IS NOT NULL AND stream <= ?"
        " ORDER BY stream DESC LIMIT 1",
        (room_nid, stream),
    )
    return None if row is None else (row[0], row[1])


def find_next_place(txn: Txn, room_nid: int, stream: int) -> Place | None:
    """The place of the first event of a room after a stream position."""
    row = txn.one(
        "SELECT depth, stream FROM events WHERE room_nid = ? AND stream IS NOT NULL AND stream > ?"
        " ORDER BY stream LIMIT 1",
        (room_nid, stream),
    )
    return None if row is None else (row[0], row[1])


def find_farthest(txn: Txn, room_nid: int, stream: int | None = None) -> Place | None:
    """The place behind all events of a room, or behind those not after a stream position: the last of these may be of a
    fork that came late, whose depths lie behind. No more than :data:`MOST_AHEAD` events ahead of it are looked through.
    """
    if stream is None:
        return txn.one(
            "SELECT depth, stream FROM events WHERE room_nid = ? AND stream IS NOT NULL"
            " ORDER BY depth DESC, stream DESC LIMIT 1",
            (room_nid,),
        )
    last = find_place(txn, room_nid, stream)
    if last is None:
        return None
    ahead = txn.one(
        "SELECT depth, stream FROM (SELECT depth, stream FROM events WHERE room_nid = ? AND stream IS NOT NULL"
        " AND (depth, stream) > (?, ?) ORDER BY depth, stream LIMIT ?) ahead"
        " WHERE stream <= ? ORDER BY depth DESC, stream DESC LIMIT 1",
        (room_nid, *last, MOST_AHEAD, stream),
    )
    return ahead or last


class Sent(NamedTuple):
    """A request of a device that made an event: enough to know it again."""

    room_id: RoomID
    type: str
    redacts: EventID | None
    txn_id: str
    event_id: EventID


def load_sent(txn: Txn, user_id: UserID, device_id: DeviceID | None, most: int) -> list[Sent]:
    """What a device sent with transaction ids, the newest first."""
    rows = txn.all(
        "SELECT rooms.room_id, type, redacts, txn_id, event_id FROM events JOIN rooms ON rooms.nid = events.room_nid"
        " WHERE sender = ? AND device_id = ? AND txn_id IS NOT NULL ORDER BY events.nid DESC LIMIT ?",
        (user_id, device_id or "", most),
    )
    return [Sent(*row) for row in rows]
