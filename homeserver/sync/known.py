"""Small facts about people and devices that every answer needs, remembered while their feed says that they hold."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from homeserver.streams import Feed

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST_KNOWN: Final = 20_000


class Known(Generic[K, V]):
    """Values as they were read at a position; `kind` is the change of a person's own after which they hold no more."""

    def __init__(self, kind: str) -> None:
        self._mark = (kind, None)
        self._values: OrderedDict[K, tuple[int, V]] = OrderedDict()

    def find(self, key: K, feed: Feed) -> V | None:
        """The value, if it still holds."""
        entry = self._values.get(key)
        if entry is None or entry[0] < feed.floor or entry[0] < feed.own.get(self._mark, 0):
            return None
        self._values.move_to_end(key)
        return entry[1]

    def note(self, key: K, position: int, value: V) -> V:
        """Remember what was read when that position was committed."""
        self._values[key] = (position, value)
        self._values.move_to_end(key)
        if len(self._values) > MOST_KNOWN:
            self._values.popitem(last=False)
        return value
