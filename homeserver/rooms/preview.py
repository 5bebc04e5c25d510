"""A room of which no more is known than what an invitation shows: enough to tell the person what they are asked into.

Nothing can be added to such a room, and it is none of the live ones.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from immutables import Map

from federation.event import revive_stripped
from homeserver.rooms.groups import CREATE, Group
from homeserver.rooms.head import head_of
from homeserver.rooms.room import Room
from homeserver.rooms.shown import SHOWN
from homeserver.storage.events import RoomEvent
from homeserver.storage.rooms import RoomRecord

_KEPT: Final = frozenset(kind for kind, _ in SHOWN if kind != CREATE[0]) | {"m.room.member"}


def build_preview(record: RoomRecord, shown: Iterable[Mapping[str, Any]], member: RoomEvent) -> Room:
    """The room as stripped state and the person's own membership event show it."""
    version, room_id, sender = record.version, record.room_id, member.event.sender
    # whose room it is, and with what powers, nobody here can know
    create = {"type": CREATE[0], "state_key": CREATE[1], "sender": sender, "content": {"creator": sender}}
    kept = [each for each in shown if each["type"] in _KEPT]
    events = [revive_stripped(version, room_id, each) for each in (create, *kept)]
    state = {event.key: RoomEvent(event, nid=0, room_nid=record.nid, group=0) for event in events}
    state[member.key] = member
    room = Room(record, head_of(Group(nid=0, base=0, delta=Map(), state=Map(state)), ()))
    room.live = False
    return room
