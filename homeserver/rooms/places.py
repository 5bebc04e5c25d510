"""Pagination tokens of a room: `t<depth>-<stream>` is the point just after the event at that place.

A token of a sync, `s<position>...`, means the end of what the room had at that stream position.
"""

import re
from typing import Final

from homeserver.policy import Invalid
from homeserver.storage.database import Txn
from homeserver.storage.events import Place, RoomEvent, find_farthest, find_next_place, find_place

_PLACE: Final = re.compile(r"t([0-9]{1,19})-(-?[0-9]{1,18})")
_POSITION: Final = re.compile(r"s([0-9]{1,18})(?![0-9]).*", re.DOTALL)
_MOST: Final = 2**63 - 1

BEGINNING: Final[Place] = (0, -1)


def parse_token(text: str) -> Place | int:
    """The place of a token, or the stream position of a sync's.

    Raises: Invalid.
    """
    place = _PLACE.fullmatch(text)
    if place is not None and int(place[1]) <= _MOST:
        return int(place[1]), int(place[2])
    position = _POSITION.fullmatch(text)
    if position is not None:
        return int(position[1])
    raise Invalid("M_INVALID_PARAM", "Not a pagination token")


def encode_token(place: Place) -> str:
    """The token of a place."""
    return f"t{place[0]}-{place[1]}"


def before(held: RoomEvent) -> Place:
    """The point just before an event."""
    return _before(held.place)


def _before(place: Place) -> Place:
    depth, stream = place
    return depth, stream - 1


def find_end(txn: Txn, room_nid: int, token: Place | int | None = None) -> Place:
    """The place behind all that a room had at a token, or has now: where paging back begins. What came next, as a join
    of ours, may lie far behind that, and what is between may not be here yet.
    """
    if isinstance(token, tuple):
        return token
    farthest = find_farthest(txn, room_nid, token) or BEGINNING
    following = None if token is None else find_next_place(txn, room_nid, token)
    return farthest if following is None else max(farthest, _before(following))


def find_token_place(txn: Txn, room_nid: int, token: Place | int) -> Place:
    """The place that a token means in a room."""
    if isinstance(token, tuple):
        return token
    return find_place(txn, room_nid, token) or BEGINNING
