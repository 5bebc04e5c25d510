"""Templates: the unsealed event that a server inside a room makes for one outside, which then seals it.

Spec: server-server-api#joining-rooms, server-server-api#knocking-rooms,
server-server-api#leaving-rooms-rejecting-invites
"""

from collections.abc import Mapping
from typing import Any

from federation import canonical
from federation.errors import BadEvent, BadIdentifier, BadJSON
from federation.event.format import (
    MAX_AUTH_EVENTS,
    MAX_PREV_EVENTS,
    check_numbers,
    check_references,
    object_in,
    parse_event_room_id,
    references_in,
)
from federation.event.seal import EventFields
from federation.ids import EventID, UserID, parse_user_id
from federation.versions import RoomVersion


def parse_template(template: object, version: RoomVersion, *, origin_server_ts: int) -> EventFields:
    """What a server inside the room proposes for a membership event of ours, to be sealed at `origin_server_ts`.

    The caller compares room, sender, state key and membership with what it asked for, before it seals anything;
    versions 1 and 2 also want an `opaque` of the caller's choice.

    Raises: BadEvent.
    Spec: server-server-api#get_matrixfederationv1make_joinroomiduserid
    """
    if not isinstance(template, dict) or template.get("type") != "m.room.member":
        raise BadEvent("not a template of a membership event")
    check_numbers(version, template.get("depth"), origin_server_ts)
    check_references(version, template.get("prev_events"), MAX_PREV_EVENTS)
    check_references(version, template.get("auth_events"), MAX_AUTH_EVENTS)
    content = object_in(template, "content")
    try:
        canonical.encode(content, max_depth=canonical.MAX_DEPTH - 1)
    except BadJSON as error:
        raise BadEvent(str(error)) from None
    return EventFields(
        type="m.room.member",
        sender=_parse_user(template, "sender"),
        state_key=_parse_user(template, "state_key"),
        room_id=parse_event_room_id(version, template.get("room_id")),
        content=content,
        prev_events=references_in(version, template["prev_events"]),
        auth_events=references_in(version, template["auth_events"]),
        depth=template["depth"],
        origin_server_ts=origin_server_ts,
        reference_hashes=_reference_hashes(version, template),
    )


def _parse_user(template: Mapping[str, Any], name: str) -> UserID:
    try:
        return parse_user_id(template.get(name))  # type: ignore[arg-type]  # whatever it is not is a BadIdentifier
    except BadIdentifier as error:
        raise BadEvent(f"{name}: {error}") from None


def _reference_hashes(version: RoomVersion, template: Mapping[str, Any]) -> dict[EventID, str]:
    if version.event_ids != "sent":
        return {}
    hashes = {event_id: by.get("sha256") for event_id, by in (*template["prev_events"], *template["auth_events"])}
    if not all(isinstance(text, str) for text in hashes.values()):
        raise BadEvent("a reference has no hash")
    return hashes
