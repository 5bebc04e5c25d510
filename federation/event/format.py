"""The event format of each room version: which fields there are, of which type, how large.

Everything here takes what a stranger sent, any JSON at all, and raises `BadEvent` and nothing else.

Spec: rooms/v1#event-format, rooms/v3#event-format, rooms/v6#event-format, rooms/v12#event-format
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from federation.errors import BadEvent, BadIdentifier, EventTooLarge
from federation.ids import EventID, RoomID, find_server_of, fits, parse_event_id, parse_room_id, parse_user_id
from federation.versions import RoomVersion

MAX_PREV_EVENTS: Final = 20
MAX_AUTH_EVENTS: Final = 10

_HASH_ID: Final = {"hash": re.compile(r"\$[0-9A-Za-z+/]{43}"), "urlsafe": re.compile(r"\$[0-9A-Za-z_-]{43}")}


def check_format(version: RoomVersion, pdu: Mapping[str, Any]) -> None:
    """Check every field but those that identify the event and its room.

    Raises: BadEvent.
    """
    _check_strings(pdu)
    check_sizes(pdu["type"], pdu.get("state_key"))
    check_numbers(version, pdu.get("depth"), pdu.get("origin_server_ts"))
    check_references(version, pdu.get("prev_events"), MAX_PREV_EVENTS)
    check_references(version, pdu.get("auth_events"), MAX_AUTH_EVENTS)
    object_in(pdu, "content")
    if not isinstance(object_in(pdu, "hashes").get("sha256"), str):
        raise BadEvent("hashes has no sha256")
    _check_signatures(object_in(pdu, "signatures"))


def object_in(pdu: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under that name. Raises: BadEvent when there is none."""
    value = pdu.get(name)
    if not isinstance(value, dict):
        raise BadEvent(f"{name} is not an object")
    return value


def check_sizes(event_type: str, state_key: str | None) -> None:
    """Check the fields whose size is limited whatever the event holds.

    Raises: EventTooLarge.
    Spec: client-server-api#size-limits
    """
    if not fits(event_type) or not fits(state_key or ""):
        raise EventTooLarge("type or state_key is longer than 255 bytes")


def check_numbers(version: RoomVersion, depth: object, origin_server_ts: object) -> None:
    """Check that both are integers (true is none) which databases and other servers can hold.

    Raises: BadEvent.
    Spec: rooms/v1#event-format, rooms/v6#event-format
    """
    if type(depth) is not int or not 0 <= depth <= version.max_depth:
        raise BadEvent("depth is out of bounds")
    if type(origin_server_ts) is not int or not -version.max_depth <= origin_server_ts <= version.max_depth:
        raise BadEvent("origin_server_ts is out of bounds")


def check_references(version: RoomVersion, references: object, most: int) -> None:
    """Check `prev_events` or `auth_events`: at most so many, each in the form of the version.

    Raises: BadEvent.
    """
    if not isinstance(references, list) or len(references) > most:
        raise BadEvent("prev_events or auth_events is not a list, or too long")
    for reference in references:
        if version.event_ids == "sent":
            _check_pair(reference)
        elif not isinstance(reference, str) or _HASH_ID[version.event_ids].fullmatch(reference) is None:
            raise BadEvent("a reference is not an event ID of this version")


def references_in(version: RoomVersion, references: list[Any]) -> tuple[EventID, ...]:
    """The event IDs of references that were checked before."""
    return tuple(pair[0] for pair in references) if version.event_ids == "sent" else tuple(references)


def parse_sent_id(text: Any) -> EventID:
    """The ID that an event of versions 1 and 2 carries.

    Raises: BadEvent.
    Spec: rooms/v1#event-ids
    """
    try:
        event_id = parse_event_id(text)
    except BadIdentifier as error:
        raise BadEvent(f"event ID: {error}") from None
    if find_server_of(event_id) is None:
        raise BadEvent("an event ID of this version has a domain")
    return event_id


def parse_event_room_id(version: RoomVersion, text: Any) -> RoomID:
    """The room ID an event carries: with a domain, or a hash, as the version has it.

    Raises: BadEvent.
    Spec: rooms/v12#event-format
    """
    try:
        room_id = parse_room_id(text)
    except BadIdentifier as error:
        raise BadEvent(f"room_id: {error}") from None
    if (find_server_of(room_id) is None) != version.room_id_is_create_hash:
        raise BadEvent("room_id is not of this room version's form")
    return room_id


def makes_room_id(version: RoomVersion, event_type: str, state_key: str | None, *, has_room_id: bool) -> bool:
    """Whether this is the create event of a version whose room ID is that event's hash; it, and no other, has no
    `room_id`.

    Raises: BadEvent when `room_id` is there and must not be, or is missing, or such a create event has another state
    key than "".
    Spec: rooms/v12#authorisation-rules
    """
    makes = version.room_id_is_create_hash and event_type == "m.room.create"
    if makes == has_room_id:
        raise BadEvent("room_id is missing, or stands in the create event that it is made of")
    if makes and state_key != "":
        raise BadEvent("the create event has another state key")
    return makes


def find_redacts(version: RoomVersion, event_type: str, pdu: Mapping[str, Any]) -> EventID | None:
    """The target of a redaction, from where the version puts it; None when what stands there could name no event.

    Spec: rooms/v11#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
    """
    if event_type != "m.room.redaction":
        return None
    target = (pdu["content"] if version.redacts_in_content else pdu).get("redacts")
    if not isinstance(target, str) or target[:1] != "$" or not fits(target) or "\0" in target:
        return None
    return EventID(target)


def _check_strings(pdu: Mapping[str, Any]) -> None:
    for name in ("type", "sender"):
        if not isinstance(pdu.get(name), str):
            raise BadEvent(f"{name} is not a string")
    for name in ("state_key", "redacts"):
        if name in pdu and not isinstance(pdu[name], str):
            raise BadEvent(f"{name} is not a string")
    try:
        parse_user_id(pdu["sender"])
    except BadIdentifier as error:
        raise BadEvent(f"sender: {error}") from None


def _check_pair(reference: object) -> None:
    """Versions 1 and 2 refer to an event by its ID and hash; the hash is not looked at, as nobody could rely on it."""
    if not isinstance(reference, list) or len(reference) != 2 or not isinstance(reference[1], dict):
        raise BadEvent("a reference is not a pair of event ID and hash")
    parse_sent_id(reference[0])


def _check_signatures(signatures: Mapping[str, Any]) -> None:
    for by_server in signatures.values():
        if not isinstance(by_server, dict) or not all(isinstance(text, str) for text in by_server.values()):
            raise BadEvent("signatures is not an object of objects of strings")
