"""What a person's rooms must learn after it was committed: a new profile, and that the person is gone for good.

The need is noted in the unit of work that makes the change, and crossed out when the rooms have learned of it, so that
a crash in between loses nothing: `resume` goes on at the next start.

Spec: client-server-api#events-on-change-of-profile-information
"""

from typing import Protocol

from federation.ids import UserID
from homeserver.storage import accounts
from homeserver.storage.accounts import Propagation
from homeserver.storage.database import Database

_AT_ONCE = 100


class RoomsOfPeople(Protocol):
    """What rooms do for a person's account. Both may be called again for the same change; neither raises for a room
    that refuses.
    """

    async def show_profile(self, user_id: UserID, /) -> None:
        """Bring the person's member events in the rooms they are joined to in line with their profile."""

    async def leave_all(self, user_id: UserID, /) -> None:
        """Make the person leave every room, and refuse every invitation."""


class Propagations:
    """Brings committed changes to the rooms."""

    def __init__(self, database: Database, rooms: RoomsOfPeople) -> None:
        self._database = database
        self._rooms = rooms

    async def settle(self, user_id: UserID, what: Propagation, number: int) -> None:
        """Let the person's rooms learn of the change that was noted under that number."""
        if what == "profile":
            await self._rooms.show_profile(user_id)
        else:
            await self._rooms.leave_all(user_id)
        await self._database.write(accounts.remove_propagation, user_id, what, number)

    async def resume(self) -> None:
        """Settle what a former run of the server left over."""
        while left := await self._database.read(accounts.load_propagations, _AT_ONCE):
            for user_id, what, number in left:
                await self.settle(user_id, what, number)
