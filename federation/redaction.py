"""Redaction: which keys of an event survive when it is redacted, and therefore which are signed and named by its ID.

Spec: client-server-api#redactions, rooms/v11#redactions
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec

from federation import canonical
from federation.pdu import Event
from federation.versions import RoomVersion

_KEPT: Final = frozenset(
    {
        "event_id",
        "type",
        "room_id",
        "sender",
        "state_key",
        "content",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "auth_events",
        "origin_server_ts",
    }
)
_KEPT_BEFORE_V11: Final = _KEPT | {"prev_state", "origin", "membership"}

_POWER_LEVELS: Final = frozenset(
    {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
)


def redact(version: RoomVersion, pdu: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the event with only what its room version protects from redaction; `unsigned` goes too.

    Spec: rooms/v1#redactions, rooms/v6#redactions, rooms/v8#redactions, rooms/v9#redactions, rooms/v11#redactions
    """
    kept = _KEPT if version.redaction_clarified else _KEPT_BEFORE_V11
    pruned = {name: value for name, value in pdu.items() if name in kept}
    pruned["content"] = redact_content(version, pdu.get("type"), pdu.get("content"))
    return pruned


def redact_content(version: RoomVersion, event_type: object, content: object) -> dict[str, Any]:
    """What is left of the content of an event of that type.

    Spec: rooms/v11#redactions
    """
    if not isinstance(event_type, str) or not isinstance(content, dict):
        return {}
    if event_type == "m.room.create" and version.redaction_clarified:
        return dict(content)
    protected = _protected_content(version).get(event_type)
    if protected is None:
        return {}
    kept = {name: content[name] for name in protected if name in content}
    if event_type == "m.room.member" and version.redaction_clarified:
        kept |= _redact_invite(content.get("third_party_invite"))
    return kept


def redact_event(event: Event) -> Event:
    """The event as it is after its redaction; its ID and signatures stay good.

    Spec: client-server-api#redactions
    """
    pruned = redact(event.version, event.pdu())
    return msgspec.structs.replace(
        event,
        content=pruned["content"],
        redacts=event.redacts if event.version.redacts_in_content else None,
        unsigned={},
        raw=canonical.encode(pruned, strict=event.version.strict_canonical_json),
    )


def _redact_invite(invite: object) -> dict[str, Any]:
    """The key itself stays, but only `signed` stays in it."""
    if not isinstance(invite, dict):
        return {}
    return {"third_party_invite": {"signed": invite["signed"]} if "signed" in invite else {}}


@cache
def _protected_content(version: RoomVersion) -> Mapping[str, frozenset[str]]:
    """Which keys of `content` survive, by event type; types not named lose all."""
    protected = {
        "m.room.member": frozenset({"membership"}),
        "m.room.create": frozenset({"creator"}),
        "m.room.join_rules": frozenset({"join_rule"}),
        "m.room.power_levels": _POWER_LEVELS,
        "m.room.history_visibility": frozenset({"history_visibility"}),
    }
    if version.redaction_keeps_aliases:
        protected["m.room.aliases"] = frozenset({"aliases"})
    if version.redaction_keeps_allow:
        protected["m.room.join_rules"] |= {"allow"}
    if version.redaction_keeps_authoriser:
        protected["m.room.member"] |= {"join_authorised_via_users_server"}
    if version.redaction_clarified:
        protected["m.room.power_levels"] |= {"invite"}
        protected["m.room.redaction"] = frozenset({"redacts"})
    return protected
