"""Stripped state: what somebody who is invited, or knocks, is shown of a room.

Spec: client-server-api#stripped-state
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from federation.event import stripped_state
from federation.ids import StateKey
from homeserver.storage.events import RoomEvent
from homeserver.storage.sync import MEMBER

SHOWN: Final[tuple[StateKey, ...]] = tuple(
    (f"m.room.{kind}", "") for kind in "create name avatar topic join_rules canonical_alias encryption".split()
)
_UNSIGNED: Final = {"invite": "invite_room_state", "knock": "knock_room_state"}
_FIELDS: Final = ("content", "sender", "state_key", "type")


def strip_state(state: Mapping[StateKey, RoomEvent], member: RoomEvent) -> bytes:
    """The stripped state of a room as a JSON array, with the inviter and the membership event `member` itself: what
    another server sent with that, else of the room's state.
    """
    given = _given_state(member)
    if given is None:
        keys = [*SHOWN, (MEMBER, member.event.sender)]
        given = [dict(stripped_state(state[key].event)) for key in keys if key in state and key != member.event.key]
    return msgspec.json.encode([*given, stripped_state(member.event)])


def _given_state(member: RoomEvent) -> list[dict[str, Any]] | None:
    """What came with the event, pruned to what may be passed on."""
    given = member.event.unsigned.get(_UNSIGNED.get(member.event.membership or "", ""))
    if not isinstance(given, list):
        return None
    objects = [each for each in given if isinstance(each, dict) and all(name in each for name in _FIELDS)]
    return [{name: each[name] for name in _FIELDS} for each in objects]
