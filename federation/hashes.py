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
    return encode_base64(_content_digest(pdu))


def check_content_hash(event: Event) -> bool:
    """Whether the event is complete; if not, we hold a redacted copy or a forgery, and go on with its `redact_event`.

    Spec: server-server-api#validating-hashes-and-signatures-on-received-events
    """
    return find_base64(event.hashes["sha256"]) == _content_digest(event.pdu())


def essential_bytes(version: RoomVersion, pdu: Mapping[str, Any]) -> bytes:
    """What servers sign, and what the reference hash covers: the redacted event without signatures.

    Raises: BadJSON.
    Spec: server-server-api#calculating-the-reference-hash-for-an-event
    """
    essential = redact(version, pdu)
    essential.pop("signatures", None)
    return canonical.encode(essential, strict=version.strict_canonical_json)


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


def _content_digest(pdu: Mapping[str, Any]) -> bytes:
    hashed = {name: value for name, value in pdu.items() if name not in _UNHASHED}
    return sha256(canonical.encode(hashed, strict=False)).digest()
