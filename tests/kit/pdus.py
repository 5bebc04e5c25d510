"""Events as they travel: a valid one in any room version, of which a test spoils one field."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from federation.ed25519 import SigningKey
from federation.event import EventFields, seal_event
from federation.ids import EventID, RoomID, ServerName, UserID, server_of
from federation.versions import ROOM_VERSIONS, RoomVersion

ALICE = UserID("@alice:one.example")
VERSIONS = tuple(ROOM_VERSIONS.values())
STRICT = tuple(version for version in VERSIONS if version.strict_canonical_json)
LENIENT = tuple(version for version in VERSIONS if not version.strict_canonical_json)


def signing_key(server: str, version: str = "a_1") -> SigningKey:
    """The key of a server: always the same for the same names."""
    return SigningKey(version, sha256(f"{server} {version}".encode()).digest())


def event_id_like(version: RoomVersion, name: str = "before") -> EventID:
    """An event ID of the form that the version has."""
    return EventID(f"${name}:one.example" if version.event_ids == "sent" else "$" + name.ljust(43, "x"))


def room_id_like(version: RoomVersion) -> RoomID:
    """A room ID of the form that the version has."""
    return RoomID("!" + "r" * 43 if version.room_id_is_create_hash else "!room:one.example")


def event_fields(version: RoomVersion, **changed: Any) -> EventFields:
    """A message of Alice's, or whatever the changes make of it."""
    before = event_id_like(version)
    fields: dict[str, Any] = {
        "type": "m.room.message",
        "sender": ALICE,
        "room_id": room_id_like(version),
        "content": {"msgtype": "m.text", "body": "Good morning, class"},
        "prev_events": (before,),
        "auth_events": (before,),
        "depth": 7,
        "origin_server_ts": 1_700_000_000_000,
        "opaque": "opaque",
        "reference_hashes": {before: "h" * 43},
    }
    return EventFields(**(fields | changed))


def build_pdu(version: RoomVersion, **changed: Any) -> dict[str, Any]:
    """The event of `event_fields`, sealed by its sender's server, as other servers get it."""
    fields = event_fields(version, **changed)
    server = server_of(fields.sender)
    return seal_event(version, fields, server=server, key=signing_key(server)).pdu()


def without(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """A copy that lacks some fields."""
    return {name: part for name, part in value.items() if name not in names}


ONE = ServerName("one.example")
