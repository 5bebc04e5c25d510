"""What a room is at one moment: an immutable value that every appended event succeeds by another."""

from immutables import Map

from federation.auth import PowerLevels
from federation.event import Event
from federation.ids import EventID, ServerName, StateKey, UserID
from homeserver.storage.events import RoomEvent


class Head:
    """State, extremities and what follows from them; shared in structure with the heads before and after. Nobody alters one.

    `group` is the state group of `state`, `joined` the joined members' membership events, `servers` the number of joined
    members by server.
    """

    __slots__ = ("depth", "extremities", "group", "joined", "levels", "servers", "state")

    def __init__(  # noqa: PLR0913 - made for every message; a dataclass is three times slower
        self,
        *,
        state: Map[StateKey, RoomEvent],
        group: int,
        extremities: tuple[EventID, ...],
        depth: int,
        levels: PowerLevels,
        joined: Map[UserID, RoomEvent],
        servers: Map[ServerName, int],
    ) -> None:
        self.state = state
        self.group = group
        self.extremities = extremities
        self.depth = depth
        self.levels = levels
        self.joined = joined
        self.servers = servers

    def find(self, key: StateKey) -> Event | None:
        """The state event under that key."""
        held = self.state.get(key)
        return held.event if held is not None else None
