"""People of application services in a region of schools: only in the rooms that the operator named for their service.

Nobody has verified them, so they count for nothing else, and no namespace makes one of a school's own people a visitor:
only accounts that a service made itself are. Rooms for few (help and direct rooms) are closed to them, whoever names
them.
"""

from collections.abc import Iterable

from federation.ids import RoomID, UserID
from homeserver.accounts.appservices.identities import Identities
from homeserver.schools.rights import Action, Place, Standing, may


class Visitors:
    """Knows the services' people, and which rooms are open to them."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    async def is_one(self, user_id: UserID) -> bool:
        """Whether an application service acts for that account, and made it."""
        return await self._identities.find_owner(user_id) is not None

    async def find_standing(self, user_id: UserID, room_id: RoomID, place: Place) -> Standing | None:
        """What somebody without a role is in a place: a service's, if the operator named the room for it."""
        if not may(Standing.SERVICE, Action.ENTER, place.kind):
            return None
        owner = await self._identities.find_owner(user_id)
        named = owner is not None and owner.enters and owner.may_enter(room_id)
        return Standing.SERVICE if named else None

    async def among(self, people: Iterable[UserID], room_id: RoomID, place: Place) -> frozenset[UserID]:
        """Those of the people in a place whose service may be there."""
        if not any(service.enters and service.may_enter(room_id) for service in self._identities.services.all):
            return frozenset()
        found = [user_id for user_id in people if await self.find_standing(user_id, room_id, place) is not None]
        return frozenset(found)
