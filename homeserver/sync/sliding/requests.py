"""A request as the engine knows it, whatever dialect it came in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from federation.ids import DeviceID, UserID
from homeserver.ephemeral.presence import State
from homeserver.sync.sliding.required import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How answers are worded: the names of members that differ; whether unread counts are told, and stripped state of
    rooms that the person was asked into in vain; and whether state that is no more leaves a stub.
    """

    name: str
    stripped: bytes
    expanded: bytes
    counts: bool
    tells_rejections: bool
    stubs: bool


STABLE: Final = Dialect(
    name="stable",
    stripped=b'"stripped_state"',
    expanded=b'"expanded_timeline"',
    counts=False,
    tells_rejections=True,
    stubs=True,
)
UNSTABLE: Final = Dialect(
    name="unstable",
    stripped=b'"invite_state"',
    expanded=b'"unstable_expanded_timeline"',
    counts=True,
    tells_rejections=False,
    stubs=False,
)


class RoomFilter(NamedTuple):
    """Which rooms a list holds; None where that does not matter."""

    is_dm: bool | None = None
    spaces: frozenset[str] | None = None
    is_encrypted: bool | None = None
    is_invite: bool | None = None
    room_types: frozenset[str | None] | None = None
    not_room_types: frozenset[str | None] = frozenset()
    tags: frozenset[str] | None = None
    not_tags: frozenset[str] = frozenset()

    @property
    def needs_nature(self) -> bool:
        """Whether it matters what a room is."""
        return self.is_encrypted is not None or self.room_types is not None or bool(self.not_room_types)


class RoomList(NamedTuple):
    """A list: what is wanted of its rooms, which those are, and which places of it are looked at (None: all)."""

    config: Config
    filter: RoomFilter
    ranges: tuple[tuple[int, int], ...] | None


class Reach(NamedTuple):
    """The rooms that an extension is about: those of some lists (None: of all) and subscriptions; `name` is its own."""

    lists: frozenset[str] | None = None
    rooms: frozenset[str] | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """The wish for messages to the device: those after a position, all before being received."""

    since: int | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """Which extensions are wanted; None or False: not."""

    to_device: Messages | None = None
    e2ee: bool = False
    account_data: Reach | None = None
    receipts: Reach | None = None
    typing: Reach | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingRequest:
    """A sliding sync as it is asked for; `pos` None begins a connection anew. `txn_id` is given back."""

    user_id: UserID
    device_id: DeviceID
    dialect: Dialect
    conn_id: str = ""
    pos: str | None = None
    timeout_ms: int = 0
    lists: Mapping[str, RoomList] = field(default_factory=dict)
    subscriptions: Mapping[str, Config] = field(default_factory=dict)
    extensions: Extensions = Extensions()
    presence: State = "online"
    txn_id: str | None = None
