"""The rules every account starts with, as data: most important first within a kind.

Spec: client-server-api#predefined-rules
"""

from collections.abc import Mapping
from typing import Any, Final

from homeserver.push.conditions import ME

MASTER: Final = ".m.rule.master"
"""The one default rule that goes before people's own."""

_NOTIFY: Final = "notify"
_HIGHLIGHT: Final = {"set_tweak": "highlight"}


def _sound(name: str) -> dict[str, Any]:
    return {"set_tweak": "sound", "value": name}


def _match(key: str, pattern: str) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _is_type(event_type: str) -> dict[str, Any]:
    return {"kind": "event_property_is", "key": "type", "value": event_type}


_TWO_MEMBERS: Final = {"kind": "room_member_count", "is": "2"}


def _notify_of_poll(rule: str, poll: str, what: str) -> tuple[tuple[str, list[dict[str, Any]], list[Any]], ...]:
    """A poll that starts or ends is told of like a message."""
    started = _is_type(f"{poll}.{what}")
    return (
        (f"{rule}.poll_{what}_one_to_one", [_TWO_MEMBERS, started], [_NOTIFY, _sound("default")]),
        (f"{rule}.poll_{what}", [started], [_NOTIFY]),
    )


_POLLS: Final = ((".m.rule", "m.poll"), (".org.matrix.msc3930.rule", "org.matrix.msc3381.poll"))
"""The names of the rules about polls and of what they are about: those MSC3930 is accepted with, and its own."""

OVERRIDE: Final[tuple[tuple[str, list[dict[str, Any]], list[Any]], ...]] = (
    (MASTER, [], []),
    (".m.rule.suppress_notices", [_match("content.msgtype", "m.notice")], []),
    (
        ".m.rule.invite_for_me",
        [_match("type", "m.room.member"), _match("content.membership", "invite"), _match("state_key", ME)],
        [_NOTIFY, _sound("default")],
    ),
    (".m.rule.member_event", [_match("type", "m.room.member")], []),
    (
        ".m.rule.is_user_mention",
        [{"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": ME}],
        [_NOTIFY, _sound("default"), _HIGHLIGHT],
    ),
    (
        ".m.rule.is_room_mention",
        [
            {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
            {"kind": "sender_notification_permission", "key": "room"},
        ],
        [_NOTIFY, _HIGHLIGHT],
    ),
    (".m.rule.tombstone", [_match("type", "m.room.tombstone"), _match("state_key", "")], [_NOTIFY, _HIGHLIGHT]),
    (".m.rule.reaction", [_match("type", "m.reaction")], []),
    (".m.rule.room.server_acl", [_match("type", "m.room.server_acl"), _match("state_key", "")], []),
    *((f"{rule}.poll_response", [_is_type(f"{poll}.response")], []) for rule, poll in _POLLS),
    (
        ".m.rule.suppress_edits",
        [{"kind": "event_property_is", "key": r"content.m\.relates_to.rel_type", "value": "m.replace"}],
        [],
    ),
)
"""Rule ID, conditions, actions."""

UNDERRIDE: Final[tuple[tuple[str, list[dict[str, Any]], list[Any]], ...]] = (
    (".m.rule.call", [_match("type", "m.call.invite")], [_NOTIFY, _sound("ring")]),
    (
        ".m.rule.encrypted_room_one_to_one",
        [_TWO_MEMBERS, _match("type", "m.room.encrypted")],
        [_NOTIFY, _sound("default")],
    ),
    (".m.rule.room_one_to_one", [_TWO_MEMBERS, _match("type", "m.room.message")], [_NOTIFY, _sound("default")]),
    (".m.rule.message", [_match("type", "m.room.message")], [_NOTIFY]),
    (".m.rule.encrypted", [_match("type", "m.room.encrypted")], [_NOTIFY]),
    *(each for rule, poll in _POLLS for what in ("start", "end") for each in _notify_of_poll(rule, poll, what)),
)
"""Rule ID, conditions, actions."""

DEFAULTS: Final[Mapping[str, tuple[tuple[str, list[dict[str, Any]], list[Any]], ...]]] = {
    "override": OVERRIDE,
    "underride": UNDERRIDE,
}
"""The default rules by kind; the other kinds have none."""

DISABLED: Final = frozenset({MASTER})
"""The default rules that are off until somebody turns them on."""
