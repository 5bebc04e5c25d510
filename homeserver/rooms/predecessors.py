"""Rooms that another has replaced, and what people take from one to the other.

Spec: client-server-api#room-upgrades
"""

from collections.abc import Sequence
from functools import partial

from federation.ids import RoomID, UserID
from homeserver.rooms.room import Room
from homeserver.rooms.writing import Work
from homeserver.storage.data import copy_account_data
from homeserver.storage.database import Txn
from homeserver.storage.push import copy_room_rule


def predecessor_of(room: Room) -> RoomID | None:
    """The room that this one says it replaces."""
    named = room.create.content.get("predecessor")
    room_id = named.get("room_id") if isinstance(named, dict) else None
    return RoomID(room_id) if isinstance(room_id, str) and room_id != room.room_id else None


def carrying(user_id: UserID, room: Room) -> Sequence[Work]:
    """What else is to be written when somebody of ours joins a room."""
    old_id = predecessor_of(room)
    return () if old_id is None else [partial(carry_settings, user_id, old_id, room.room_id)]


def carry_settings(user_id: UserID, old_id: RoomID, new_id: RoomID, txn: Txn) -> None:
    """Unit of work: what somebody set for the old room holds in the new one, unless they have set it there.

    Spec: client-server-api#room-upgrades
    """
    copy_account_data(txn, user_id, "m.tag", old_id, new_id)
    copy_room_rule(txn, user_id, old_id, new_id)
