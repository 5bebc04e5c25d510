"""Views of rooms that are listened to, encoded and shared.

Whoever was in a room all the while and has the same filter is told the same of the same events: the bytes are made once
and kept for some seconds, in which everybody who waits is answered.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from federation.ids import DeviceID, UserID
from homeserver.rooms.bundles import has_all_bundles
from homeserver.rooms.render import Asker
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.storage.events import RoomEvent
from homeserver.streams import Feed
from homeserver.sync.encode import NOBODY, encode_timeline
from homeserver.sync.live import Counts, view_changes, view_whole
from homeserver.sync.views import Ask, View

LASTS_MS: Final = 5000
"""How long a part is shared; the age of its events is wrong by no more than that."""
MOST_BYTES: Final = 32_000_000


class Part(NamedTuple):
    """What is shown of a room, and its timeline as JSON (empty without events)."""

    view: View
    timeline: bytes


NO_CHANGES: Final = Part(View(), b"")


class Parts:
    """Makes and shares parts, from memory only."""

    def __init__(self, rooms: Rooms, now_ms: Callable[[], int]) -> None:
        self._rooms = rooms
        self._now_ms = now_ms
        self._counts = Counts()
        self._young: dict[tuple[object, ...], Part] = {}
        self._old: dict[tuple[object, ...], Part] = {}
        self._turns_ms = 0
        self._bytes = 0

    def find(self, ask: Ask, feed: Feed, device_id: DeviceID) -> Part | None:
        """The part of a room that the person is in, as of now; None: ask the tables."""
        room = self._rooms.find(ask.room_id)
        if not ask.whole:
            log = feed.rooms[ask.room_id]
            since = ask.since or 0
            if since < log.floor:
                return None
            window = log.since(since, ask.upto)
            if not window:
                return NO_CHANGES
            return None if room is None else self._find_changes(window, room, ask, device_id)
        view = None if room is None else view_whole(room, self._counts, ask)
        return None if view is None or _lacks_bundles(view, room) else self.encode(view, ask, device_id)

    def encode(self, view: View, ask: Ask, device_id: DeviceID | None = None) -> Part:
        """The part of a view, for one device."""
        if not view.events and not view.limited:
            return Part(view, b"")
        asker = Asker(
            user_id=ask.user_id,
            device_id=device_id,
            now_ms=self._now_ms(),
            federation_format=ask.filter.federation_format,
        )
        return Part(view, encode_timeline(view, asker, ask.filter))

    def _find_changes(self, window: Sequence[RoomEvent], room: Room, ask: Ask, device_id: DeviceID) -> Part | None:
        if not _may_share(window, room, ask):
            view = view_changes(window, room, self._counts, ask)
            return None if view is None or _lacks_bundles(view, room) else self.encode(view, ask, device_id)
        key = (ask.room_id, window[0].nid, window[-1].nid, ask.filter, ask.state_after)
        part = self._shared(key)
        if part is None:
            view = view_changes(window, room, self._counts, ask)
            if view is None or _lacks_bundles(view, room):
                return None
            shared = Ask(
                room_id=ask.room_id, user_id=NOBODY, filter=ask.filter, since=ask.since, upto=ask.upto, whole=False
            )
            part = self._young[key] = self.encode(view, shared)
            self._bytes += len(part.timeline)
        return part

    def _shared(self, key: tuple[object, ...]) -> Part | None:
        now_ms = self._now_ms()
        if now_ms >= self._turns_ms or self._bytes > MOST_BYTES:
            fresh = now_ms < self._turns_ms + LASTS_MS
            self._old, self._young = self._young if fresh else {}, {}
            self._turns_ms = now_ms + LASTS_MS // 2
            self._bytes = 0
        return self._young.get(key) or self._old.get(key)


def _lacks_bundles(view: View, room: Room | None) -> bool:
    """Whether something is, or may be, bundled with the events: that differs from person to person, and is read.

    Spec: client-server-api#aggregations-of-child-events
    """
    return view.limited and not (room is not None and has_all_bundles(room, view.events))


def _may_share(window: Sequence[RoomEvent], room: Room, ask: Ask) -> bool:
    """Whether the person sees of these events what every other member sees."""
    member = room.joined_members.get(UserID(ask.user_id))
    if member is None or ask.ignored or member.stream > window[0].stream:
        return False
    for held in window:
        if held.origin is not None and held.origin.user_id == ask.user_id:
            return False
        if held.replaced is not None and held.replaced.stream < member.stream:
            return False
    return True
