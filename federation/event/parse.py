"""From the bytes of another server, or of our own storage, to an event."""

from collections.abc import Mapping
from typing import Any

import msgspec

from federation import canonical
from federation.errors import BadEvent, BadJSON
from federation.event.format import (
    check_format,
    find_redacts,
    makes_room_id,
    object_in,
    parse_event_room_id,
    parse_sent_id,
    references_in,
)
from federation.hashes import essential_part, event_id_of
from federation.ids import EventID, RoomID
from federation.pdu import Event, check_event_size
from federation.versions import RoomVersion


def parse_event(pdu: Mapping[str, Any] | bytes, version: RoomVersion) -> Event:
    """The event another server sent, if it has the format of its room version; hashes and signatures are checked later.

    Raises: BadEvent, and its kind EventTooLarge when the event is well formed so far but too large.
    Spec: server-server-api#checks-performed-on-receipt-of-a-pdu, step 1
    """
    pdu = _parse_object(pdu)
    unsigned = object_in(pdu, "unsigned") if "unsigned" in pdu else {}
    signed = {name: value for name, value in pdu.items() if name != "unsigned"}
    raw = _encode(version, signed)
    check_event_size(raw)
    if unsigned:
        check_event_size(_encode(version, unsigned))
    check_format(version, signed)
    event_id, room_id = _parse_identity(version, signed)
    return _build_event(version, signed, raw, (event_id, room_id), unsigned)


def revive_event(version: RoomVersion, raw: bytes, *, event_id: EventID, room_id: RoomID) -> Event:
    """An event that was parsed or sealed before and kept as its `raw`, without `unsigned`; nothing is checked again."""
    return _build_event(version, msgspec.json.decode(raw), raw, (event_id, room_id), {})


def revive_stripped(version: RoomVersion, room_id: RoomID, stripped: Mapping[str, Any]) -> Event:
    """A state event of which no more is known than its stripped form, for whoever only looks at that: it has no ID.

    Spec: client-server-api#stripped-state
    """
    pdu = {"prev_events": [], "auth_events": [], "depth": 0, "origin_server_ts": 0, "hashes": {}, "signatures": {}}
    return _build_event(version, {**pdu, **stripped}, b"", (EventID(""), room_id), {})


def _parse_object(pdu: Mapping[str, Any] | bytes) -> Mapping[str, Any]:
    value: object = pdu
    if isinstance(pdu, bytes):
        try:
            value = canonical.decode(pdu)
        except BadJSON as error:
            raise BadEvent(str(error)) from None
    if not isinstance(value, dict):
        raise BadEvent("not an object")
    return value


def _encode(version: RoomVersion, value: object) -> bytes:
    """Canonical JSON as strict as the version demands. Spec: rooms/v6#canonical-json"""
    try:
        return canonical.encode(value, strict=version.strict_canonical_json)
    except BadJSON as error:
        raise BadEvent(str(error)) from None


def _parse_identity(version: RoomVersion, pdu: Mapping[str, Any]) -> tuple[EventID, RoomID]:
    """The event's ID, sent or computed, and its room's.

    Spec: rooms/v1#event-ids, rooms/v4#event-ids, rooms/v12#event-format
    """
    if version.event_ids == "sent":
        event_id = parse_sent_id(pdu.get("event_id"))
    else:
        event_id = event_id_of(version, essential_part(version, pdu))
    if makes_room_id(version, pdu["type"], pdu.get("state_key"), has_room_id="room_id" in pdu):
        return event_id, RoomID("!" + event_id[1:])
    return event_id, parse_event_room_id(version, pdu.get("room_id"))


def _build_event(
    version: RoomVersion,
    pdu: Mapping[str, Any],
    raw: bytes,
    identity: tuple[EventID, RoomID],
    unsigned: Mapping[str, Any],
) -> Event:
    event_id, room_id = identity
    return Event(
        version=version,
        event_id=event_id,
        room_id=room_id,
        type=pdu["type"],
        state_key=pdu.get("state_key"),
        sender=pdu["sender"],
        content=pdu["content"],
        prev_events=references_in(version, pdu["prev_events"]),
        auth_events=references_in(version, pdu["auth_events"]),
        depth=pdu["depth"],
        origin_server_ts=pdu["origin_server_ts"],
        redacts=find_redacts(version, pdu["type"], pdu),
        hashes=pdu["hashes"],
        signatures=pdu["signatures"],
        unsigned=unsigned,
        raw=raw,
    )
