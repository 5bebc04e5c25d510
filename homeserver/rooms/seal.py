"""What this server makes its own events with."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from federation.ed25519 import SigningKey
from federation.errors import BadEvent, EventTooLarge
from federation.event import Event, EventFields, seal_event
from federation.hashes import reference_hash
from federation.ids import EventID, RoomID, ServerName, UserID
from federation.versions import RoomVersion
from homeserver.policy import Invalid
from homeserver.storage.events import Origin, RoomEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event that somebody of ours wants to send; the room gives it its place.

    `target` is the event that a redaction names; `at_ms` when it is sent, None: now.
    """

    type: str
    sender: UserID
    content: Mapping[str, object]
    state_key: str | None = None
    redacts: EventID | None = None
    target: RoomEvent | None = None
    origin: Origin | None = None
    at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an event goes: its room, the events before it and those that authorise it."""

    room_id: RoomID | None
    before: tuple[RoomEvent, ...]
    auth: tuple[RoomEvent, ...]
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """Our name, key and clock, chance for what must not be guessed, and ids for storage (`next_id(sequence)`).

    `policy_key` is what we recommend events with in rooms whose policy server we are, None: in none.
    """

    server: ServerName
    key: SigningKey
    now_ms: Callable[[], int]
    token_bytes: Callable[[int], bytes]
    next_id: Callable[[str], int]
    policy_key: SigningKey | None = None

    def make(self, version: RoomVersion, draft: Draft, place: Place) -> Event:
        """The event of a draft.

        Raises: EventTooLarge; Invalid when the content is nothing that can be sent in a room of this version.
        """
        fields = EventFields(
            type=draft.type,
            sender=draft.sender,
            room_id=place.room_id,
            content=draft.content,
            prev_events=tuple([held.event_id for held in place.before]),
            auth_events=tuple([held.event_id for held in place.auth]),
            depth=min(place.depth, version.max_depth),
            origin_server_ts=self.now_ms() if draft.at_ms is None else draft.at_ms,
            state_key=draft.state_key,
            redacts=draft.redacts,
        )
        if version.event_ids == "sent":
            fields = self._with_hashes(version, fields, place)
        try:
            return seal_event(version, fields, server=self.server, key=self.key)
        except EventTooLarge:
            raise
        except BadEvent as fault:
            raise Invalid("M_BAD_JSON", str(fault)) from None

    def make_opaque(self) -> str:
        """A name that nobody can guess."""
        return urlsafe_b64encode(self.token_bytes(18)).decode()

    def make_room_id(self) -> RoomID:
        """The ID of a new room, of a version in which that is a name."""
        return RoomID(f"!{self.make_opaque()}:{self.server}")

    def _with_hashes(self, version: RoomVersion, fields: EventFields, place: Place) -> EventFields:
        """What only versions 1 and 2 want: a name of the event, and the hashes of those it refers to."""
        hashes = {held.event_id: reference_hash(version, held.event.pdu()) for held in (*place.before, *place.auth)}
        return msgspec.structs.replace(fields, opaque=self.make_opaque(), reference_hashes=hashes)
