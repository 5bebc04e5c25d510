"""The two hashes of an event: one over all of it, one over what redaction keeps, which is also its ID.

Spec: server-server-api#signing-events
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from federation import canonical
from federation.ids import EventID
from federation.pdu import Event
from federation.redaction import redact
from federation.unpadded import encode_base64, encode_urlsafe, find_base64
from federation.versions import RoomVersion

_UNHASHED = frozenset({"unsigned", "signatures", "hashes"})


def content_hash(pdu: Mapping[str, Any]) -> str:
    """The hash over the complete event, as it stands in `hashes.sha256`.

    Raises: BadJSON.
    Spec: server-server-api#calculating-the-content-hash-for-an-event
    """
    return encode_base64(sha256(canonical.encode(_hashed(pdu), strict=False)).digest())


def check_content_hash(event: Event) -> bool:
    """Whether the event is complete; if not, we hold a redacted copy or a forgery, and go on with its `redact_event`.

    Spec: server-server-api#validating-hashes-and-signatures-on-received-events
    """
    digest = sha256(_encode_part(event.version, _hashed(event.pdu()))).digest()
    return find_base64(event.hashes["sha256"]) == digest


def essential_bytes(version: RoomVersion, pdu: Mapping[str, Any]) -> bytes:
    """What servers sign, and what the reference hash covers: the redacted event without signatures.

    Raises: BadJSON.
    Spec: server-server-api#calculating-the-reference-hash-for-an-event
    """
    return canonical.encode(_essential(version, pdu), strict=version.strict_canonical_json)


def essential_part(version: RoomVersion, pdu: Mapping[str, Any]) -> bytes:
    """The `essential_bytes` of an event of which it is known that the version's canonical JSON can express it."""
    return _encode_part(version, _essential(version, pdu))


def reference_hash(version: RoomVersion, pdu: Mapping[str, Any]) -> str:
    """The hash over what redaction keeps, in the alphabet that the room version uses for event IDs.

    Raises: BadJSON.
    Spec: server-server-api#calculating-the-reference-hash-for-an-event
    """
    return encode_reference(version, essential_bytes(version, pdu))


def encode_reference(version: RoomVersion, essential: bytes) -> str:
    """The reference hash of an event whose `essential_bytes` are at hand."""
    digest = sha256(essential).digest()
    return encode_urlsafe(digest) if version.event_ids == "urlsafe" else encode_base64(digest)


def event_id_of(version: RoomVersion, essential: bytes) -> EventID:
    """The ID of an event of version 3 or later whose `essential_bytes` are at hand.

    Spec: rooms/v3#event-ids, rooms/v4#event-ids
    """
    return EventID("$" + encode_reference(version, essential))


def _essential(version: RoomVersion, pdu: Mapping[str, Any]) -> dict[str, Any]:
    essential = redact(version, pdu)
    essential.pop("signatures", None)
    return essential


def _encode_part(version: RoomVersion, part: Mapping[str, Any]) -> bytes:
    """The canonical JSON of a part of what was checked as a whole; strict versions leave nothing to be found in it."""
    return canonical.encode_checked(part) if version.strict_canonical_json else canonical.encode(part, strict=False)


def _hashed(pdu: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in pdu.items() if name not in _UNHASHED}
