"""The auth events of a room as a graph: each event looked up once, walked without recursion."""

from collections.abc import Callable, Generator, Iterable, Mapping, Set
from functools import partial
from typing import Final, TypeAlias, TypeVar

from federation.auth import PowerLevels, check_auth
from federation.errors import Refused
from federation.event import Event
from federation.ids import EventID, StateKey
from federation.versions import RoomVersion

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""Work in slices: yields between them, returns its result."""

SLICE: Final = 64
"""How many events are seen to between two yields."""

_CREATE: Final = ("m.room.create", "")
_POWER_LEVELS: Final = ("m.room.power_levels", "")


class MissingEvent(LookupError):
    """An event is needed that the caller does not have; `event_id` says which. Fetch it and resolve again."""

    def __init__(self, event_id: EventID) -> None:
        super().__init__(event_id)
        self.event_id = event_id


class AuthGraph:
    """The events of one resolution and their `auth_events` edges."""

    __slots__ = ("_events", "_found", "_levels", "_rejected", "version")

    def __init__(
        self, version: RoomVersion, events: Callable[[EventID], Event | None], rejected: Callable[[EventID], bool]
    ) -> None:
        self.version = version
        self._events = events
        self._rejected = rejected
        self._found: dict[EventID, Event] = {}
        self._levels: dict[tuple[Event | None, Event | None], PowerLevels] = {}

    def load(self, event_id: EventID) -> Event:
        """The event of that ID.

        Raises: MissingEvent.
        """
        event = self._found.get(event_id)
        if event is None:
            event = self._events(event_id)
            if event is None:
                raise MissingEvent(event_id)
            self._found[event_id] = event
        return event

    def chain(self, roots: Iterable[EventID], *, known: Set[EventID] = frozenset()) -> Steps[set[EventID]]:
        """The auth chains of the roots together, without what is `known`, which must hold the chains of its events.

        Spec: rooms/v12#definitions
        """
        chain: set[EventID] = set()
        ahead = [root for root in roots if root not in known]
        seen = 0
        while ahead:
            for event_id in self.load(ahead.pop()).auth_events:
                if event_id not in chain and event_id not in known:
                    chain.add(event_id)
                    ahead.append(event_id)
            seen += 1
            if not seen % SLICE:
                yield
        return chain

    def between(self, ends: Set[EventID]) -> Steps[set[EventID]]:
        """All events on the paths from any of the ends to any other, the ends included.

        Spec: rooms/v12#definitions
        """
        citing: dict[EventID, list[EventID]] = {}
        for seen, event_id in enumerate((yield from self.chain(ends)) | ends, 1):
            for cited in self.load(event_id).auth_events:
                citing.setdefault(cited, []).append(event_id)
            if not seen % SLICE:
                yield
        between = set(ends)
        ahead = list(ends)
        while ahead:
            for event_id in citing.get(ahead.pop(), ()):
                if event_id not in between:
                    between.add(event_id)
                    ahead.append(event_id)
        return between

    def find_cited(self, event: Event, key: StateKey) -> Event | None:
        """The auth event of that key."""
        for event_id in event.auth_events:
            cited = self.load(event_id)
            if (cited.type, cited.state_key) == key:
                return cited
        return None

    def power_of_sender(self, event: Event) -> int:
        """The sender's power by the event's own auth events.

        Spec: rooms/v12#definitions
        """
        create = self._find_create(event) or self.find_cited(event, _CREATE)
        return self._levels_of(create, self.find_cited(event, _POWER_LEVELS)).power_of(event.sender)

    def find_cited_levels(self, event_id: EventID) -> EventID | None:
        """The power levels event among an event's auth events."""
        cited = self.find_cited(self.load(event_id), _POWER_LEVELS)
        return None if cited is None else cited.event_id

    def apply(self, order: Iterable[EventID], state: dict[StateKey, EventID]) -> Steps[None]:
        """Put those events into the state that the rules allow there, one after the other: the iterative auth checks.

        What the state lacks for a check, the event's own auth events supply, unless they were rejected.

        Spec: rooms/v12#definitions
        """
        for seen, event_id in enumerate(order, 1):
            event = self.load(event_id)
            if self.allows(event, partial(self._find_supplied, event, state)):
                state[event.key] = event_id
            if not seen % SLICE:
                yield

    def allows(self, event: Event, find: Callable[[StateKey], Event | None]) -> bool:
        """Whether the rules allow an event in the state that `find` looks into."""
        create = self._find_create(event) or find(_CREATE)
        try:
            check_auth(event, find, create=create, levels=self._levels_of(create, find(_POWER_LEVELS)))
        except Refused:
            return False
        return True

    def _find_supplied(self, event: Event, state: Mapping[StateKey, EventID], key: StateKey) -> Event | None:
        event_id = state.get(key)
        if event_id is not None:
            return self.load(event_id)
        cited = self.find_cited(event, key)
        return None if cited is None or self._rejected(cited.event_id) else cited

    def _find_create(self, event: Event) -> Event | None:
        """The create event that the room ID names, in the versions where it names one; None if it was rejected."""
        event_id = EventID(f"${event.room_id[1:]}")
        if not self.version.room_id_is_create_hash or self._rejected(event_id):
            return None
        return self.load(event_id)

    def _levels_of(self, create: Event | None, power_levels: Event | None) -> PowerLevels:
        pair = (create, power_levels)
        levels = self._levels.get(pair)
        if levels is None:
            levels = self._levels[pair] = PowerLevels.of(self.version, create, power_levels)
        return levels
