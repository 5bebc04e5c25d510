"""What listens: the logs of rooms, the feeds of people, and the syncs that wait."""

from collections import deque
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from federation.ids import DeviceID, RoomID, UserID
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.events import RoomEvent

K = TypeVar("K")
T = TypeVar("T")

MOST_EVENTS: Final = 200
"""How many events a room's log holds."""
MOST_MARKS: Final = 2000
"""How many changes of one kind a feed or log holds; what is older is read from the tables."""

Why: TypeAlias = Literal["news", "time", "ended"]
"""Why a waiter was woken: something is new, its time is over, or its session or the server ends."""


def mark(marks: dict[K, int], key: K, at: int) -> None:
    """Move a key to the end of `marks`, which is in the order of its values."""
    marks.pop(key, None)
    marks[key] = at


def mark_bounded(marks: dict[K, int], key: K, at: int) -> int:
    """The same, dropping the oldest where there are too many; the value that was dropped, or 0."""
    mark(marks, key, at)
    return marks.pop(next(iter(marks))) if len(marks) > MOST_MARKS else 0


def marked_after(marks: dict[K, int], at: int) -> Iterator[K]:
    """The keys that were marked after that, the latest first."""
    for key, value in reversed(marks.items()):
        if value <= at:
            return
        yield key


class RoomLog:
    """The last events and receipts of a room that somebody listens to: all those above the floors.

    `key` is the room's ID as JSON.
    """

    __slots__ = ("events", "feeds", "floor", "key", "receipts", "receipts_floor", "room_id")

    def __init__(self, room_id: RoomID, floor: int) -> None:
        self.room_id = room_id
        self.key = msgspec.json.encode(room_id)
        self.feeds: dict[Feed, None] = {}
        self.floor = floor
        self.events: deque[RoomEvent] = deque()
        self.receipts_floor = floor
        self.receipts: dict[tuple[UserID, str, str | None], ReceiptMoved] = {}

    def append(self, held: RoomEvent) -> None:
        """Add an event. What it redacts is redacted here too, or forgotten."""
        redacted = held.event.redacts
        if redacted is not None and any(_still_shows(other, redacted) for other in self.events):
            self.forget(held.stream - 1)
        self.events.append(held)
        if len(self.events) > MOST_EVENTS:
            self.floor = self.events.popleft().stream

    def forget(self, upto: int) -> None:
        """Leave everything up to a position to the tables."""
        self.events.clear()
        self.floor = upto

    def move(self, receipt: ReceiptMoved) -> None:
        """Put a receipt in the place of the one before."""
        key = (receipt.user_id, receipt.kind, receipt.thread_id)
        self.receipts.pop(key, None)
        self.receipts[key] = receipt
        if len(self.receipts) > MOST_MARKS:
            self.receipts_floor = self.receipts.pop(next(iter(self.receipts))).position

    def since(self, position: int, upto: int) -> list[RoomEvent]:
        """The events above a position that is not below the floor, and not above `upto`, in stream order."""
        found = []
        for held in reversed(self.events):
            if held.stream <= position:
                break
            if held.stream <= upto:
                found.append(held)
        found.reverse()
        return found

    def receipts_since(self, position: int) -> list[ReceiptMoved]:
        """The receipts that moved above a position that is not below their floor, in order."""
        found = []
        for receipt in reversed(self.receipts.values()):
            if receipt.position <= position:
                break
            found.append(receipt)
        found.reverse()
        return found


def _still_shows(held: RoomEvent, redacted: str) -> bool:
    """Whether an event is, or replaced, one that is now redacted: the live room may have been loaded anew since, and
    then redacts an object of its own.
    """
    return (held.event_id == redacted and held.redacted_because is None) or held.replaces == redacted


class Waiter:
    """A sync that waits."""

    __slots__ = ("device_id", "feed", "fired", "timer")

    def __init__(self, feed: "Feed", device_id: DeviceID | None) -> None:
        self.feed = feed
        self.device_id = device_id
        self.fired: Deferred[Why] = Deferred(self._forget)
        self.timer: IDelayedCall | None = None

    def leave(self, result: T) -> T:
        """Wake it because nobody needs the answer any more; a callback that passes its result on."""
        self.wake("ended")
        return result

    def wake(self, why: Why) -> None:
        """Wake it, unless that was done."""
        if self in self.feed.waiters:
            self._forget()
            self.fired.callback(why)

    def _forget(self, _cancelled: object = None) -> None:
        self.feed.waiters.pop(self, None)
        if self.timer is not None and self.timer.active():
            self.timer.cancel()


class Feed:
    """What changed for one person, complete above `floor` (position) and `serial_floor` (serial).

    `rooms` are those they are joined to. Marks, each in the order of its values: `changed`, rooms with new events or
    receipts (position); `stirred`, rooms with other people typing (serial); `own`, account data of the person by kind
    and room (position); `presence`, people whom to show (serial); `devices`, people whose keys changed (position).
    `moves` are the person's own membership events.
    """

    __slots__ = (
        "changed",
        "devices",
        "floor",
        "loading",
        "moves",
        "own",
        "presence",
        "rooms",
        "seen_s",
        "serial_floor",
        "stirred",
        "user_id",
        "users",
        "waiters",
    )

    def __init__(self, user_id: UserID) -> None:
        self.user_id = user_id
        self.floor = 0
        self.serial_floor = 0
        self.rooms: dict[RoomID, RoomLog] = {}
        self.changed: dict[RoomID, int] = {}
        self.stirred: dict[RoomID, int] = {}
        self.own: dict[tuple[str, RoomID | None], int] = {}
        self.presence: dict[UserID, int] = {}
        self.devices: dict[UserID, int] = {}
        self.moves: deque[RoomEvent] = deque()
        self.waiters: dict[Waiter, None] = {}
        self.loading: list[Deferred[None]] | None = []
        self.users = 0
        self.seen_s = 0.0

    def moves_since(self, position: int, upto: int) -> list[RoomEvent]:
        """The person's own membership events above a position that is not below the floor, in stream order."""
        return [held for held in self.moves if position < held.stream <= upto]

    def note_move(self, held: RoomEvent) -> None:
        """Add a membership event of the person's."""
        self.moves.append(held)
        if len(self.moves) > MOST_EVENTS:
            self.floor = max(self.floor, self.moves.popleft().stream)
