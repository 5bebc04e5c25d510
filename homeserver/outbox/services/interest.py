"""Which rooms concern which services, and since when.

A room concerns a service while one of the service's people is in it, or always when its ID or an alias is in a
namespace. What is known of a room is kept in memory, so an event in a room that concerns no service costs a look-up.

Spec: application-service-api#registration
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from federation.ids import RoomAlias, RoomID, UserID
from homeserver.accounts.appservices.registry import AppService
from homeserver.storage.appservices import Stay, load_stays
from homeserver.storage.database import Database, Txn
from homeserver.storage.directory import load_aliases

MEMBER: Final = "m.room.member"
MOST_ROOMS: Final = 50_000
"""Of how many rooms it is remembered whom they concern."""


class Interest:
    """What a room is to a service: `spans` are the stretches of the stream in which its people were there."""

    __slots__ = ("always", "joined", "spans")

    def __init__(self, *, always: bool) -> None:
        self.always = always
        self.joined: set[UserID] = set()
        self.spans: list[tuple[int, int | None]] = []

    def move(self, stay: Stay) -> None:
        """Somebody of the service's came or went."""
        if stay.is_joined:
            if not self.joined:
                self.spans.append((stay.stream, None))
            self.joined.add(stay.user_id)
        elif stay.user_id in self.joined:
            self.joined.remove(stay.user_id)
            if not self.joined:
                self.spans[-1] = (self.spans[-1][0], stay.stream)

    def covers(self, stream: int) -> bool:
        """Whether the service is to hear of what was said at that position; of the last going, too."""
        if self.always:
            return True
        return any(begin <= stream and (end is None or stream <= end) for begin, end in reversed(self.spans))

    @property
    def is_current(self) -> bool:
        """Whether the service is to hear what is said now."""
        return self.always or bool(self.joined)


Interests: TypeAlias = Mapping[AppService, Interest]
MayHear: TypeAlias = Callable[[AppService, RoomID], Awaitable[bool]]
"""Whether a service may hear of a room at all."""


class Rooms:
    """What rooms are to services, as of `position`: up to there changes were told, in the order of the stream."""

    def __init__(self, services: Iterable[AppService], database: Database, may_hear: MayHear) -> None:
        self._services = tuple(services)
        self._may_hear = may_hear
        self._database = database
        self._known: OrderedDict[int, dict[AppService, Interest]] = OrderedDict()
        self._unseen = 0
        self.position = 0

    def find(self, room_nid: int) -> Interests | None:
        """Whom a room concerns, if that is in memory."""
        return self._known.get(room_nid)

    async def load(self, room_nid: int, room_id: RoomID) -> Interests:
        """Whom a room concerns."""
        while (known := self._known.get(room_nid)) is None:
            unseen = self._unseen
            services = [each for each in self._services if await self._may_hear(each, room_id)]
            read = await self._database.read(_read, services, room_nid, room_id, self.position)
            if unseen == self._unseen:  # else it may be older than what was just told
                self._known.setdefault(room_nid, read)
                if len(self._known) > MOST_ROOMS:
                    self._known.popitem(last=False)
        return known

    def move(self, room_nid: int, room_id: RoomID, stay: Stay) -> None:
        """Somebody came into a room or went."""
        known = self._known.get(room_nid)
        if known is None:
            self._unseen += 1
            return
        for service in self._services:
            if service.covers_user(stay.user_id) and service.may_enter(room_id):
                known.setdefault(service, Interest(always=False)).move(stay)

    def forget(self, room_nid: int) -> None:
        """A room is to be looked at again."""
        self._unseen += 1
        self._known.pop(room_nid, None)


def _read(
    txn: Txn, services: Sequence[AppService], room_nid: int, room_id: RoomID, upto: int
) -> dict[AppService, Interest]:
    if not services:
        return {}
    stays, aliases = load_stays(txn, room_nid, upto), load_aliases(txn, room_nid)
    found = {service: _build(service, room_id, aliases, stays) for service in services}
    return {service: interest for service, interest in found.items() if interest.always or interest.spans}


def _build(service: AppService, room_id: RoomID, aliases: Iterable[RoomAlias], stays: Sequence[Stay]) -> Interest:
    named = service.covers_room(room_id) or any(service.covers_alias(alias) for alias in aliases)
    interest = Interest(always=named)
    covered = {user_id for user_id in {stay.user_id for stay in stays} if service.covers_user(user_id)}
    for stay in stays:
        if stay.user_id in covered:
            interest.move(stay)
    return interest


def is_target(service: AppService, event_type: str, state_key: str | None) -> bool:
    """Whether an event is a change of the membership of one of a service's people."""
    return event_type == MEMBER and service.covers_user(UserID(state_key or ""))
