"""What a commit tells: typed records that a unit of work hands to `Txn.tell`, and `streams` to whoever listens.

Each carries the stream position at which it became visible. To add one: a frozen record here, told in the unit that
writes it, and a feed in `streams` or `sync` that takes it up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from federation.event import Event
from federation.ids import DeviceID, EventID, RoomID, ServerName, UserID
from homeserver.storage.events import RoomEvent


class Audience(NamedTuple):
    """Which other servers are to be told of an event.

    `servers`: those in the room after it, ours among them, with how many people each has there. `target`: one that is
    told although it may not be in the room any more. `acl`: the room's access control list.
    """

    servers: Mapping[ServerName, int]
    target: ServerName | None
    acl: Event | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAdded:
    """An event, local or remote, entered its room's timeline; `audience` when other servers are to be told by us."""

    position: int
    event: RoomEvent
    audience: Audience | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRewritten:
    """A room's current state became another than the events of its timeline make it: forks of its history met.

    `moved` are those of our people whose membership that may concern, and whether they are joined now.
    """

    position: int
    room_id: RoomID
    moved: Mapping[UserID, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKept:
    """An event of another server was stored, and people are not shown it, or not as something new."""

    position: int
    room_id: RoomID


UserPart: TypeAlias = Literal[
    "account_data", "to_device", "push_rules", "device_lists", "one_time_keys", "memberships", "profile"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasesChanged:
    """A room has other aliases than before."""

    position: int
    room_nid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDataChanged:
    """Something of one person's own changed; `room_id` when it belongs to a room.

    `rooms` are those they are in, where all who share one are to know: of device lists.
    """

    position: int
    user_id: UserID
    kind: UserPart
    room_id: RoomID | None = None
    rooms: tuple[RoomID, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptMoved:
    """A person read a room up to an event; a private receipt (`m.read.private`) is for that person's eyes only.

    `upto` is the event's own stream position, None while the event is not known here.
    """

    position: int
    room_id: RoomID
    user_id: UserID
    kind: Literal["m.read", "m.read.private"]
    event_id: EventID
    upto: int | None
    thread_id: str | None
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsEnded:
    """What is known of a person's sessions, on one device or on all (None), holds no more: look their tokens up again.

    Told when tokens are revoked, devices removed, and accounts locked, suspended, deactivated or given powers.
    """

    position: int
    user_id: UserID
    device_id: DeviceID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchoolChanged:
    """What is known of these people's roles and of what these rooms are for holds no longer: look it up again."""

    position: int
    people: frozenset[UserID]
    rooms: frozenset[RoomID]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushersChanged:
    """A person's pushers are not what they were."""

    position: int
    user_id: UserID


@dataclass(frozen=True, slots=True, kw_only=True)
class EDUsQueued:
    """Something that is no event waits for these servers."""

    position: int
    servers: tuple[ServerName, ...]
