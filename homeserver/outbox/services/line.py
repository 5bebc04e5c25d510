"""What one service is told next, and when it is tried again. No I/O: `deliveries` does that.

Spec: application-service-api#pushing-events
"""

from collections import deque
from typing import Final, TypeAlias

from federation.ids import RoomID, UserID
from federation.transport.patience import Patience
from homeserver.accounts.appservices.registry import AppService
from homeserver.storage.appservices import LineRecord
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.events import RoomEvent

MOST_HELD: Final = 1000
"""How many events wait in memory for a service; of one that is further behind they are read from the stream."""
MOST_EPHEMERAL: Final = 1000
"""How many typings, receipts and presences wait for a service; of more, the latest are told."""
FIRST_DELAY_S: Final = 1.0
LONGEST_DELAY_S: Final = 300.0

Fleeting: TypeAlias = RoomID | UserID | ReceiptMoved
"""What is not kept: a room where somebody types or stopped, a person whose presence changed, a receipt."""


class Line(Patience):
    """The way to one service.

    `position` and `number` are as in the table, `body` is the transaction under way. `held` are the events above
    `position`, unless `is_behind`: then there may be more in the stream. `has_mail`: something may wait for devices of
    the service's people; `has_keys`: keys may have changed. `noted` is the position that the table has.
    """

    __slots__ = (
        "body",
        "fleeting",
        "has_keys",
        "has_mail",
        "held",
        "is_behind",
        "is_busy",
        "noted",
        "number",
        "position",
        "service",
    )

    first_delay_s = FIRST_DELAY_S
    longest_delay_s = LONGEST_DELAY_S

    def __init__(self, service: AppService, record: LineRecord) -> None:
        super().__init__()
        self.service = service
        self.position = self.noted = record.position
        self.number = record.number
        self.body = record.body
        self.held: deque[RoomEvent] = deque()
        self.fleeting: dict[object, Fleeting] = {}
        self.is_behind = True
        self.is_busy = False
        self.has_mail = self.has_keys = service.encrypts

    @property
    def is_ready(self) -> bool:
        """Whether something is to be told, and may be."""
        waits = self.body is not None or self.held or self.fleeting or self.is_behind
        return self.timer is None and bool(waits or self.has_mail or self.has_keys)

    def put(self, held: RoomEvent) -> None:
        """Let an event wait, in memory while there is room."""
        if self.is_behind:
            return
        self.held.append(held)
        if len(self.held) > MOST_HELD:
            self.held.clear()
            self.is_behind = True

    def hear(self, key: object, what: Fleeting) -> None:
        """Let something wait that is not kept, in place of what it makes out of date; too many, and the oldest go."""
        if self.service.hears_ephemeral:
            self.fleeting.pop(key, None)
            self.fleeting[key] = what
            if len(self.fleeting) > MOST_EPHEMERAL:
                del self.fleeting[next(iter(self.fleeting))]
