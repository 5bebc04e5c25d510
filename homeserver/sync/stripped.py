"""Stripped state: what somebody who is invited, or knocks, is shown of a room.

Spec: client-server-api#stripped-state
"""

from collections.abc import Mapping

import msgspec

from federation.event import stripped_state
from federation.ids import StateKey
from homeserver.rooms.shown import SHOWN
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.invites import find_shown
from homeserver.storage.rooms import RoomRecord
from homeserver.storage.sync import MEMBER, load_state_at


def strip_state(state: Mapping[StateKey, RoomEvent], member: RoomEvent, given: bytes | None = None) -> bytes:
    """The stripped state of a room as a JSON array, with the inviter and the membership event `member` itself: what
    another server has shown with that (`given`), else of the room's state.
    """
    if given is not None:
        events = [each for each in msgspec.json.decode(given) if (each["type"], each["state_key"]) != member.event.key]
    else:
        keys = [*SHOWN, (MEMBER, member.event.sender)]
        events = [stripped_state(state[key].event) for key in keys if key in state and key != member.event.key]
    return msgspec.json.encode([*events, stripped_state(member.event)])


def read_stripped(txn: Txn, room: RoomRecord, stream: int, member: RoomEvent) -> bytes:
    """The same, from the tables, for somebody who became invited or knocks at that stream position."""
    shown = find_shown(txn, member.nid)
    if shown is not None:
        return strip_state({}, member, shown.state)
    return strip_state(load_state_at(txn, room, stream, members={member.event.sender}), member)
