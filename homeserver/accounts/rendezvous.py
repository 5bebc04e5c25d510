"""Places where two devices meet so that one signs the other in: a short text that either of them replaces.

Whoever knows a place's ID reads and writes there; what they say to each other they encrypt. In memory, for some
minutes: a restart ends it, and the devices begin anew.

Spec: MSC4388, and MSC4108 in its form of 2024
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from federation.errors import Refused
from federation.ids import UserID
from homeserver.accounts.tokens import Mint
from homeserver.policy import Conflict, MeetDevice, NotFound, Policy, allows

LASTS_MS: Final = 300_000
"""How long a place is there."""
MOST_PLACES: Final = 5_000
MOST_OF_ONE: Final = 20
"""How many places one person has, or one address where nobody has signed in; with one more their oldest goes."""


@dataclass(slots=True, kw_only=True)
class Place:
    """A place; `token` is another after each change."""

    id: str
    maker: str
    data: str
    token: str
    changed_ms: int
    ends_ms: int


class Rendezvous:
    """All places."""

    def __init__(self, policy: Policy, mint: Mint, now_ms: Callable[[], int]) -> None:
        self._policy = policy
        self._mint = mint
        self._now_ms = now_ms
        self._places: dict[str, Place] = {}

    async def may_make(self, by: UserID | None) -> bool:
        """Whether somebody, or who has not signed in, may make a place."""
        return await allows(self._policy, MeetDevice(by=by))

    async def make(self, by: UserID | None, address: str, data: str) -> Place:
        """A new place with its first text; `address` stands for who has not signed in.

        Raises: Refused where the policy lets them make none, and while there are too many.
        """
        await self._policy.check(MeetDevice(by=by))
        now_ms = self._now_ms()
        self._remove_ended(now_ms)
        maker = by or address
        theirs = [place for place in self._places.values() if place.maker == maker]
        if len(theirs) >= MOST_OF_ONE:
            del self._places[theirs[0].id]
        if len(self._places) >= MOST_PLACES:
            raise Refused("rendezvous", "Too many devices are meeting: try again in some minutes")
        place = Place(
            id=self._mint.secret(),
            maker=maker,
            data=data,
            token=self._mint.secret(),
            changed_ms=now_ms,
            ends_ms=now_ms + LASTS_MS,
        )
        self._places[place.id] = place
        return place

    def find(self, place_id: str) -> Place:
        """A place.

        Raises: NotFound: there is none, or it has ended.
        """
        place = self._places.get(place_id)
        if place is None or place.ends_ms <= self._now_ms():
            raise NotFound("There is no such meeting, or it has ended")
        return place

    def left_ms(self, place: Place) -> int:
        """How long a place will be there yet."""
        return max(0, place.ends_ms - self._now_ms())

    def change(self, place_id: str, token: str, data: str) -> Place:
        """Replace the text of a place by somebody who has seen the one before. What is there already is not replaced.

        Raises: NotFound: there is no such place. Conflict (M_CONCURRENT_WRITE): the token is not that of the text.
        """
        place = self.find(place_id)
        if token == place.token:
            place.data, place.token, place.changed_ms = data, self._mint.secret(), self._now_ms()
        elif data != place.data:
            raise Conflict("M_CONCURRENT_WRITE", "The other device has written meanwhile")
        return place

    def end(self, place_id: str) -> None:
        """Remove a place.

        Raises: NotFound: there is none.
        """
        del self._places[self.find(place_id).id]

    def _remove_ended(self, now_ms: int) -> None:
        """Those that have ended; the oldest stand first."""
        for place in list(self._places.values()):
            if place.ends_ms > now_ms:
                return
            del self._places[place.id]
