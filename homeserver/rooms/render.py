"""An event as one client sees it: the bytes that all share, with this client's `unsigned` spliced in.

Spec: client-server-api#room-event-format
"""

from dataclasses import dataclass

import msgspec

from federation.ids import DeviceID, UserID
from homeserver.rooms.sight import Bundle, Seen
from homeserver.storage.events import DELAYED, RoomEvent

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Whose device asks, and when; `now_ms` None leaves out how old an event is. `federation_format`: events are shown
    as they travel between servers.
    """

    user_id: UserID
    device_id: DeviceID | None = None
    now_ms: int | None = None
    federation_format: bool = False


def render(
    held: RoomEvent,
    asker: Asker,
    *,
    membership: str | None = None,
    previous: bool = False,
    bundle: Bundle | None = None,
) -> bytes:
    """The event with `unsigned`, in the asker's form: else the client's, with `room_id`.

    `membership` is what the asker was at the event, None to leave it out; `previous` says that the asker may see the
    content that a state event replaced; `bundle` is what relates to it.
    """
    whole = held.event.raw if asker.federation_format else held.client
    extra = unsigned(held, asker, membership=membership, previous=previous, bundle=bundle)
    return whole[:-1] + b',"unsigned":{' + extra + b"}}" if extra else whole


def render_seen(seen: Seen, asker: Asker) -> bytes:
    """The event as `render` does it, with all that is known of how the asker may see it."""
    return render(seen.held, asker, membership=seen.membership, previous=seen.previous, bundle=seen.bundle)


def unsigned(
    held: RoomEvent,
    asker: Asker,
    *,
    membership: str | None = None,
    previous: bool = False,
    bundle: Bundle | None = None,
) -> bytes:
    """The inside of the JSON object `unsigned`, perhaps empty."""
    parts = []
    if asker.now_ms is not None:
        parts.append(b'"age":%d' % (asker.now_ms - held.event.origin_server_ts))
    if held.origin is not None and held.origin.user_id == asker.user_id:
        if held.origin.device_id == asker.device_id:
            parts.append(b'"transaction_id":' + _encode(held.origin.txn_id))
        elif held.origin.device_id == DELAYED:
            parts.append(b'"org.matrix.msc4140.delay_id":' + _encode(held.origin.txn_id))
    if membership is not None:
        parts.append(b'"membership":' + _encode(membership))
    if held.redacted_because is not None:
        parts.append(b'"redacted_because":' + held.redacted_because)
    if held.replaced is not None:
        parts.append(b'"replaces_state":' + _encode(held.replaced.event_id))
        if previous:
            parts.append(b'"prev_content":' + held.replaced.content)
            parts.append(b'"prev_sender":' + _encode(held.replaced.sender))
    if bundle is not None:
        parts.append(b'"m.relations":{' + _encode_bundle(bundle, asker) + b"}")
    return b",".join(parts)


def _encode_bundle(bundle: Bundle, asker: Asker) -> bytes:
    """The inside of the JSON object `m.relations`.

    Spec: client-server-api#aggregations-of-child-events
    """
    parts = []
    if bundle.replacement is not None:
        parts.append(b'"m.replace":' + render_seen(bundle.replacement, asker))
    if bundle.references:
        chunk = [{"event_id": event_id} for event_id in bundle.references]
        parts.append(b'"m.reference":' + _encode({"chunk": chunk}))
    if bundle.thread is not None:
        thread = bundle.thread
        latest, participated = render_seen(thread.latest, asker), _encode(thread.participated)
        shape = b'"m.thread":{"latest_event":%b,"count":%d,"current_user_participated":%b}'
        parts.append(shape % (latest, thread.count, participated))
    return b",".join(parts)
