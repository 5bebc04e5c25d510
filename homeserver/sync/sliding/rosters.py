"""Everybody's rooms, by their latest activity: read once, and from then on carried on by the person's feed."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from federation.ids import RoomID, UserID
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.sliding import Labels, Standing, load_labels, load_standings
from homeserver.streams import Feed, marked_after

MOST_PLACES: Final = 1_000_000
"""How many rooms all rosters together hold."""
NO_LABELS: Final = Labels(frozenset(), {})


class Place:
    """A person's room: see :class:`Standing`."""

    __slots__ = ("changed", "forgotten", "joined", "last", "membership", "room_id", "sender", "stream")

    def __init__(self, standing: Standing) -> None:
        self.room_id, self.membership, self.stream, self.sender, self.joined, *rest = standing
        self.last, self.changed, self.forgotten = rest

    @property
    def active(self) -> int:
        """The position by which rooms are ordered: of the last event, or of the person's own move."""
        return self.last if self.membership == "join" else self.stream

    @property
    def is_out(self) -> bool:
        """Whether the person is neither in nor asked into it."""
        return self.membership not in ("join", "invite", "knock")


class Roster:
    """The rooms of one person as of `position`, and how they label them."""

    __slots__ = ("_order", "labels", "places", "position", "user_id")

    def __init__(self, user_id: UserID, position: int, standings: Iterable[Standing], labels: Labels) -> None:
        self.user_id = user_id
        self.position = position
        self.places: dict[RoomID, Place] = {standing.room_id: Place(standing) for standing in standings}
        self.labels = labels
        self._order: list[Place] | None = None

    def order(self) -> list[Place]:
        """All of them, the latest first."""
        if self._order is None:
            self._order = sorted(self.places.values(), key=lambda place: -place.active)
        return self._order

    def advance(self, feed: Feed, position: int) -> None:
        """Take up what the feed tells up to now, which is `position`."""
        if position == self.position:
            return
        for held in feed.moves_since(self.position, position):
            self._move(held)
        for room_id in marked_after(feed.changed, self.position):
            place = self.places.get(room_id)
            if place is not None:
                self._order = None
                events = feed.rooms[room_id].events
                place.changed = max(place.changed, feed.changed[room_id])
                if events:
                    place.last = max(place.last, events[-1].stream)
        self.position = position

    def _move(self, held: RoomEvent) -> None:
        event = held.event
        room_id, membership = event.room_id, event.membership or ""
        place = self.places.get(room_id)
        if place is None:
            place = self.places[room_id] = Place(Standing(room_id, "leave", 0, event.sender, None, 0, 0))
        if held.stream <= place.stream:
            return
        self._order = None
        if membership == "join" and place.membership != "join":
            place.joined = held.stream
        place.membership, place.stream, place.sender = membership, held.stream, event.sender
        place.forgotten = False
        place.last, place.changed = max(place.last, held.stream), max(place.changed, held.stream)


class Rosters:
    """The rosters of all who sync, the least used of which are dropped when they hold too much."""

    def __init__(self) -> None:
        self._known: OrderedDict[UserID, Roster] = OrderedDict()
        self._labelled: dict[UserID, int] = {}
        self._weight = 0

    def find(self, feed: Feed, position: int) -> Roster | None:
        """The roster of a feed's person as of now, which is `position`; None when something has to be read."""
        if any(self.lacks(feed)):
            return None
        roster = self._known[feed.user_id]
        self._known.move_to_end(feed.user_id)
        self._weight -= len(roster.places)
        roster.advance(feed, position)
        self._weight += len(roster.places)
        return roster

    def lacks(self, feed: Feed) -> tuple[bool, bool]:
        """Whether the rooms, and whether the labels, have to be read: the feed does not tell how they changed."""
        roster = self._known.get(feed.user_id)
        if roster is None:
            return True, True
        rooms, labelled = roster.position < feed.floor, self._labelled[feed.user_id]
        labels = labelled < feed.floor
        for key in marked_after(feed.own, min(roster.position, labelled)):
            rooms = rooms or (key[0] == "memberships" and feed.own[key] > roster.position)
            labels = labels or (key[0] == "account_data" and feed.own[key] > labelled)
        return rooms, labels

    def note(self, user_id: UserID, position: int, standings: list[Standing] | None, labels: Labels | None) -> None:
        """Remember what was read, of both or one, when that position was committed."""
        old = self._known.get(user_id)
        if labels is not None:
            self._labelled[user_id] = position
            if old is not None:
                old.labels = labels
        if standings is not None:
            self._weight += len(standings) - (0 if old is None else len(old.places))
            known = labels or (old.labels if old is not None else NO_LABELS)
            self._known[user_id] = Roster(user_id, position, standings, known)
            self._known.move_to_end(user_id)
        while self._weight > MOST_PLACES and len(self._known) > 1:
            other, dropped = self._known.popitem(last=False)
            del self._labelled[other]
            self._weight -= len(dropped.places)


def read_roster(txn: Txn, user_id: UserID, lacks: tuple[bool, bool]) -> tuple[list[Standing] | None, Labels | None]:
    """What a roster lacks."""
    return load_standings(txn, user_id) if lacks[0] else None, load_labels(txn, user_id) if lacks[1] else None
