"""Which rooms a request looks at, and what it wants of each: its lists and subscriptions, held against the roster."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

from federation.ids import RoomID
from homeserver.storage.sliding import Nature
from homeserver.sync.sliding.connections import Told
from homeserver.sync.sliding.requests import Reach, RoomFilter, SlidingRequest
from homeserver.sync.sliding.required import Config, combine
from homeserver.sync.sliding.rosters import Place, Roster

UNKNOWN: Final = Nature(None, encrypted=False)


class Knowledge(NamedTuple):
    """What filters ask beside the roster: what rooms are, and which rooms each space names."""

    natures: Mapping[RoomID, Nature] | None
    spaces: Mapping[str, Collection[str]]
    position: int = 0

    def holds(self, roster: Roster) -> bool:
        """Whether nothing has changed since in the rooms of a roster."""
        return (self.natures is None and not self.spaces) or self.position == roster.position


class Scope(NamedTuple):
    """What is looked at: what is wanted of each room, the lists that each is in, and how long each list is."""

    configs: dict[RoomID, Config]
    lists: dict[RoomID, list[str]]
    counts: dict[str, int]
    subscribed: frozenset[RoomID]

    def reached(self, reach: Reach) -> frozenset[RoomID]:
        """The rooms that an extension is about."""
        named = reach.lists
        listed = {room_id for room_id, names in self.lists.items() if named is None or not named.isdisjoint(names)}
        return frozenset(listed | {each for each in self.subscribed if reach.rooms is None or each in reach.rooms})


def is_listed(place: Place, told: Told, roster: Roster) -> bool:
    """Whether lists may hold that room: of those that the person is not in, the ones they were put out of, and those
    that the connection has told of.
    """
    if place.forgotten:
        return _is_missed(place, told)
    if not place.is_out or place.room_id in told.rooms:
        return True
    return place.joined is not None and place.sender != roster.user_id


def _is_missed(place: Place, told: Told) -> bool:
    """Whether a connection has not been told that the person left a room."""
    sent = told.rooms.get(place.room_id)
    return sent is not None and sent.membership not in ("leave", "ban")


def find_scope(
    request: SlidingRequest, roster: Roster, told: Told, knowledge: Knowledge, hides: Callable[[Place], bool]
) -> Scope:
    """What a request looks at; rooms that `hides` says so of are not there for it."""
    listed = [place for place in roster.order() if is_listed(place, told, roster) and not hides(place)]
    wanted: dict[RoomID, set[Config]] = {}
    lists: dict[RoomID, list[str]] = {}
    counts: dict[str, int] = {}
    for name, room_list in request.lists.items():
        match = _matcher(room_list.filter, roster, knowledge)
        rooms = listed if match is None else [place for place in listed if match(place)]
        counts[name] = len(rooms)
        for place in _cut(rooms, room_list.ranges):
            wanted.setdefault(place.room_id, set()).add(room_list.config)
            names = lists.setdefault(place.room_id, [])
            if name not in names:
                names.append(name)
    subscribed = set()
    for room_id, config in request.subscriptions.items():
        found = roster.places.get(RoomID(room_id))
        if found is not None and not hides(found) and (not found.forgotten or _is_missed(found, told)):
            subscribed.add(found.room_id)
            wanted.setdefault(found.room_id, set()).add(config)
    return Scope({each: combine(configs) for each, configs in wanted.items()}, lists, counts, frozenset(subscribed))


def _cut(rooms: list[Place], ranges: tuple[tuple[int, int], ...] | None) -> Iterable[Place]:
    if ranges is None:
        return rooms
    return [place for first, last in ranges for place in rooms[first : last + 1]]


def _matcher(wanted: RoomFilter, roster: Roster, knowledge: Knowledge) -> Callable[[Place], bool] | None:
    """A function that tells whether a list holds a room, None when it holds all."""
    tests = [*_label_tests(wanted, roster), *_nature_tests(wanted, knowledge)]
    if wanted.is_invite is not None:
        tests.append(lambda place: (place.membership == "invite") is wanted.is_invite)
    if wanted.spaces is not None:
        within = {each for space in wanted.spaces for each in knowledge.spaces.get(space, ())}
        tests.append(lambda place: place.room_id in within)
    return (lambda place: all([test(place) for test in tests])) if tests else None


def _label_tests(wanted: RoomFilter, roster: Roster) -> Iterable[Callable[[Place], bool]]:
    labels = roster.labels
    if wanted.is_dm is not None:
        yield lambda place: (place.room_id in labels.direct) is wanted.is_dm
    some, none = wanted.tags, wanted.not_tags
    if some is not None:
        yield lambda place: not some.isdisjoint(labels.tags.get(place.room_id, ()))
    if none:
        yield lambda place: none.isdisjoint(labels.tags.get(place.room_id, ()))


def _nature_tests(wanted: RoomFilter, knowledge: Knowledge) -> Iterable[Callable[[Place], bool]]:
    natures, some, none = knowledge.natures or {}, wanted.room_types, wanted.not_room_types
    if wanted.is_encrypted is not None:
        yield lambda place: natures.get(place.room_id, UNKNOWN).encrypted is wanted.is_encrypted
    if some is not None:
        yield lambda place: natures.get(place.room_id, UNKNOWN).type in some
    if none:
        yield lambda place: natures.get(place.room_id, UNKNOWN).type not in none
