"""State: what a room's settings are, and changing them.

Spec: client-server-api#getting-events-for-a-room
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from federation.ids import EventID, StateKey, UserID, parse_user_id, server_of
from homeserver.policy import Hidden, Invalid, NotFound, Policy, SetState
from homeserver.rooms.aliases import CANONICAL_ALIAS, Aliases
from homeserver.rooms.membership import Change, Memberships, is_same
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.rooms.view import View, Views
from homeserver.storage.accounts import load_guests
from homeserver.storage.database import Database
from homeserver.storage.events import Origin, RoomEvent
from homeserver.storage.state import find_state, load_state

GUEST_ACCESS: Final[StateKey] = ("m.room.guest_access", "")
_SAYING: Final = {
    "m.room.join_rules": "join_rule",
    "m.room.history_visibility": "history_visibility",
    "m.room.guest_access": "guest_access",
    "m.room.encryption": "algorithm",
}
"""The string in which all that a type of state says begins, by the type.

Spec: client-server-api#room-events
"""


class States:
    """Reads state. Methods raise Hidden for a room that is not there or not for the asker, and Refused."""

    def __init__(self, database: Database, views: Views) -> None:
        self._db = database
        self._views = views

    async def all(self, by: UserID, room_id: str) -> Sequence[RoomEvent]:
        """The state of a room: as it is, or as it was when the asker left.

        Spec: client-server-api#get_matrixclientv3roomsroomidstate
        """
        return list((await self.load(await self._views.open(by, room_id))).values())

    async def one(self, by: UserID, room_id: str, event_type: str, state_key: str) -> RoomEvent:
        """One state event, as it is or was when the asker left.

        Raises: NotFound.
        Spec: client-server-api#get_matrixclientv3roomsroomidstateeventtypestatekey
        """
        view = await self._views.open(by, room_id)
        if view.left is None:
            held = view.room.shown.state.get((event_type, state_key))
        else:
            found = await self._db.read(find_state, view.room.record, view.left.group, event_type, [state_key])
            held = found[0] if found else None
        if held is None:
            raise NotFound("The room has no such state")
        return held

    async def load(self, view: View) -> Mapping[tuple[str, str], RoomEvent]:
        """The whole state that a viewer may see."""
        if view.left is None:
            return view.room.shown.state
        return await self._db.read(load_state, view.room.record, view.left.group)


class Settings:
    """Sets state."""

    def __init__(
        self, rooms: Rooms, database: Database, policy: Policy, memberships: Memberships, aliases: Aliases
    ) -> None:
        self._rooms = rooms
        self._db = database
        self._policy = policy
        self._memberships = memberships
        self._aliases = aliases

    async def check(self, by: UserID, room_id: str, key: StateKey, content: Mapping[str, object]) -> None:
        """Refuse what the policy would not let somebody set now, who is in the room; power is not looked at.

        Raises: Hidden; Refused; Invalid; BadIdentifier for a membership of nobody.
        """
        room = await self._rooms.load(room_id)
        if room is None or by not in room.joined_members:
            raise Hidden
        if key[0] == "m.room.member":
            await self._memberships.check(room, _change(by, key[1], content))
        else:
            await self._policy.check(SetState(by=by, room=room, type=key[0], state_key=key[1], content=content))

    async def put(  # noqa: PLR0913 - the state, and in which manner it is set
        self,
        by: UserID,
        room_id: str,
        key: StateKey,
        content: Mapping[str, object],
        *,
        guest: bool = False,
        origin: Origin | None = None,
        at_ms: int | None = None,
    ) -> EventID:
        """Set the state under a key; the event that sets it. What is so already stays as it is.

        With an `origin` the event is known by that again. `at_ms` is when it is set, None: now.

        Raises: Hidden; Refused; Invalid; BadIdentifier for a membership of nobody; EventTooLarge.
        Spec: client-server-api#put_matrixclientv3roomsroomidstateeventtypestatekey
        """
        room = await self._rooms.load(room_id)
        if room is None:
            raise Hidden
        if key[0] == "m.room.member":
            wanted = replace(_change(by, key[1], content), guest=guest, origin=origin, at_ms=at_ms)
            return await self._memberships.change(room, wanted)
        if by not in room.joined_members:
            raise Hidden
        await self._policy.check(SetState(by=by, room=room, type=key[0], state_key=key[1], content=content))
        _check_shape(key, content)
        if key == (CANONICAL_ALIAS, ""):
            await self._aliases.check_canonical(room, content)
        before = room.head.find(key)
        if before is not None and is_same(before.content, content) and _has_power(room, by, key[0]):
            await self._rooms.wait_for(room)
            return before.event_id
        drafts = [Draft(type=key[0], sender=by, content=content, state_key=key[1], origin=origin, at_ms=at_ms)]
        if key == GUEST_ACCESS and content.get("guest_access") != "can_join":
            drafts += await self._farewells(room)
        ((held, *_),) = await self._rooms.commit([(room, drafts)])
        return held.event_id

    async def _farewells(self, room: Room) -> list[Draft]:
        """The events by which the guests of this server leave a room that no more takes guests.

        Spec: client-server-api#guest-access
        """
        ours = [person for person in room.head.joined if server_of(person) == self._rooms.seal.server]
        guests = await self._db.read(load_guests, ours)
        leave = {"membership": "leave"}
        return [Draft(type="m.room.member", sender=guest, content=leave, state_key=guest) for guest in guests]


def _change(by: UserID, state_key: str, content: Mapping[str, object]) -> Change:
    membership = content.get("membership")
    if not isinstance(membership, str):
        raise Invalid("M_BAD_JSON", "A membership is a string")
    return Change(by=by, person=parse_user_id(state_key), membership=membership, content=content)


def _check_shape(key: StateKey, content: Mapping[str, object]) -> None:
    """Refuse what would say nothing, or be read differently by everybody."""
    name = _SAYING.get(key[0])
    if name is not None and key[1] == "" and not isinstance(content.get(name), str):
        raise Invalid("M_BAD_JSON", f"{key[0]} has a string in {name}")


def _has_power(room: Room, by: UserID, event_type: str) -> bool:
    levels = room.head.levels
    return levels.power_of(by) >= levels.level_for_event(event_type, is_state=True)
