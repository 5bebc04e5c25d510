"""What is asked for, and the tokens by which a page goes on.

A token holds places, not rights: whoever sends it, each page is judged anew for them. It is good only for the search
that it came from.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from federation.ids import UserID
from homeserver.policy import Invalid
from homeserver.rooms.filters import RoomEventFilter
from homeserver.storage.search.words import KINDS

MOST_RESULTS: Final = 50
"""How many results a page has at most."""
MOST_AROUND: Final = 20
"""How many events are shown before a result, and after it, at most."""
DEFAULT_RESULTS: Final = 10
FAR: Final = 2**63 - 1
LONGEST_TOKEN: Final = 2000

GroupKey: TypeAlias = Literal["room_id", "sender"]
Key: TypeAlias = tuple[int, int, int]
"""By what results are ordered, the greatest first: rank (0 if that is not asked for), place, and id."""
_Number: TypeAlias = Annotated[int, Meta(ge=-FAR, le=FAR)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """How many events to show before and after each result, and whether with the profiles of those who sent them."""

    before: int = 5
    after: int = 5
    profiles: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAsk:
    """What is searched for: a text, in events of some types that pass a filter, in an order; and what to show of it."""

    text: str
    types: frozenset[str] = frozenset(KINDS)
    wanted: RoomEventFilter = RoomEventFilter()
    newest_first: bool = False
    around: Around | None = None
    state: bool = False
    groups: tuple[GroupKey, ...] = ()

    @property
    def limit(self) -> int:
        """How many results a page has."""
        return min(self.wanted.limit or DEFAULT_RESULTS, MOST_RESULTS)

    def digest(self, user_id: UserID) -> str:
        """What is the same for all pages of one person's search, and for no other."""
        wanted = msgspec.structs.replace(self.wanted, limit=None)
        whole = msgspec.json.encode([user_id, self.text, sorted(self.types), wanted, self.newest_first])
        return urlsafe_b64encode(sha256(whole).digest()[:12]).decode()


class Point(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Where a page begins: in the block of matches that lie before a place, behind `key` in their order; `count` is
    what the first page counted, None on that one; `group` whose results alone are wanted.
    """

    digest: str
    before: _Number = FAR
    rank: _Number = FAR
    stream: _Number = FAR
    nid: _Number = FAR
    count: _Number | None = None
    group: tuple[GroupKey, str] | None = None

    @property
    def key(self) -> "Key":
        """Behind what it begins."""
        return self.rank, self.stream, self.nid


_decoder: Final = msgspec.json.Decoder(Point)


def encode_point(point: Point) -> str:
    """The token of a point."""
    return urlsafe_b64encode(msgspec.json.encode(point)).decode().rstrip("=")


def parse_point(token: str, digest: str) -> Point:
    """The point of a token of the search of that digest.

    Raises: Invalid.
    """
    try:
        padded = token[:LONGEST_TOKEN].encode("ascii") + b"=" * (-len(token) % 4)
        point = _decoder.decode(urlsafe_b64decode(padded))
    except (ValueError, msgspec.MsgspecError):
        raise Invalid("M_INVALID_PARAM", "Not a token of a search") from None
    if point.digest != digest:
        raise Invalid("M_INVALID_PARAM", "The token is that of another search")
    return point
