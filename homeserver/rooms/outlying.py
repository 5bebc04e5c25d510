"""Rooms in which this server has no part, as far as the policy may ask of them."""

from collections.abc import Mapping

from federation.event import Event
from federation.ids import RoomID, StateKey, UserID


class OutlyingRoom:
    """A room as one knows it that one is not in: what was shown of it, and one's own membership."""

    def __init__(
        self,
        room_id: RoomID,
        memberships: Mapping[UserID, str] | None = None,
        shown: Mapping[StateKey, Event] | None = None,
    ) -> None:
        self.room_id = room_id
        self._memberships = memberships or {}
        self._shown = shown or {}

    def state(self, event_type: str, state_key: str = "", /) -> Event | None:
        """The state event under that key, if it was shown."""
        return self._shown.get((event_type, state_key))

    def membership(self, user_id: UserID, /) -> str | None:
        """What that person is in the room, as far as it is known."""
        return self._memberships.get(user_id)
