"""What other servers show of rooms to people who are not in them: events, or in old rooms what is left of events.

Spec: client-server-api#stripped-state, server-server-api#inviting-to-a-room
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from federation.errors import BadEvent
from federation.event import Event, parse_event, stripped_state
from federation.ids import RoomID
from federation.versions import RoomVersion

MOST_SHOWN: Final = 100
MOST_BYTES: Final = 1 << 16
"""How much of a room is kept for somebody who is not in it: as much as an event."""
_FIELDS: Final = ("content", "sender", "state_key", "type")
_TEXTS: Final = ("sender", "state_key", "type")


def parse_shown(version: RoomVersion, room_id: RoomID, shown: Iterable[object]) -> list[Event]:
    """State events of that room that are shown.

    Raises: BadEvent when one of them is none.
    """
    events = []
    for each in shown:
        event = parse_event(each, version)  # type: ignore[arg-type]  # whatever it is not is a BadEvent
        if event.state_key is None or event.room_id != room_id:
            raise BadEvent("not a state event of the room")
        events.append(event)
    return events


def strip_all(version: RoomVersion, room_id: RoomID, shown: object) -> bytes:
    """What of all that may be passed on to a client, as a JSON array; entries that are nothing of the kind are left
    out, and those for which there is no room.
    """
    kept: list[bytes] = []
    left = MOST_BYTES
    for each in shown[:MOST_SHOWN] if isinstance(shown, list) else ():
        stripped = _strip(version, room_id, each)
        encoded = b"" if stripped is None else msgspec.json.encode(stripped)
        if stripped is not None and len(encoded) < left:
            left -= len(encoded) + 1
            kept.append(encoded)
    return b"[" + b",".join(kept) + b"]"


def _strip(version: RoomVersion, room_id: RoomID, each: object) -> Any:
    try:
        return stripped_state(parse_shown(version, room_id, [each])[0])
    except BadEvent:
        pass
    if not isinstance(each, dict) or each.get("room_id", room_id) != room_id:
        return None
    if not all(isinstance(each.get(name), str) for name in _TEXTS) or not isinstance(each.get("content"), dict):
        return None
    return {name: each[name] for name in _FIELDS}
