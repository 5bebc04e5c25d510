"""The bytes of an answer: what is encoded already is spliced, never decoded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from federation.ids import RoomID, UserID
from homeserver.rooms.render import Asker, render, render_seen, unsigned
from homeserver.rooms.sight import Seen
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.events import RoomEvent
from homeserver.sync.filters import Filter, pick_fields
from homeserver.sync.views import View, heroes_of

_encode: Final = msgspec.json.encode
_decode: Final = msgspec.json.decode

NOBODY: Final = UserID("")
"""The asker of what is the same for everybody."""


def join_object(members: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A JSON object of names (JSON strings) and values, both encoded."""
    parts = [part for name, value in members for part in (b",", name, b":", value)]
    return b"".join((b"{", *parts[1:], b"}"))


def events_object(events: Iterable[bytes]) -> bytes:
    """An object with `events`."""
    parts = [part for event in events for part in (b",", event)]
    return b"".join((b'{"events":[', *parts[1:], b"]}"))


def encode_timeline(view: View, asker: Asker, wanted: Filter) -> bytes:
    """The timeline of a room.

    `prev_batch` stands for the end of what the room had before the first event.
    """
    events = b",".join([encode_seen(seen, asker, wanted) for seen in view.events])
    before = max(view.events[0].held.stream - 1, 0) if view.events else view.end
    return b'{"events":[%b],"limited":%b,"prev_batch":"s%d"}' % (events, b"true" if view.limited else b"false", before)


def encode_seen(seen: Seen, asker: Asker, wanted: Filter) -> bytes:
    """An event of a timeline in the form that the filter wants."""
    held = seen.held
    if wanted.is_plain:
        return render_seen(seen, asker)
    extra = unsigned(held, asker, membership=seen.membership, previous=seen.previous, bundle=seen.bundle)
    return _shape(held, b"{" + extra + b"}", wanted)


def encode_state(held: RoomEvent, wanted: Filter) -> bytes:
    """An event of the state in the form that the filter wants."""
    if wanted.is_plain:
        return held.client if held.redacted_because is None else render(held, Asker(user_id=NOBODY))
    return _shape(held, b"{" + unsigned(held, Asker(user_id=NOBODY)) + b"}", wanted)


def _shape(held: RoomEvent, extra: bytes, wanted: Filter) -> bytes:
    whole = held.event.raw if wanted.federation_format else held.client
    shown = whole[:-1] + b',"unsigned":' + extra + b"}"
    return shown if wanted.fields is None else _encode(pick_fields(_decode(shown), wanted.fields))


def encode_summary(view: View, user_id: UserID) -> bytes:
    """Who is in a room, and by whose names to call it if it has none."""
    counted = view.counted
    if counted is None:
        return b"{}"
    shown: dict[str, object] = {"m.joined_member_count": counted.joined, "m.invited_member_count": counted.invited}
    if not view.named:
        shown["m.heroes"] = heroes_of(counted, user_id)
    return _encode(shown)


def encode_receipts(receipts: Sequence[ReceiptMoved]) -> bytes:
    """One event for all receipts of a room, or the part of it that is without thread, or of one."""
    content: dict[str, dict[str, dict[str, dict[str, object]]]] = {}
    for moved in receipts:
        shown: dict[str, object] = {"ts": moved.at_ms}
        if moved.thread_id is not None:
            shown["thread_id"] = moved.thread_id
        content.setdefault(moved.event_id, {}).setdefault(moved.kind, {})[moved.user_id] = shown
    return _encode({"type": "m.receipt", "content": content})


def split_receipts(receipts: Iterable[ReceiptMoved]) -> list[list[ReceiptMoved]]:
    """Receipts in groups, in none of which a person has two of one kind on one event: one for all threads cannot tell
    them apart.
    """
    groups: list[tuple[set[tuple[str, str, str]], list[ReceiptMoved]]] = []
    for moved in receipts:
        key = (moved.event_id, moved.kind, moved.user_id)
        group = next((group for group in groups if key not in group[0]), None)
        if group is None:
            groups.append(({key}, [moved]))
        else:
            group[0].add(key)
            group[1].append(moved)
    return [members for _, members in groups]


def encode_typing(user_ids: Sequence[UserID]) -> bytes:
    """The event that tells who is typing."""
    return _encode({"type": "m.typing", "content": {"user_ids": user_ids}})


def encode_data(kind: str, content: bytes) -> bytes:
    """An event of account data."""
    return b'{"type":%b,"content":%b}' % (_encode(kind), content)


def encode_rooms(sections: Mapping[bytes, Mapping[RoomID, bytes]]) -> bytes:
    """The rooms of an answer by section, empty ones left out."""
    parts = []
    for name, rooms in sections.items():
        shown = [part for room_id, room in rooms.items() for part in (b",", _encode(room_id), b":", room)]
        parts += [b",", name, b":{", *shown[1:], b"}"] if rooms else []
    return b"".join((b"{", *parts[1:], b"}"))
