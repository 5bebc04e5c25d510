"""What waits to be told to one pusher, and when it is tried again. No I/O: `pushing` does that.

Spec: push-gateway-api#homeserver-behaviour
"""

from typing import Final

from federation.ids import RoomID
from federation.transport.patience import Patience
from homeserver.push.gateway import Notice
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.pushers import Pusher

MOST_WAITING: Final = 5
"""How many notices wait for a gateway that is away; of more, the latest are told."""
OLDEST_MS: Final = 24 * 60 * 60 * 1000
"""How old a notice becomes before nobody wants to hear of it any more."""
FIRST_DELAY_S: Final = 5.0
LONGEST_DELAY_S: Final = 3600.0


class Line(Patience):
    """The way to one pusher.

    `heard` is the position of the last event that was offered; `shown` the number last told, None while unknown;
    `is_due`: the number may have changed. While `is_held` it is not known whether the pusher is still there. `noted` is
    what the table says of how far it is.
    """

    __slots__ = (
        "heard",
        "is_busy",
        "is_closed",
        "is_due",
        "is_held",
        "noted",
        "pusher",
        "shown",
        "waiting",
    )

    first_delay_s = FIRST_DELAY_S
    longest_delay_s = LONGEST_DELAY_S

    def __init__(self, pusher: Pusher) -> None:
        super().__init__()
        self.pusher = pusher
        self.noted = pusher.last_told
        self.waiting: list[Notice] = []
        self.heard = 0
        self.shown: int | None = None
        self.is_due = self.is_busy = self.is_closed = self.is_held = False

    @property
    def told(self) -> int | None:
        """The position up to which everything was told, None while nothing waits."""
        return self.waiting[0].held.stream - 1 if self.waiting else None

    @property
    def is_ready(self) -> bool:
        """Whether something is to be told, and may be."""
        is_open = not (self.is_closed or self.is_held or self.timer is not None)
        return is_open and bool(self.waiting or self.is_due)

    def put(self, notice: Notice) -> None:
        """Let a notice wait, unless it was offered before; one too many, and the oldest goes."""
        if notice.held.stream > self.heard:
            self.heard = notice.held.stream
            self.waiting.append(notice)
            if len(self.waiting) > MOST_WAITING:
                del self.waiting[0]

    def find_next(self, now_ms: int) -> Notice | None:
        """The next notice to tell; those that nobody wants to hear of any more are gone."""
        self.waiting = [notice for notice in self.waiting if _is_wanted(notice, now_ms)]
        return self.waiting[0] if self.waiting else None

    def done(self, notice: Notice | None, unread: int) -> None:
        """The notice was told, or (None) only the number."""
        self.failures = 0
        self.shown = unread
        self.waiting = [each for each in self.waiting if each is not notice]

    def read(self, receipt: ReceiptMoved) -> None:
        """The person has read a room: nothing of it up to there is told any more."""
        if receipt.upto is not None:
            self.waiting = [notice for notice in self.waiting if not _is_read(notice, receipt, receipt.upto)]
        self.is_due = True

    def leave(self, room_id: RoomID) -> None:
        """The person is no longer in a room: nothing of it is told any more."""
        self.waiting = [notice for notice in self.waiting if notice.room.room_id != room_id]

    def close(self) -> None:
        """Nothing is told any more."""
        self.is_closed = True
        self.stop_waiting()
        self.waiting = []


def _is_wanted(notice: Notice, now_ms: int) -> bool:
    return notice.held.redacted_because is None and now_ms - notice.at_ms < OLDEST_MS


def _is_read(notice: Notice, receipt: ReceiptMoved, upto: int) -> bool:
    is_there = notice.room.room_id == receipt.room_id and receipt.thread_id in (None, notice.thread)
    return is_there and notice.held.stream <= upto
