"""What a person's account means for their rooms: the profile that they show there, and leaving them all for good.

Spec: client-server-api#events-on-change-of-profile-information
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from federation.errors import Refused
from federation.ids import RoomID, UserID
from homeserver.rooms.membership import IN_ROOM, FindProfile, shown_fields
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Changes, Rooms
from homeserver.rooms.seal import Draft
from homeserver.storage.database import Database
from homeserver.storage.members import load_memberships

AT_ONCE: Final = 50
"""How many rooms are changed in one unit of work."""
_NOT_COPIED: Final = ("displayname", "avatar_url", "join_authorised_via_users_server", "reason")


class People:
    """Brings what happened to accounts into rooms. A room whose rules refuse is left as it is."""

    def __init__(self, rooms: Rooms, database: Database, find_profile: FindProfile) -> None:
        self._rooms = rooms
        self._db = database
        self._find_profile = find_profile

    async def show_profile(self, user_id: UserID, /) -> None:
        """Bring the person's member events in the rooms they are joined to in line with their profile."""
        profile = await self._find_profile(user_id)
        shown = {} if profile is None else shown_fields(profile)

        def build(room: Room) -> Draft | None:
            member = room.head.joined.get(user_id)
            if member is None:
                return None
            before = member.event.content
            content = {name: value for name, value in before.items() if name not in _NOT_COPIED} | shown
            unchanged = all(before.get(name) == shown.get(name) for name in ("displayname", "avatar_url"))
            return None if unchanged else _member(user_id, content)

        await self._change_all(user_id, ("join",), build)

    async def leave_all(self, user_id: UserID, /) -> None:
        """Make the person leave every room, refuse every invitation and take back every knock."""

        def build(room: Room) -> Draft | None:
            member = room.head.find(("m.room.member", user_id))
            is_in = member is not None and member.membership in IN_ROOM
            return _member(user_id, {"membership": "leave"}) if is_in else None

        await self._change_all(user_id, IN_ROOM, build)

    async def _change_all(
        self, user_id: UserID, memberships: Sequence[str], build: Callable[[Room], Draft | None]
    ) -> None:
        held = await self._db.read(load_memberships, user_id)
        rooms = [each.room_id for each in held if each.membership in memberships]
        for slice_ in _slices(rooms):
            loaded = [room for room_id in slice_ if (room := await self._rooms.load(room_id)) is not None]
            changes = [(room, [draft]) for room in loaded if (draft := build(room)) is not None]
            try:
                await self._rooms.commit(changes)
            except Refused:
                await self._change_each(changes)

    async def _change_each(self, changes: Changes) -> None:
        for change in changes:
            try:
                await self._rooms.commit([change])
            except Refused:
                continue


def _member(user_id: UserID, content: Mapping[str, object]) -> Draft:
    return Draft(type="m.room.member", sender=user_id, content=content, state_key=user_id)


def _slices(room_ids: Sequence[RoomID]) -> Iterator[Sequence[RoomID]]:
    for start in range(0, len(room_ids), AT_ONCE):
        yield room_ids[start : start + AT_ONCE]
