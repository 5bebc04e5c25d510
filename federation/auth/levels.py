"""Power levels as the rules read them: defaults filled in, old spellings understood, creators above all."""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from federation.event import Event
from federation.versions import RoomVersion

CREATOR_LEVEL: Final = 2**53
"""The infinite power of a creator in version 12: one more than any level that can be written down."""

FIRST_CREATOR_LEVEL: Final = 100
"""The creator's level up to version 11, as long as the room has no power levels event."""

LEVEL_DEFAULTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "users_default": 0,
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "redact": 50,
        "kick": 50,
        "invite": 0,
    }
)
"""The level-valued properties of `m.room.power_levels` and what each means when it is absent."""

NOTIFICATION_DEFAULT: Final = 50

# ASCII only, and no more digits than the largest double has.
_STRINGY = re.compile(r"[ \t\n\r\f\v]*([+-]?)0*([0-9]{1,309})[ \t\n\r\f\v]*")


class PowerLevels(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Who may do what in a room, given its create event and its power levels event.

    Cheap to make (single levels are read when asked for) and good as long as those two events stay: whoever checks many
    events keeps it and passes it to `check_auth`.

    Spec: server-server-api#definitions
    """

    version: RoomVersion
    creators: frozenset[str]
    """Sender of the create event (before v11 its `creator`) and, where they count, `additional_creators`."""
    supreme: frozenset[str]
    """Those creators whom no power levels event can bind: all of them in v12, nobody before."""
    users: Mapping[str, Any]
    events: Mapping[str, Any]
    notifications: Mapping[str, Any]
    users_default: int
    events_default: int
    state_default: int
    ban: int
    redact: int
    kick: int
    invite: int

    @classmethod
    def of(cls, version: RoomVersion, create: Event | None, power_levels: Event | None) -> "PowerLevels":
        """The view for this create event (without one nobody is a creator) and the current power levels, if any."""
        creators: frozenset[str] = frozenset() if create is None else creators_of(version, create)
        content: Mapping[str, Any] = {} if power_levels is None else power_levels.content
        supreme: frozenset[str] = creators if version.creators_are_supreme else frozenset()
        users = object_in(content, "users")
        if power_levels is None:
            users = dict.fromkeys(creators, FIRST_CREATOR_LEVEL)
        return cls(
            version=version,
            creators=creators,
            supreme=supreme,
            users=users,
            events=object_in(content, "events"),
            notifications=object_in(content, "notifications"),
            **{name: _level_or(version, content.get(name), default) for name, default in LEVEL_DEFAULTS.items()},
        )

    def power_of(self, user: str) -> int:
        """The level a user has, member or not; `CREATOR_LEVEL` for a supreme creator."""
        if user in self.supreme:
            return CREATOR_LEVEL
        return _level_or(self.version, self.users.get(user), self.users_default)

    def level_for_event(self, event_type: str, *, is_state: bool) -> int:
        """The level required to send such an event. Memberships have rules of their own.

        Spec: server-server-api#definitions
        """
        default = self.state_default if is_state else self.events_default
        return _level_or(self.version, self.events.get(event_type), default)

    def level_for_notification(self, key: str) -> int:
        """The level required to notify in this way (`room`: everybody).

        Spec: client-server-api#push-rules
        """
        return _level_or(self.version, self.notifications.get(key), NOTIFICATION_DEFAULT)


def creators_of(version: RoomVersion, create: Event) -> frozenset[str]:
    """The users whom this create event makes creators, in the sense of the version.

    Spec: rooms/v12#authorisation-rules, rooms/v11#remove-the-creator-property-of-mroomcreate-events
    """
    if not version.implicit_creator:
        creator = create.content.get("creator")
        return frozenset([creator] if isinstance(creator, str) else [])
    if not version.creators_are_supreme:
        return frozenset([create.sender])
    others = create.content.get("additional_creators")
    return frozenset(
        [create.sender, *(u for u in others if isinstance(u, str))] if isinstance(others, list) else [create.sender]
    )


def read_level(version: RoomVersion, value: object) -> int | None:
    """The level that a JSON value stands for in this version, or None.

    Integers always; before v10 also strings that hold an integer; before v6 also numbers with a fraction, which is cut
    off. True and false are no levels.

    Spec: rooms/v10#values-in-mroompower_levels-events-must-be-integers
    """
    if type(value) is int:
        return value
    if version.integer_power_levels:
        return None
    if isinstance(value, str):
        found = _STRINGY.fullmatch(value)
        return int(found[1] + found[2]) if found else None
    if isinstance(value, float) and not version.strict_canonical_json and math.isfinite(value):
        return int(value)
    return None


def object_in(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The JSON object under that name, or an empty one."""
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _level_or(version: RoomVersion, value: object, default: int) -> int:
    # what an old version let through and nobody can read counts as not said
    if value is None:
        return default
    level = value if type(value) is int else read_level(version, value)
    return default if level is None else level
