"""Conditions of push rules, each compiled into a function of an event, its reader and the room.

What the specification does not know, or what is put wrongly, never matches.

Spec: client-server-api#conditions
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from federation.auth import PowerLevels
from federation.paths import parse_path
from homeserver.push.globs import compile_glob, compile_word_glob

ME: Final = "\0me"
"""In the server's own rules: the ID of whoever the rule is evaluated for."""


class Judged(Protocol):
    """What rules look at of an event."""

    @property
    def event_id(self) -> str:
        """The event's ID."""

    @property
    def room_id(self) -> str:
        """Its room."""

    @property
    def type(self) -> str:
        """Its type."""

    @property
    def sender(self) -> str:
        """Who sent it."""

    @property
    def state_key(self) -> str | None:
        """Its state key, None for a message."""

    @property
    def origin_server_ts(self) -> int:
        """When it was sent."""

    @property
    def content(self) -> Mapping[str, Any]:
        """Its content."""


class Setting(Protocol):
    """What rules may ask of the room; looked up only when a rule asks."""

    def member_count(self) -> int:
        """How many are joined."""

    def power_levels(self) -> PowerLevels:
        """Who may do what."""

    def display_name(self, user_id: str, /) -> str | None:
        """What that member is called in the room."""


Condition: TypeAlias = Callable[[Judged, str, Setting], bool]
"""Whether it holds for this event, for this user, in this room."""

_MISSING: Final = object()
_TOP: Final = frozenset({"event_id", "room_id", "type", "sender", "origin_server_ts"})
_COUNT: Final = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,15})")
_COMPARE: Final[Mapping[str | None, Callable[[int, int], bool]]] = {
    None: operator.eq,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def kind_of(condition: Mapping[str, Any]) -> str:
    """The kind of a condition, empty where it names none."""
    kind = condition.get("kind")
    return kind if isinstance(kind, str) else ""


def compile_conditions(conditions: Iterable[Mapping[str, Any]]) -> tuple[Condition, ...]:
    """A function for each condition, those that look outside the event last."""
    ordered = sorted(conditions, key=lambda condition: kind_of(condition) not in _OF_EVENT)
    return tuple(compile_condition(condition) for condition in ordered)


def compile_condition(condition: Mapping[str, Any]) -> Condition:
    """The function for one condition, as it stands in a rule."""
    compiler = COMPILERS.get(kind_of(condition))
    return (compiler(condition) if compiler else None) or _never


def body_matches(pattern: str) -> Condition:
    """The only condition of a content rule: the pattern stands in the body, at word boundaries."""
    matches = compile_word_glob(pattern)

    def holds(event: Judged, _user: str, _setting: Setting) -> bool:
        body = event.content.get("body")
        return isinstance(body, str) and matches(body)

    return holds


def _never(_event: Judged, _user: str, _setting: Setting) -> bool:
    return False


def _find(event: Judged, path: tuple[str, ...]) -> Any:
    """The value at that path, or `_MISSING`."""
    top = path[0]
    if top in _TOP:
        return getattr(event, top) if len(path) == 1 else _MISSING
    if top == "state_key" and len(path) == 1:
        return _MISSING if event.state_key is None else event.state_key
    if top != "content":
        return _MISSING
    value: Any = event.content
    for name in path[1:]:
        value = value.get(name, _MISSING) if isinstance(value, dict) else _MISSING
    return value


def _is_same(value: object, wanted: object) -> bool:
    """Equal as JSON: true is not 1, and objects, arrays and fractions are nothing's equal."""
    return type(value) is type(wanted) and value == wanted


def _is_simple(value: object) -> bool:
    return value is None or type(value) in (str, int, bool)


def _event_match(condition: Mapping[str, Any]) -> Condition | None:
    key, pattern = condition.get("key"), condition.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return None
    path = parse_path(key)
    if path == ("content", "body"):
        return body_matches(pattern)
    if pattern == ME:
        return lambda event, user, _setting: _find(event, path) == user
    matches = compile_glob(pattern)

    def holds(event: Judged, _user: str, _setting: Setting) -> bool:
        value = _find(event, path)
        return isinstance(value, str) and matches(value)

    return holds


def _event_property_is(condition: Mapping[str, Any]) -> Condition | None:
    key, wanted = condition.get("key"), condition.get("value", _MISSING)
    if not isinstance(key, str) or not _is_simple(wanted):
        return None
    path = parse_path(key)
    return lambda event, _user, _setting: _is_same(_find(event, path), wanted)


def _event_property_contains(condition: Mapping[str, Any]) -> Condition | None:
    key, wanted = condition.get("key"), condition.get("value", _MISSING)
    if not isinstance(key, str) or not _is_simple(wanted):
        return None
    path = parse_path(key)

    def holds(event: Judged, user: str, _setting: Setting) -> bool:
        values = _find(event, path)
        if not isinstance(values, list):
            return False
        sought = user if wanted == ME else wanted
        return any(_is_same(value, sought) for value in values)

    return holds


def _contains_display_name(_condition: Mapping[str, Any]) -> Condition:
    def holds(event: Judged, user: str, setting: Setting) -> bool:
        body = event.content.get("body")
        if not isinstance(body, str):
            return False
        name = setting.display_name(user)
        return bool(name) and _stands_in(str(name), body)

    return holds


def _stands_in(name: str, body: str) -> bool:
    """Whether the name stands in the body at word boundaries; it is no pattern."""
    name, body = name.lower(), body.lower()
    at = body.find(name)
    while at >= 0:
        if _is_boundary(body, at) and _is_boundary(body, at + len(name)):
            return True
        at = body.find(name, at + 1)
    return False


def _is_boundary(text: str, at: int) -> bool:
    return at in (0, len(text)) or not (_is_word(text[at - 1]) and _is_word(text[at]))


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _room_member_count(condition: Mapping[str, Any]) -> Condition | None:
    wanted = condition.get("is")
    found = _COUNT.fullmatch(wanted) if isinstance(wanted, str) else None
    if found is None:
        return None
    compare, count = _COMPARE[found[1]], int(found[2])
    return lambda _event, _user, setting: compare(setting.member_count(), count)


def _sender_notification_permission(condition: Mapping[str, Any]) -> Condition | None:
    key = condition.get("key")
    if not isinstance(key, str):
        return None

    def holds(event: Judged, _user: str, setting: Setting) -> bool:
        levels = setting.power_levels()
        return levels.power_of(event.sender) >= levels.level_for_notification(key)

    return holds


COMPILERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Condition | None]]] = {
    "event_match": _event_match,
    "event_property_is": _event_property_is,
    "event_property_contains": _event_property_contains,
    "contains_display_name": _contains_display_name,
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
}
"""By kind: makes the function, or gives None for a condition that is put wrongly."""

_OF_EVENT: Final = frozenset({"event_match", "event_property_is", "event_property_contains"})
