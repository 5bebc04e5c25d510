"""Rule 10: who may change the power levels, and how far.

Comments carry the numbers of the page of version 12. Before v10 the page asks only of `users` that its levels can be
read; elsewhere what nobody can read may be there from the first power levels event, counts as not said, and cannot be
brought in by a change, since it is not known to be within the sender's power.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, TypeAlias

from federation.auth.case import Case
from federation.auth.levels import LEVEL_DEFAULTS, object_in, read_level
from federation.errors import BadIdentifier
from federation.event import Event
from federation.ids import parse_user_id
from federation.versions import RoomVersion


class _Absent(Enum):
    ABSENT = "absent"


_ABSENT: Final = _Absent.ABSENT

_Level: TypeAlias = int | None | _Absent
"""A level; None: something is there that cannot be read; ABSENT: nothing is there."""

_Change: TypeAlias = tuple[str, _Level, _Level]
"""Name, level before, level after."""


def check_power_levels(case: Case) -> None:
    """Refuse power levels of the wrong shape, or beyond what the sender has the power to change.

    Raises: Refused.
    Spec: rooms/v12#authorisation-rules
    """
    _check_shape(case)
    current = case.find(("m.room.power_levels", ""))
    # 10.5 the first of the room
    if current is None:
        return
    power = case.levels.power_of(case.event.sender)
    _check_properties(case, current, power)
    _check_entries(case, current, power)
    _check_users(case, current, power)


def _check_shape(case: Case) -> None:
    content, version = case.event.content, case.version
    if version.integer_power_levels:
        # 10.1 levels that are no integers
        if any(type(content[name]) is not int for name in LEVEL_DEFAULTS if name in content):
            raise case.malformed("power_levels.properties", "a level is not an integer")
        # 10.2 events, notifications
        if not all(_holds_levels(version, content.get(name, {})) for name in ("events", "notifications")):
            raise case.malformed("power_levels.entries", "events and notifications hold integers")
    # 10.3 users
    users = content.get("users", {})
    if not _holds_levels(version, users) or not _are_users(users):
        raise case.malformed("power_levels.users", "users are user IDs with integers")
    # 10.4 creators
    if version.creators_are_supreme and not case.levels.creators.isdisjoint(users):
        raise case.malformed("power_levels.creators", "a creator has no power level")


def _holds_levels(version: RoomVersion, value: object) -> bool:
    return isinstance(value, dict) and all(read_level(version, level) is not None for level in value.values())


def _are_users(users: Iterable[str]) -> bool:
    try:
        return all(parse_user_id(user) for user in users)
    except BadIdentifier:
        return False


def _check_properties(case: Case, current: Event, power: int) -> None:
    # 10.6 the properties that hold one level; what is absent has its default
    before = _levels(case.version, current.content, LEVEL_DEFAULTS)
    after = _levels(case.version, case.event.content, LEVEL_DEFAULTS)
    for name, old, new in _changes(before, after):
        default = LEVEL_DEFAULTS[name]
        # 10.6.1 from a level above the sender
        if (old if isinstance(old, int) else default) > power:
            raise case.refused("power_levels.property.current", f"{name} is above the sender's level")
        # 10.6.2 to a level above the sender
        if new is None or (new if isinstance(new, int) else default) > power:
            raise case.refused("power_levels.property.new", f"{name} would be above the sender's level")


def _check_entries(case: Case, current: Event, power: int) -> None:
    names = ("events", "notifications") if case.version.notifications_level_checked else ("events",)
    changes = [change for name in names for change in _changes_in(case, current, name)]
    # 10.7 entries changed or taken away
    for key, old, _ in changes:
        # 10.7.1 from a level above the sender
        if isinstance(old, int) and old > power:
            raise case.refused("power_levels.entry_taken.current", f"{key} is above the sender's level")
    # 10.8 entries changed or added
    for key, _, new in changes:
        # 10.8.1 to a level above the sender
        if new is None or (isinstance(new, int) and new > power):
            raise case.refused("power_levels.entry_given.new", f"{key} would be above the sender's level")


def _check_users(case: Case, current: Event, power: int) -> None:
    changes = _changes_in(case, current, "users")
    # 10.9 users changed or taken away, but for the sender
    for user, old, _ in changes:
        # 10.9.1 who have the sender's level or more
        if user != case.event.sender and isinstance(old, int) and old >= power:
            raise case.refused("power_levels.user_taken.current", f"{user} has the sender's level or more")
    # 10.10 users changed or added
    for user, _, new in changes:
        # 10.10.1 to a level above the sender
        if isinstance(new, int) and new > power:
            raise case.refused("power_levels.user_given.new", f"{user} would be above the sender")


def _changes_in(case: Case, current: Event, name: str) -> list[_Change]:
    before, after = object_in(current.content, name), object_in(case.event.content, name)
    return _changes(_levels(case.version, before, before), _levels(case.version, after, after))


def _levels(version: RoomVersion, content: Mapping[str, Any], names: Iterable[str]) -> dict[str, int | None]:
    return {name: read_level(version, content[name]) for name in names if name in content}


def _changes(before: dict[str, int | None], after: dict[str, int | None]) -> list[_Change]:
    if before == after:
        return []
    pairs = ((name, before.get(name, _ABSENT), after.get(name, _ABSENT)) for name in before | after)
    return [change for change in pairs if change[1] != change[2]]
