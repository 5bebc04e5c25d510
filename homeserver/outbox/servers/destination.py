"""What one server is told next, and when it is tried again. No I/O: `sending` does that."""

from collections import deque
from typing import Final

from federation.ids import ServerName
from federation.transport.patience import Patience
from homeserver.storage.events import RoomEvent

MOST_HELD: Final = 500
"""How many events wait in memory for a server; one that is further behind is told from the tables."""
MOST_FLEETING: Final = 100
"""How much that is not kept waits for a server; of more, the latest is told."""
MOST_PDUS: Final = 50
FIRST_DELAY_S: Final = 1.0
LONGEST_DELAY_S: Final = 300.0


class Destination(Patience):
    """The way to one server.

    It has taken everything up to `position`; `noted` is what the table has of that. `held` is everything for it above
    `floor`, None while nothing is held. While `position` is below `floor` it is behind: it is told from the tables up
    to `goal`, rooms behind the room `after` are still to be looked at. `has_edus`: rows may wait for it. `most` is how
    many events it is sent at once. `is_away`: when last tried, it could not be reached.
    """

    __slots__ = (
        "after",
        "fleeting",
        "floor",
        "goal",
        "has_edus",
        "held",
        "is_away",
        "is_busy",
        "most",
        "noted",
        "position",
        "server",
    )

    first_delay_s = FIRST_DELAY_S
    longest_delay_s = LONGEST_DELAY_S

    def __init__(self, server: ServerName, position: int, *, floor: int | None) -> None:
        super().__init__()
        self.server = server
        self.position = self.noted = position
        self.floor = floor
        self.held: deque[RoomEvent] = deque()
        self.fleeting: dict[object, bytes] = {}
        self.goal: int | None = None
        self.after = 0
        self.has_edus = floor is None
        self.most = MOST_PDUS
        self.is_away = self.is_busy = False

    @property
    def is_behind(self) -> bool:
        """Whether it is to be told from the tables first."""
        return self.floor is None or self.position < self.floor

    @property
    def is_ready(self) -> bool:
        """Whether something is to be sent, and may be."""
        return self.timer is None and bool(self.held or self.fleeting or self.has_edus or self.is_behind)

    @property
    def is_idle(self) -> bool:
        """Whether it was told everything."""
        return not (self.is_busy or self.is_ready or self.timer)

    def put(self, held: RoomEvent) -> None:
        """Let an event wait, in memory while there is room and the server is there."""
        if self.floor is None:
            return
        self.held.append(held)
        if len(self.held) > MOST_HELD:
            self.let_go()

    def let_go(self) -> None:
        """Hold nothing in memory: the tables have it."""
        self.held.clear()
        self.floor = None

    def pause(self) -> None:
        """It takes nothing for now: what it is owed is looked up afresh when it is tried again."""
        self.let_go()
        self.goal = None

    def hear(self, key: object, edu: bytes) -> None:
        """Let something wait that is not kept, in place of what it makes out of date; too many, and the oldest go."""
        self.fleeting.pop(key, None)
        self.fleeting[key] = edu
        if len(self.fleeting) > MOST_FLEETING:
            del self.fleeting[next(iter(self.fleeting))]

    def begin_pass(self, position: int) -> None:
        """Begin to tell from the tables up to a position; from there on events are held again."""
        self.held.clear()
        self.floor = self.goal = position
        self.after = 0

    def end_pass(self) -> None:
        """Everything up to the goal was told."""
        if self.goal is not None:
            self.take(self.goal)
        self.goal = None

    def take(self, position: int) -> None:
        """It has taken everything up to there."""
        self.position = max(self.position, position)
        while self.held and self.held[0].stream <= position:
            self.held.popleft()

    def mend(self) -> None:
        """It has answered."""
        self.failures = 0
        self.is_away = False
        self.most = min(self.most * 2, MOST_PDUS)
