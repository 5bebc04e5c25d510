"""What each connection has been told, kept in memory and within bounds: one that is not known any more has expired, and
its client begins anew.

What was told is a value that never changes: an answer makes another of it. So a request may be made again as long as
its answer was not used, and is answered again from where it stood.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from immutables import Map

from federation.ids import DeviceID, RoomID, UserID
from homeserver.policy import Invalid
from homeserver.sync.sliding.required import Config
from homeserver.sync.tokens import SyncToken

MOST_OF_DEVICE: Final = 10
"""How many connections a device may have."""
MOST_ROOMS: Final = 500_000
"""How many rooms all connections together may have been told of."""
MOST_ANSWERS: Final = 4
"""How many answers to one request are remembered, of which the client has used none yet."""
MOST_MEMBERS: Final = 1000
"""How many members a room's client is remembered to have; forgetting only sends some again."""

Origin: TypeAlias = tuple[UserID, DeviceID, str]


class Sent(NamedTuple):
    """What was told of a room: what the person was there and since when, all events from `first` to `upto` (while it is
    looked at: to the last answer), what was wanted then, which members came lazily, and whether it is a direct chat.
    """

    membership: str
    stay: int
    first: int
    upto: int
    config: Config
    members: frozenset[int] = frozenset()
    dm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a connection was told up to a moment, None: nothing.

    `scope` are the rooms that were looked at in the last answer; `typing`, `receipts` and `data` those that each
    extension reached, None while it was not wanted. `typists` are rooms in which somebody was said to be typing,
    `globals` tells whether account data was told.
    """

    token: SyncToken | None = None
    rooms: Map[RoomID, Sent] = field(default_factory=Map)
    scope: Mapping[RoomID, Config] = field(default_factory=dict)
    typing: frozenset[RoomID] | None = None
    receipts: frozenset[RoomID] | None = None
    data: frozenset[RoomID] | None = None
    typists: frozenset[RoomID] = frozenset()
    globals: bool = False

    @property
    def position(self) -> int:
        """The position of the last answer, 0 before the first."""
        return 0 if self.token is None else self.token.position

    def succeed(self, news: Mapping[RoomID, Sent], scope: Mapping[RoomID, Config]) -> Map[RoomID, Sent]:
        """What the client has been told of rooms after an answer that looks at `scope` and tells `news`."""
        rooms = self.rooms.mutate()
        for room_id in self.scope:
            if room_id not in scope and room_id in rooms:
                rooms[room_id] = rooms[room_id]._replace(upto=self.position)
        for room_id, config in scope.items():
            if room_id not in news and room_id in rooms and self.scope.get(room_id) is not config:
                rooms[room_id] = rooms[room_id]._replace(config=config)
        for room_id, sent in news.items():
            rooms[room_id] = sent
        return rooms.finish()

    def since(self, room_id: RoomID) -> int:
        """Up to where a room was told of."""
        return self.position if room_id in self.scope else self.rooms[room_id].upto


class _Connection:
    """The answer that the client used last, and those to its next request."""

    __slots__ = ("answers", "told")

    def __init__(self, told: tuple[str, Told]) -> None:
        self.told = told
        self.answers: dict[str, Told] = {}

    @property
    def weight(self) -> int:
        return 1 + len(self.told[1].rooms) + max([len(told.rooms) for told in self.answers.values()], default=0)


class Connections:
    """All connections, the least used of which are dropped when there are too many."""

    def __init__(self) -> None:
        self._known: OrderedDict[Origin, _Connection] = OrderedDict()
        self._devices: dict[tuple[UserID, DeviceID], dict[Origin, None]] = {}
        self._weights: dict[Origin, int] = {}
        self._weight = 0
        self._number = 0

    def begin(self, origin: Origin) -> Told:
        """A client begins anew: it has nothing."""
        self._drop(origin)
        told = Told()
        self._keep(origin, _Connection(("", told)))
        device = self._devices[origin[:2]]
        while len(device) > MOST_OF_DEVICE:
            self._drop(next(iter(device)))
        return told

    def find(self, origin: Origin, pos: str) -> Told:
        """What a client had been told that has got the answer of that name; it will ask for no earlier one.

        Raises:
            Invalid: this is no such connection's, or not its last answer: it has expired.
        """
        connection = self._known.get(origin)
        if connection is None:
            raise _expired()
        if pos != connection.told[0] or not pos:
            told = connection.answers.get(pos)
            if told is None:
                raise _expired()
            connection.told, connection.answers = (pos, told), {}
        self._keep(origin, connection)
        return connection.told[1]

    def note(self, origin: Origin, before: Told, told: Told, token: SyncToken) -> str:
        """An answer is sent to a client that had been told what was `before`; the name of the answer."""
        self._number += 1
        pos = f"s{token.position}_{token.serial}_{self._number}"
        connection = self._known.get(origin)
        if connection is not None and connection.told[1] is before:
            connection.answers[pos] = told
            if len(connection.answers) > MOST_ANSWERS:
                del connection.answers[next(iter(connection.answers))]
            self._keep(origin, connection)
        return pos

    def _keep(self, origin: Origin, connection: _Connection) -> None:
        device = self._devices.setdefault(origin[:2], {})
        device.pop(origin, None)
        device[origin] = None
        self._known[origin] = connection
        self._known.move_to_end(origin)
        weight = connection.weight
        self._weight += weight - self._weights.get(origin, 0)
        self._weights[origin] = weight
        while self._weight > MOST_ROOMS and len(self._known) > 1:
            self._drop(next(iter(self._known)))

    def _drop(self, origin: Origin) -> None:
        if self._known.pop(origin, None) is None:
            return
        self._weight -= self._weights.pop(origin)
        device = self._devices[origin[:2]]
        del device[origin]
        if not device:
            del self._devices[origin[:2]]


def _expired() -> Invalid:
    return Invalid("M_UNKNOWN_POS", "There is no such connection any more: begin anew, without pos")
