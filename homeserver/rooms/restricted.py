"""Restricted rooms: whom membership elsewhere lets in, and who of us vouches for them. Pure, but for loading rooms.

Spec: client-server-api#restricted-rooms, server-server-api#restricted-rooms
"""

from collections.abc import Iterator
from typing import Final

from federation.ids import ServerName, UserID, server_of
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms

RESTRICTED: Final = ("restricted", "knock_restricted")
CLAIM: Final = "org.parta.claim"
"""The condition that this server's policy lets somebody in; it counts in rooms that a school's records name a kind of,
and no other server can tell who meets it.
"""
MOST_CONDITIONS: Final = 50


def join_rule(room: Room) -> str:
    """The room's join rule; a room that names none is joined by invitation."""
    rules = room.head.find(("m.room.join_rules", ""))
    rule = rules.content.get("join_rule") if rules is not None else None
    return rule if isinstance(rule, str) else "invite"


def allowing_rooms(room: Room) -> list[str]:
    """The IDs of the rooms whose members may join.

    Spec: client-server-api#mroomjoin_rules
    """
    rules = room.head.find(("m.room.join_rules", ""))
    conditions = rules.content.get("allow") if rules is not None else None
    if not isinstance(conditions, list):
        return []
    named = [
        condition.get("room_id")
        for condition in conditions[:MOST_CONDITIONS]
        if isinstance(condition, dict) and condition.get("type") == "m.room_membership"
    ]
    return [room_id for room_id in named if isinstance(room_id, str)]


def is_left_to_policy(room: Room) -> bool:
    """Whether whoever may join by the policy of this server, which is asked at each join, is let in."""
    rules = room.head.find(("m.room.join_rules", ""))
    conditions = rules.content.get("allow") if rules is not None else None
    return room.record.kind is not None and isinstance(conditions, list) and {"type": CLAIM} in conditions


async def is_let_in(rooms: Rooms, room: Room, user_id: UserID) -> bool:
    """Whether somebody is joined to one of the rooms whose members may join, or it is the policy that says who may."""
    if is_left_to_policy(room):
        return True
    for room_id in allowing_rooms(room):
        other = await rooms.load(room_id)
        if other is not None and user_id in other.joined_members:
            return True
    return False


def find_authoriser(room: Room, server: ServerName) -> UserID | None:
    """Somebody of ours who is joined and may invite, the mightiest first; None when there is nobody."""
    levels, joined = room.head.levels, room.head.joined
    return next(
        (
            user_id
            for user_id in _candidates(room, server)
            if user_id in joined and server_of(user_id) == server and levels.power_of(user_id) >= levels.invite
        ),
        None,
    )


def _candidates(room: Room, server: ServerName) -> Iterator[UserID]:
    levels = room.head.levels
    yield from map(UserID, sorted(levels.creators))
    yield from map(UserID, sorted(levels.users, key=levels.power_of, reverse=True))
    if levels.users_default >= levels.invite:
        yield from room.head.joined
