"""Room upgrades: another room takes a room's place.

Everything happens in one unit of work: the new room with what it takes over, the end of the old one, and the way of
aliases and the directory's entry from one to the other.

Spec: client-server-api#room-upgrades
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from federation.auth import PowerLevels
from federation.auth.levels import read_level
from federation.errors import Refused
from federation.ids import EventID, RoomID, UserID, parse_user_id, server_of
from federation.versions import RoomVersion, find_room_version
from homeserver.policy import Hidden, Invalid, Policy, UpgradeRoom
from homeserver.rooms.aliases import CANONICAL_ALIAS, may_name
from homeserver.rooms.create import lift_tombstone
from homeserver.rooms.listing import read_text
from homeserver.rooms.membership import FindProfile, shown_fields
from homeserver.rooms.predecessors import carry_settings
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.rooms.writing import Work
from homeserver.storage.database import Txn
from homeserver.storage.directory import move_aliases, remove_published

TOMBSTONE: Final = "m.room.tombstone"
MOST_CREATORS: Final = 100
_POWER_LEVELS: Final = "m.room.power_levels"
_CARRIED: Final = (
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.policy",
)
_CHILD: Final = "m.space.child"
_LEVEL_MAPS: Final = ("users", "events", "notifications")
_QUIET_LEVEL: Final = 50
_FIRST_LEVEL: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """How one room takes another's place: who wants it, with which version and creators; `shown` is their profile.

    The functions are asked with the rooms as they are at the moment, perhaps twice.
    """

    by: UserID
    version: RoomVersion
    creators: Sequence[UserID] = ()
    shown: Mapping[str, object]

    def begin(self, old: Room, tombstone: EventID | None) -> Iterator[Draft]:
        """The events of the new room; `tombstone` is the old one's last word, if that is said already.

        The power levels come last: until then the upgrader may set all that is carried over, whatever it takes later.
        """
        yield self._state("m.room.create", self._create(old, tombstone))
        yield self._state("m.room.member", {**self.shown, "membership": "join"}, self.by)
        for event_type in _CARRIED:
            event = old.head.find((event_type, ""))
            if event is not None and event.content:
                yield self._state(event_type, event.content)
        if read_text(old.create, "type") == "m.space":
            for key, held in old.head.state.items():
                if key[0] == _CHILD and held.event.content:
                    yield self._state(_CHILD, held.event.content, key[1])
        aliases = self._local_aliases(old)
        if aliases:
            yield self._state(CANONICAL_ALIAS, aliases)
        yield self._state(_POWER_LEVELS, build_levels(old.head.levels, self._content(old), self))

    def end(self, old: Room, new_id: RoomID) -> Iterator[Draft]:
        """The last events of the old room."""
        yield self._state(TOMBSTONE, {"body": "This room has been replaced", "replacement_room": new_id})
        if self._local_aliases(old) and may_name(old, self.by):
            yield self._state(CANONICAL_ALIAS, {})
        quiet = quieten(old.head.levels, self._content(old), self.by)
        if quiet is not None:
            yield self._state(_POWER_LEVELS, quiet)

    def also(self, old: Room, new: Room, *, listed: bool) -> Sequence[Work]:
        """What else changes with them."""
        carry = partial(carry_settings, self.by, old.room_id, new.room_id)
        works: list[Work] = [partial(_move_aliases, old.nid, new.nid), carry]
        return [*works, partial(_unlist, old.nid)] if listed else works

    def _create(self, old: Room, tombstone: EventID | None) -> Mapping[str, object]:
        predecessor = {"room_id": old.room_id} | ({} if tombstone is None else {"event_id": tombstone})
        content: dict[str, object] = {"room_version": self.version.id, "predecessor": predecessor}
        for name in ("type", "m.federate"):
            if name in old.create.content:
                content[name] = old.create.content[name]
        if not self.version.implicit_creator:
            content["creator"] = self.by
        if self.creators:
            content["additional_creators"] = list(self.creators)
        return content

    def _local_aliases(self, old: Room) -> dict[str, object]:
        """What the canonical alias event says of aliases that move."""
        event = old.head.find((CANONICAL_ALIAS, ""))
        content: Mapping[str, Any] = {} if event is None else event.content
        suffix, alias, others = f":{server_of(self.by)}", content.get("alias"), content.get("alt_aliases")
        moved: dict[str, object] = {"alias": alias} if isinstance(alias, str) and alias.endswith(suffix) else {}
        named = [each for each in others if isinstance(each, str)] if isinstance(others, list) else []
        kept = [each for each in named if each.endswith(suffix)]
        return {**moved, "alt_aliases": kept} if kept else moved

    def _content(self, old: Room) -> Mapping[str, Any]:
        event, levels = old.head.find((_POWER_LEVELS, "")), old.head.levels
        if event is not None:
            return event.content
        return {"users": {user: level for user, level in levels.users.items() if user not in levels.supreme}}

    def _state(self, event_type: str, content: Mapping[str, object], state_key: str = "") -> Draft:
        return Draft(type=event_type, sender=self.by, content=content, state_key=state_key)


class Upgrades:
    """Replaces rooms by others of another version."""

    def __init__(self, rooms: Rooms, policy: Policy, find_profile: FindProfile) -> None:
        self._rooms = rooms
        self._policy = policy
        self._find_profile = find_profile

    async def upgrade(self, by: UserID, room_id: str, version_id: str, creators: Sequence[str] = ()) -> Room:
        """The room that takes the other's place; `creators` are creators beside the upgrader, where versions know such.

        Raises: Hidden for who is not joined; Invalid (M_UNSUPPORTED_ROOM_VERSION); Refused; BadIdentifier.
        Spec: client-server-api#post_matrixclientv3roomsroomidupgrade
        """
        room = await self._rooms.load(room_id)
        if room is None or by not in room.joined_members:
            raise Hidden
        version = find_room_version(version_id)
        if version is None or not version.stable:
            raise Invalid("M_UNSUPPORTED_ROOM_VERSION", "This server makes no rooms of that version")
        others = _parse_creators(by, creators) if version.creators_are_supreme else ()
        await self._policy.check(UpgradeRoom(by=by, room=room, version=version.id))
        # 1. the right to send the tombstone
        levels = room.head.levels
        if levels.power_of(by) < levels.level_for_event(TOMBSTONE, is_state=True):
            raise Refused("upgrade", "You may not end this room")
        profile = await self._find_profile(by)
        shown = {} if profile is None else shown_fields(profile)
        # 2. to 6.
        return await self._rooms.replace(room, Succession(by=by, version=version, creators=others, shown=shown))


def build_levels(levels: PowerLevels, content: Mapping[str, Any], wanted: Succession) -> dict[str, Any]:
    """The power levels of the new room: those of the old one as the new version writes them.

    From version 12 on creators have no level, and ending the room takes more than other state. Before it, who was above
    all has the first level.

    Spec: client-server-api#room-upgrades, rooms/v12#authorisation-rules
    """
    carried = {name: value for name, value in content.items() if name not in _LEVEL_MAPS}
    taken: dict[str, Any] = {
        name: level for name, value in carried.items() if (level := read_level(levels.version, value)) is not None
    }
    for name in _LEVEL_MAPS:
        taken[name] = _read_map(levels, content.get(name))
    users: dict[str, int] = taken["users"]
    if wanted.version.creators_are_supreme:
        taken["users"] = {user: users[user] for user in users if user not in (wanted.by, *wanted.creators)}
        if not levels.version.creators_are_supreme:
            taken["events"].pop(TOMBSTONE, None)
        taken.setdefault("state_default", levels.state_default)
        lift_tombstone(taken)
    else:
        users.update(dict.fromkeys(levels.supreme, _FIRST_LEVEL))
        _bound(taken)
    return taken


def quieten(levels: PowerLevels, content: Mapping[str, Any], by: UserID) -> dict[str, Any] | None:
    """The power levels by which nobody ordinary writes in the old room or invites to it; None where `by` may not.

    Spec: client-server-api#room-upgrades
    """
    level = max(_QUIET_LEVEL, levels.users_default + 1)
    raised = {"events_default": max(levels.events_default, level), "invite": max(levels.invite, level)}
    power = levels.power_of(by)
    if power < max(level, levels.level_for_event(_POWER_LEVELS, is_state=True)):
        return None
    changed = {name: value for name, value in raised.items() if value != getattr(levels, name)}
    if not changed:
        return None
    return {**content, **changed}


def _read_map(levels: PowerLevels, value: object) -> dict[str, int]:
    given = value if isinstance(value, dict) else {}
    read = {name: read_level(levels.version, level) for name, level in given.items()}
    return {name: level for name, level in read.items() if level is not None}


def _bound(content: dict[str, Any]) -> None:
    """What only a creator above all could do, whoever has the first level can."""
    events: dict[str, int] = content["events"]
    if events.get(TOMBSTONE, 0) > _FIRST_LEVEL:
        events[TOMBSTONE] = _FIRST_LEVEL


def _parse_creators(by: UserID, creators: Sequence[str]) -> list[UserID]:
    if len(creators) > MOST_CREATORS:
        raise Invalid("M_INVALID_PARAM", f"A room has at most {MOST_CREATORS} additional creators")
    named = dict.fromkeys(parse_user_id(creator) for creator in creators)
    return [creator for creator in named if creator != by]


def _move_aliases(from_nid: int, to_nid: int, txn: Txn) -> None:
    move_aliases(txn, from_nid, to_nid)


def _unlist(room_nid: int, txn: Txn) -> None:
    remove_published(txn, room_nid)
