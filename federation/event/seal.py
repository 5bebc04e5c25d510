"""Our own events: hashed, signed, named and encoded, each part once. This is on the path of every message."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from federation import canonical
from federation.ed25519 import SigningKey
from federation.errors import BadEvent, BadJSON
from federation.event.format import (
    MAX_AUTH_EVENTS,
    MAX_PREV_EVENTS,
    check_numbers,
    check_sizes,
    find_redacts,
    makes_room_id,
)
from federation.hashes import event_id_of
from federation.ids import EventID, RoomID, ServerName, UserID
from federation.pdu import Event, check_event_size
from federation.redaction import redact_content
from federation.unpadded import encode_base64
from federation.versions import RoomVersion


class EventFields(msgspec.Struct, frozen=True, kw_only=True):
    """What makes an event, before it is hashed, signed and named.

    `room_id` is None for the create event of a version whose room ID is its hash. `redacts` is put where the version
    wants it. Only versions 1 and 2 need `opaque`, the local part of the event ID, and `reference_hashes`, by ID, of the
    events referred to.
    """

    type: str
    sender: UserID
    room_id: RoomID | None
    content: Mapping[str, Any]
    prev_events: tuple[EventID, ...]
    auth_events: tuple[EventID, ...]
    depth: int
    origin_server_ts: int
    state_key: str | None = None
    redacts: EventID | None = None
    opaque: str | None = None
    reference_hashes: Mapping[EventID, str] = msgspec.field(default_factory=dict)


def seal_event(version: RoomVersion, fields: EventFields, *, server: ServerName, key: SigningKey) -> Event:
    """Our own event: hashed, signed as `server`, named, and encoded for all who will get it.

    Raises: BadEvent when the content is not canonical JSON or a number out of bounds; its kind EventTooLarge.
    Spec: server-server-api#adding-hashes-and-signatures-to-outgoing-events
    """
    makes_room_id(version, fields.type, fields.state_key, has_room_id=fields.room_id is not None)
    content = _place_redacts(version, fields)
    pdu = _build_unsealed(version, fields, _encode_content(content), server)
    hashes = {"sha256": encode_base64(sha256(canonical.encode_checked(pdu)).digest())}
    pdu["hashes"] = hashes
    essential = {**pdu, "content": redact_content(version, fields.type, content)}
    essential.pop("redacts", None)
    signed = canonical.encode_checked(essential)
    signatures: dict[str, dict[str, str]] = {server: {key.key_id: encode_base64(key.sign(signed))}}
    pdu["signatures"] = signatures
    raw = canonical.encode_checked(pdu)
    check_event_size(raw)
    event_id = pdu["event_id"] if version.event_ids == "sent" else event_id_of(version, signed)
    return Event(
        version=version,
        event_id=event_id,
        room_id=fields.room_id or RoomID("!" + event_id[1:]),
        type=fields.type,
        state_key=fields.state_key,
        sender=fields.sender,
        content=content,
        prev_events=fields.prev_events,
        auth_events=fields.auth_events,
        depth=fields.depth,
        origin_server_ts=fields.origin_server_ts,
        redacts=find_redacts(version, fields.type, {"content": content, "redacts": fields.redacts}),
        hashes=hashes,
        signatures=signatures,
        unsigned={},
        raw=raw,
    )


def _place_redacts(version: RoomVersion, fields: EventFields) -> Mapping[str, Any]:
    """The content, with the target of a redaction in it where the version wants it there."""
    if fields.redacts is not None and version.redacts_in_content:
        return {**fields.content, "redacts": fields.redacts}
    return fields.content


def _build_unsealed(
    version: RoomVersion, fields: EventFields, content: msgspec.Raw, server: ServerName
) -> dict[str, Any]:
    """The event without hashes and signatures."""
    check_sizes(fields.type, fields.state_key)
    check_numbers(version, fields.depth, fields.origin_server_ts)
    if len(fields.prev_events) > MAX_PREV_EVENTS or len(fields.auth_events) > MAX_AUTH_EVENTS:
        raise BadEvent("too many prev_events or auth_events")
    pdu: dict[str, Any] = {
        "auth_events": _encode_references(version, fields, fields.auth_events),
        "content": content,
        "depth": fields.depth,
        "origin_server_ts": fields.origin_server_ts,
        "prev_events": _encode_references(version, fields, fields.prev_events),
        "sender": fields.sender,
        "type": fields.type,
    }
    if fields.room_id is not None:
        pdu["room_id"] = fields.room_id
    if fields.state_key is not None:
        pdu["state_key"] = fields.state_key
    if fields.redacts is not None and not version.redacts_in_content:
        pdu["redacts"] = fields.redacts
    if version.event_ids == "sent":
        pdu["event_id"] = _name_event(fields, server)
    return pdu


def _name_event(fields: EventFields, server: ServerName) -> EventID:
    if fields.opaque is None:
        raise ValueError("an event of versions 1 and 2 needs an opaque name")
    return EventID(f"${fields.opaque}:{server}")


def _encode_content(content: Mapping[str, Any]) -> msgspec.Raw:
    try:
        return msgspec.Raw(canonical.encode(content, max_depth=canonical.MAX_DEPTH - 1))
    except BadJSON as error:
        raise BadEvent(str(error)) from None


def _encode_references(version: RoomVersion, fields: EventFields, event_ids: tuple[EventID, ...]) -> list[Any]:
    if version.event_ids == "sent":
        return [[event_id, {"sha256": fields.reference_hashes[event_id]}] for event_id in event_ids]
    return list(event_ids)
