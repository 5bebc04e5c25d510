"""Room versions as data: a record of named switches, each version being the one before plus what its page changes.

Rule code asks for a switch by name and never compares versions, so a new version is one `replace` here.

Spec: rooms#feature-matrix
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoomVersion:
    """Everything in which the rooms of one version differ from those of another."""

    id: str
    """What the version is called in `m.room.create` and on the wire."""
    stable: bool
    """Whether new rooms may be made with it. Spec: rooms#complete-list-of-room-versions"""

    event_ids: Literal["sent", "hash", "urlsafe"]
    """`sent`: the sender chooses `$opaque:server`, and references are (ID, hash) pairs (v1). `hash`: the reference hash
    in standard base64, references are plain IDs (v3). `urlsafe`: the same in URL-safe base64 (v4).
    Spec: rooms/v3#event-ids, rooms/v4#event-ids"""
    strict_canonical_json: bool
    """Numbers are integers within 2**53 - 1, `depth` included (v6). Spec: rooms/v6#canonical-json"""
    enforce_key_validity: bool
    """An event's key must have been valid at its `origin_server_ts` (v5). Spec: rooms/v5#signing-key-validity-period"""

    state_resolution: Literal[1, 2, 21]
    """The algorithm: 1 (v1), 2 (v2), 21 for version 2.1 (v12).
    Spec: rooms/v2#state-resolution, rooms/v12#state-resolution"""

    integer_power_levels: bool
    """Power levels as strings are refused (v10). Spec: rooms/v10#values-in-mroompower_levels-events-must-be-integers"""
    aliases_special_auth: bool
    """`m.room.aliases` has a rule of its own (v1 to v5). Spec: rooms/v6#authorisation-rules"""
    redaction_auth_by_server: bool
    """The authorisation rules decide who may redact (v1, v2); later the receipt of the pair does.
    Spec: rooms/v3#handling-redactions"""
    notifications_level_checked: bool
    """Changes to `notifications` in power levels are checked (v6). Spec: rooms/v6#authorisation-rules"""
    knock: bool
    """Membership and join rule `knock` (v7). Spec: rooms/v7#authorisation-rules"""
    restricted_join: bool
    """Join rule `restricted` (v8). Spec: rooms/v8#authorisation-rules"""
    knock_restricted: bool
    """Join rule `knock_restricted` (v10). Spec: rooms/v10#authorisation-rules"""
    implicit_creator: bool
    """The creator is the sender of the create event, not its `creator` (v11).
    Spec: rooms/v11#remove-the-creator-property-of-mroomcreate-events"""
    room_id_is_create_hash: bool
    """The room ID is the create event's ID with `!`; that event carries no `room_id` (v12).
    Spec: rooms/v12#event-format"""
    create_in_auth_events: bool
    """The create event is among the auth events (v1 to v11; the room ID implies it in v12).
    Spec: rooms/v12#authorisation-rules"""
    creators_are_supreme: bool
    """Creators, `additional_creators` among them, have infinite power (v12). Spec: rooms/v12#authorisation-rules"""

    redacts_in_content: bool
    """A redaction names its target in `content` (v11).
    Spec: rooms/v11#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property"""
    redaction_keeps_aliases: bool
    """A redacted `m.room.aliases` keeps `aliases` (v1 to v5). Spec: rooms/v6#redactions"""
    redaction_keeps_allow: bool
    """Redacted join rules keep `allow` (v8). Spec: rooms/v8#redactions"""
    redaction_keeps_authoriser: bool
    """A redacted membership keeps `join_authorised_via_users_server` (v9). Spec: rooms/v9#redactions"""
    redaction_clarified: bool
    """`origin`, `membership` and `prev_state` go; the whole create content, `redacts`, `invite` of the power levels and
    `signed` of a third-party invite stay (v11). Spec: rooms/v11#redactions"""

    @property
    def max_depth(self) -> int:
        """The largest `depth` an event can have; a room that reaches it stays there.

        Spec: rooms/v6#event-format
        """
        return 2**53 - 1 if self.strict_canonical_json else 2**63 - 1


_V1 = RoomVersion(
    id="1",
    stable=True,
    event_ids="sent",
    strict_canonical_json=False,
    enforce_key_validity=False,
    state_resolution=1,
    integer_power_levels=False,
    aliases_special_auth=True,
    redaction_auth_by_server=True,
    notifications_level_checked=False,
    knock=False,
    restricted_join=False,
    knock_restricted=False,
    implicit_creator=False,
    room_id_is_create_hash=False,
    create_in_auth_events=True,
    creators_are_supreme=False,
    redacts_in_content=False,
    redaction_keeps_aliases=True,
    redaction_keeps_allow=False,
    redaction_keeps_authoriser=False,
    redaction_clarified=False,
)
_V2 = replace(_V1, id="2", state_resolution=2)
_V3 = replace(_V2, id="3", event_ids="hash", redaction_auth_by_server=False)
_V4 = replace(_V3, id="4", event_ids="urlsafe")
_V5 = replace(_V4, id="5", enforce_key_validity=True)
_V6 = replace(
    _V5,
    id="6",
    strict_canonical_json=True,
    aliases_special_auth=False,
    notifications_level_checked=True,
    redaction_keeps_aliases=False,
)
_V7 = replace(_V6, id="7", knock=True)
_V8 = replace(_V7, id="8", restricted_join=True, redaction_keeps_allow=True)
_V9 = replace(_V8, id="9", redaction_keeps_authoriser=True)
_V10 = replace(_V9, id="10", integer_power_levels=True, knock_restricted=True)
_V11 = replace(_V10, id="11", implicit_creator=True, redacts_in_content=True, redaction_clarified=True)
_V12 = replace(
    _V11,
    id="12",
    state_resolution=21,
    room_id_is_create_hash=True,
    create_in_auth_events=False,
    creators_are_supreme=True,
)

ROOM_VERSIONS: Final[Mapping[str, RoomVersion]] = MappingProxyType(
    {version.id: version for version in (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12)}
)
"""Every room version this server understands, by its name."""


def find_room_version(version_id: object) -> RoomVersion | None:
    """The version of that name, or None for one we do not know; anything may be asked, as it may come from a stranger's
    event.
    """
    return ROOM_VERSIONS.get(version_id) if isinstance(version_id, str) else None
