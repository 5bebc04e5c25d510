"""Events: those of other servers read strictly, our own sealed.

`parse_event` is for what strangers send, `revive_event` for what our own storage kept, `seal_event` for what our people
do.

Spec: server-server-api#pdus, rooms/v12#event-format
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from federation import canonical
from federation.errors import BadEvent, BadIdentifier, BadJSON, EventTooLarge
from federation.hashes import essential_bytes, event_id_of
from federation.ids import (
    EventID,
    RoomID,
    ServerName,
    UserID,
    find_server_of,
    fits,
    parse_event_id,
    parse_room_id,
    parse_user_id,
)
from federation.pdu import Event, StrippedState, encode_client_event, stripped_state
from federation.redaction import redact_content
from federation.signatures import SigningKey
from federation.unpadded import encode_base64
from federation.versions import RoomVersion

__all__ = [
    "Event",
    "EventFields",
    "StrippedState",
    "encode_client_event",
    "parse_event",
    "revive_event",
    "seal_event",
    "stripped_state",
]

MAX_EVENT_BYTES: Final = 65536
"""What an event may measure as canonical JSON, signatures included. Spec: client-server-api#size-limits"""
MAX_PREV_EVENTS: Final = 20
MAX_AUTH_EVENTS: Final = 10
_MAX_INT64: Final = 2**63 - 1

_HASH_ID: Final = {"hash": re.compile(r"\$[0-9A-Za-z+/]{43}"), "urlsafe": re.compile(r"\$[0-9A-Za-z_-]{43}")}


class EventFields(msgspec.Struct, frozen=True, kw_only=True):
    """What makes an event, before it is hashed, signed and named.

    `room_id` is None for the create event of a version whose room ID is its hash. `redacts` is put where the version
    wants it.
    Only versions 1 and 2 need `opaque`, the local part of the event ID, and `reference_hashes`, by ID, of the events
    referred to.
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


def parse_event(pdu: Mapping[str, Any] | bytes, version: RoomVersion) -> Event:
    """The event another server sent, if it has the format of its room version; hashes and signatures are checked
    elsewhere.

    Raises: BadEvent (EventTooLarge when only its size is wrong).
    Spec: server-server-api#checks-performed-on-receipt-of-a-pdu (step 1), client-server-api#size-limits
    """
    pdu = _parse_object(pdu)
    unsigned = _object_in(pdu, "unsigned") if "unsigned" in pdu else {}
    signed = {name: value for name, value in pdu.items() if name != "unsigned"}
    try:
        canonical.encode(unsigned, strict=version.strict_canonical_json)
        raw = canonical.encode(signed, strict=version.strict_canonical_json)
    except BadJSON as error:
        raise BadEvent(str(error)) from None
    if len(raw) > MAX_EVENT_BYTES:
        raise EventTooLarge("the event is larger than 65536 bytes")
    _check_format(version, signed)
    event_id, room_id = _parse_identity(version, signed)
    return _build_event(version, signed, event_id=event_id, room_id=room_id, unsigned=unsigned, raw=raw)


def revive_event(
    version: RoomVersion, raw: bytes, *, event_id: EventID, room_id: RoomID, unsigned: Mapping[str, Any] | None = None
) -> Event:
    """An event that was parsed or sealed before and kept as its `raw`; nothing is checked again."""
    pdu = msgspec.json.decode(raw)
    return _build_event(version, pdu, event_id=event_id, room_id=room_id, unsigned=unsigned or {}, raw=raw)


def seal_event(version: RoomVersion, fields: EventFields, *, server: ServerName, key: SigningKey) -> Event:
    """Our own event: hashed, signed as `server`, named, and encoded once for all who will get it.

    Raises: BadEvent when the content is not canonical JSON or a number is out of bounds; EventTooLarge.
    Spec: server-server-api#adding-hashes-and-signatures-to-outgoing-events
    """
    content = _sealed_content(version, fields)
    pdu = _unsealed_pdu(version, fields, content, server)
    hashes = {"sha256": encode_base64(sha256(canonical.encode_checked(pdu)).digest())}
    pdu["hashes"] = hashes
    essential = {**pdu, "content": redact_content(version, fields.type, content)}
    essential.pop("redacts", None)
    signed = canonical.encode_checked(essential)
    signatures: dict[str, dict[str, str]] = {server: {key.key_id: encode_base64(key.sign(signed))}}
    pdu["signatures"] = signatures
    raw = canonical.encode_checked(pdu)
    if len(raw) > MAX_EVENT_BYTES:
        raise EventTooLarge("the event is larger than 65536 bytes")
    event_id = pdu["event_id"] if version.event_ids == "sent" else event_id_of(version, signed)
    return Event(
        version=version,
        event_id=event_id,
        room_id=RoomID("!" + event_id[1:]) if fields.room_id is None else fields.room_id,
        type=fields.type,
        state_key=fields.state_key,
        sender=fields.sender,
        content=content,
        prev_events=fields.prev_events,
        auth_events=fields.auth_events,
        depth=fields.depth,
        origin_server_ts=fields.origin_server_ts,
        redacts=_find_redacts(version, fields.type, content if version.redacts_in_content else pdu),
        hashes=hashes,
        signatures=signatures,
        unsigned={},
        raw=raw,
    )


def _sealed_content(version: RoomVersion, fields: EventFields) -> Mapping[str, Any]:
    if fields.redacts is not None and version.redacts_in_content:
        return {**fields.content, "redacts": fields.redacts}
    return fields.content


def _unsealed_pdu(
    version: RoomVersion, fields: EventFields, content: Mapping[str, Any], server: ServerName
) -> dict[str, Any]:
    """Everything but hashes and signatures, the content already encoded."""
    _check_sizes(fields.type, fields.state_key)
    _check_numbers(version, fields.depth, fields.origin_server_ts)
    if len(fields.prev_events) > MAX_PREV_EVENTS or len(fields.auth_events) > MAX_AUTH_EVENTS:
        raise BadEvent("too many prev_events or auth_events")
    try:
        encoded = canonical.encode(content, max_depth=canonical.MAX_DEPTH - 1)
    except BadJSON as error:
        raise BadEvent(str(error)) from None
    pdu: dict[str, Any] = {
        "auth_events": _encode_references(version, fields.auth_events, fields.reference_hashes),
        "content": msgspec.Raw(encoded),
        "depth": fields.depth,
        "origin_server_ts": fields.origin_server_ts,
        "prev_events": _encode_references(version, fields.prev_events, fields.reference_hashes),
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
        pdu["event_id"] = EventID(f"${fields.opaque}:{server}")
    return pdu


def _encode_references(
    version: RoomVersion, event_ids: tuple[EventID, ...], reference_hashes: Mapping[EventID, str]
) -> tuple[object, ...]:
    if version.event_ids == "sent":
        return tuple((event_id, {"sha256": reference_hashes[event_id]}) for event_id in event_ids)
    return event_ids


def _parse_object(pdu: Mapping[str, Any] | bytes) -> Mapping[str, Any]:
    if isinstance(pdu, bytes):
        try:
            pdu = canonical.decode(pdu)  # type: ignore[assignment]
        except BadJSON as error:
            raise BadEvent(str(error)) from None
    if not isinstance(pdu, dict):
        raise BadEvent("not an object")
    return pdu


def _object_in(pdu: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = pdu.get(name)
    if type(value) is not dict:
        raise BadEvent(f"{name} is not an object")
    return value


def _check_format(version: RoomVersion, pdu: Mapping[str, Any]) -> None:
    """The types and bounds of every field but those that identify the event and its room.

    Spec: rooms/v1#event-format, rooms/v3#event-format, rooms/v6#event-format
    """
    for name in ("type", "sender"):
        if not isinstance(pdu.get(name), str):
            raise BadEvent(f"{name} is not a string")
    for name in ("state_key", "redacts"):
        if name in pdu and not isinstance(pdu[name], str):
            raise BadEvent(f"{name} is not a string")
    _check_sizes(pdu["type"], pdu.get("state_key"))
    _check_numbers(version, pdu.get("depth"), pdu.get("origin_server_ts"))
    _check_references(version, pdu.get("prev_events"), MAX_PREV_EVENTS)
    _check_references(version, pdu.get("auth_events"), MAX_AUTH_EVENTS)
    _object_in(pdu, "content")
    if not isinstance(_object_in(pdu, "hashes").get("sha256"), str):
        raise BadEvent("hashes has no sha256")
    _check_signatures_format(_object_in(pdu, "signatures"))
    try:
        parse_user_id(pdu["sender"])
    except BadIdentifier as error:
        raise BadEvent(f"sender: {error}") from None


def _check_sizes(event_type: str, state_key: str | None) -> None:
    """No NUL either: it is legal, but no database could file the event under it."""
    for name, text in (("type", event_type), ("state_key", state_key or "")):
        if not fits(text):
            raise EventTooLarge(f"{name} is longer than 255 bytes")
        if "\0" in text:
            raise BadEvent(f"{name} holds a NUL")


def _check_numbers(version: RoomVersion, depth: object, origin_server_ts: object) -> None:
    if type(depth) is not int or not 0 <= depth <= version.max_depth:
        raise BadEvent("depth is out of bounds")
    if type(origin_server_ts) is not int or not -version.max_depth <= origin_server_ts <= version.max_depth:
        raise BadEvent("origin_server_ts is out of bounds")


def _check_references(version: RoomVersion, references: object, most: int) -> None:
    if not isinstance(references, list) or len(references) > most:
        raise BadEvent("prev_events or auth_events is not a list, or too long")
    for reference in references:
        if version.event_ids == "sent":
            _check_pair(reference)
        elif not isinstance(reference, str) or _HASH_ID[version.event_ids].fullmatch(reference) is None:
            raise BadEvent("a reference is not an event ID")


def _check_pair(reference: object) -> None:
    """Versions 1 and 2 refer to an event by its ID and hash; the hash is not looked at, as nobody could rely on it."""
    if not isinstance(reference, list) or len(reference) != 2 or not isinstance(reference[1], dict):
        raise BadEvent("a reference is not a pair of event ID and hash")
    _parse_sent_id(reference[0])


def _check_signatures_format(signatures: Mapping[str, Any]) -> None:
    for by_server in signatures.values():
        if not isinstance(by_server, dict) or not all(isinstance(text, str) for text in by_server.values()):
            raise BadEvent("signatures is not an object of objects of strings")


def _parse_sent_id(text: Any) -> EventID:
    try:
        event_id = parse_event_id(text)
    except BadIdentifier as error:
        raise BadEvent(f"event ID: {error}") from None
    if find_server_of(event_id) is None:
        raise BadEvent("an event ID of this version has a domain")
    return event_id


def _parse_identity(version: RoomVersion, pdu: Mapping[str, Any]) -> tuple[EventID, RoomID]:
    """The event's ID, sent or computed, and its room's.

    Spec: rooms/v1#event-ids, rooms/v4#event-ids, rooms/v12#event-format
    """
    if version.event_ids == "sent":
        event_id = _parse_sent_id(pdu.get("event_id"))
    else:
        event_id = event_id_of(version, essential_bytes(version, pdu))
    if version.room_id_is_create_hash and pdu["type"] == "m.room.create":
        if "room_id" in pdu or pdu.get("state_key") != "":
            raise BadEvent("a create event has no room_id and an empty state key")
        return event_id, RoomID("!" + event_id[1:])
    return event_id, _parse_room_id(version, pdu.get("room_id"))


def _parse_room_id(version: RoomVersion, text: Any) -> RoomID:
    try:
        room_id = parse_room_id(text)
    except BadIdentifier as error:
        raise BadEvent(f"room_id: {error}") from None
    if (find_server_of(room_id) is None) != version.room_id_is_create_hash:
        raise BadEvent("room_id is not of this room version's form")
    return room_id


def _find_redacts(version: RoomVersion, event_type: str, holder: Mapping[str, Any]) -> EventID | None:
    """The target of a redaction, out of content or event; None when what stands there could name no event."""
    target = holder.get("redacts") if event_type == "m.room.redaction" else None
    if not isinstance(target, str) or target[:1] != "$" or not fits(target) or "\0" in target:
        return None
    return EventID(target)


def _build_event(
    version: RoomVersion,
    pdu: Mapping[str, Any],
    *,
    event_id: EventID,
    room_id: RoomID,
    unsigned: Mapping[str, Any],
    raw: bytes,
) -> Event:
    content = pdu["content"]
    sent = version.event_ids == "sent"
    return Event(
        version=version,
        event_id=event_id,
        room_id=room_id,
        type=pdu["type"],
        state_key=pdu.get("state_key"),
        sender=pdu["sender"],
        content=content,
        prev_events=tuple(pair[0] for pair in pdu["prev_events"]) if sent else tuple(pdu["prev_events"]),
        auth_events=tuple(pair[0] for pair in pdu["auth_events"]) if sent else tuple(pdu["auth_events"]),
        depth=pdu["depth"],
        origin_server_ts=pdu["origin_server_ts"],
        redacts=_find_redacts(version, pdu["type"], content if version.redacts_in_content else pdu),
        hashes=pdu["hashes"],
        signatures=pdu["signatures"],
        unsigned=unsigned,
        raw=raw,
    )
