"""An event as one client sees it: the bytes that all share, with this client's `unsigned` spliced in.

Spec: client-server-api#room-event-format
"""

from dataclasses import dataclass

import msgspec

from federation.ids import DeviceID, UserID
from homeserver.storage.events import RoomEvent

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Whose device asks, and when; `now_ms` None leaves out how old an event is."""

    user_id: UserID
    device_id: DeviceID | None = None
    now_ms: int | None = None


def render(held: RoomEvent, asker: Asker, *, membership: str | None = None, previous: bool = False) -> bytes:
    """The event in client form with `room_id` and `unsigned`.

    `membership` is what the asker was at the event, None to leave it out; `previous` says that the asker may see the
    content that a state event replaced.
    """
    extra = unsigned(held, asker, membership=membership, previous=previous)
    return held.client[:-1] + b',"unsigned":{' + extra + b"}}" if extra else held.client


def unsigned(held: RoomEvent, asker: Asker, *, membership: str | None = None, previous: bool = False) -> bytes:
    """The inside of the JSON object `unsigned`, perhaps empty."""
    parts = []
    if asker.now_ms is not None:
        parts.append(b'"age":%d' % (asker.now_ms - held.event.origin_server_ts))
    if held.origin is not None and held.origin[:2] == (asker.user_id, asker.device_id):
        parts.append(b'"transaction_id":' + _encode(held.origin.txn_id))
    if membership is not None:
        parts.append(b'"membership":' + _encode(membership))
    if held.redacted_because is not None:
        parts.append(b'"redacted_because":' + held.redacted_because)
    if held.replaced is not None:
        parts.append(b'"replaces_state":' + _encode(held.replaced.event_id))
        if previous:
            parts.append(b'"prev_content":' + held.replaced.content)
            parts.append(b'"prev_sender":' + _encode(held.replaced.sender))
    return b",".join(parts)
