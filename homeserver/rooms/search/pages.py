"""A page of results, read on one snapshot of the database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import msgspec

from federation.ids import UserID
from homeserver.rooms.filters import build_test, build_type_test
from homeserver.rooms.history import Ask, Context, load_around
from homeserver.rooms.search.asks import Around, Key, Point, SearchAsk
from homeserver.rooms.search.hits import Hit, judge_matches, rank_matches
from homeserver.rooms.sight import Seen, load_seen
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, load_whole
from homeserver.storage.search.matches import (
    FAR,
    Ground,
    Wanted,
    load_grounds,
    load_matched_rooms,
    load_matches,
)
from homeserver.storage.search.stems import stems_of
from homeserver.storage.search.words import terms_of
from homeserver.storage.state import find_state

MOST_AT_ONCE: Final = 500
"""How many matches are judged, and ranked among each other, at a time: older ones come after them."""
MOST_TIMES: Final = 4
"""How often at most for one page, which ends then although it is not full."""
_FIRST: Final[Key] = (FAR, FAR, FAR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quest:
    """A person's search: the rooms they may look in, by nid, and the words with their stems."""

    user_id: UserID
    ask: SearchAsk
    grounds: Mapping[int, Ground]
    terms: Mapping[str, str]

    def narrow(self, rooms: Mapping[int, Ground]) -> "Quest":
        """The same in these rooms."""
        return replace(self, grounds=rooms)

    def within(self, group: tuple[str, str] | None) -> "Quest":
        """The same for the results of one group."""
        if group is None or group[0] != "room_id":
            return self
        return self.narrow({nid: ground for nid, ground in self.grounds.items() if ground.record.room_id == group[1]})

    def wanted(self, group: tuple[str, str] | None) -> Wanted:
        """What it asks the index for, perhaps in one group."""
        asked = self.ask.wanted
        takes = build_type_test(asked)
        senders = None if asked.senders is None else frozenset(asked.senders)
        if group is not None and group[0] == "sender":
            senders = frozenset({group[1]}) if senders is None else senders & {group[1]}
        return Wanted(
            stems=sorted(set(self.terms.values())),
            types=[kind for kind in self.ask.types if takes(kind)],
            senders=senders,
            not_senders=frozenset(asked.not_senders),
        )


class Result(NamedTuple):
    """A hit, what of it is shown, and what lies around it with the membership events of those who sent it."""

    hit: Hit
    ground: Ground
    context: Context
    profiles: Sequence[RoomEvent] = ()


@dataclass(slots=True)
class Found:
    """Results in their order, how many there are about, and where the next page begins."""

    results: list[Result] = field(default_factory=list)
    count: int = 0
    more: Point | None = None


def begin_quest(txn: Txn, user_id: UserID, ask: SearchAsk) -> Quest:
    """A search in all the rooms of somebody that have a match if they have left them."""
    rooms = None if ask.wanted.rooms is None else frozenset(ask.wanted.rooms)
    not_rooms = frozenset(ask.wanted.not_rooms)
    grounds = [
        ground
        for ground in load_grounds(txn, user_id)
        if ground.record.room_id not in not_rooms and (rooms is None or ground.record.room_id in rooms)
    ]
    terms = stems_of(txn, terms_of(ask.text))
    quest = Quest(user_id=user_id, ask=ask, grounds={ground.record.nid: ground for ground in grounds}, terms=terms)
    matched = load_matched_rooms(txn, [ground for ground in grounds if ground.left], quest.wanted(None))
    return quest.narrow({nid: ground for nid, ground in quest.grounds.items() if not ground.left or nid in matched})


def read_page(txn: Txn, quest: Quest, point: Point) -> Found:
    """The page of results that begins at a point."""
    quest = quest.within(point.group)
    limit = quest.ask.limit
    chosen: list[tuple[int, Hit, Seen]] = []
    count, before, behind = point.count, point.before, point.key
    for _ in range(MOST_TIMES):
        block = _Block(txn, quest, point.group, before)
        count = len(block.matches) if count is None else count
        chosen += [(before, *each) for each in block.choose(behind, limit + 1 - len(chosen))]
        if len(chosen) > limit or block.end is None:
            break
        before, behind = block.end, _FIRST
    found = Found(results=[_show(txn, quest, hit, seen) for _, hit, seen in chosen[:limit]], count=count or 0)
    if len(chosen) > limit:
        before, last, _ = chosen[limit - 1]
        found.more = _move(point, before, _key(quest, last), found.count)
    elif block.end is not None:
        found.more = _move(point, before, behind, found.count)
    return found


def _move(point: Point, before: int, key: Key, count: int) -> Point:
    rank, stream, nid = key
    return msgspec.structs.replace(point, before=before, rank=rank, stream=stream, nid=nid, count=count)


class _Block:
    """So many of the newest matches as are judged at a time, `before` a place; `end` is the place before which those
    lie that follow, None if none do.
    """

    def __init__(self, txn: Txn, quest: Quest, group: tuple[str, str] | None, before: int) -> None:
        self._txn = txn
        self._quest = quest
        matches = load_matches(txn, list(quest.grounds.values()), quest.wanted(group), before, MOST_AT_ONCE)
        self.end = matches[-1].place if len(matches) == MOST_AT_ONCE else None
        self.matches = judge_matches(txn, quest.user_id, quest.grounds, matches)

    def choose(self, behind: Key, most: int) -> Iterator[tuple[Hit, Seen]]:
        """The first hits behind a key that pass the filter, in the order that is asked for."""
        wanted = build_test(self._quest.ask.wanted)
        left = most
        for hits in self._pieces(behind, most):
            seen = _load_seen(self._txn, self._quest, hits)
            for hit in hits:
                event = seen.get(hit.match.about_nid)
                if event is not None and left and (wanted is None or wanted(event.held.event)):
                    left -= 1
                    yield hit, event
            if not left:
                return

    def _pieces(self, behind: Key, size: int) -> Iterator[Sequence[Hit]]:
        """The hits behind a key, a few at a time: ranked only as far as anybody asks for them, if they may be."""
        if not self._quest.ask.newest_first:
            hits = rank_matches(self._txn, self._quest.terms, self.matches)
            ordered = sorted(hits, key=lambda hit: _key(self._quest, hit), reverse=True)
            left = [hit for hit in ordered if _key(self._quest, hit) < behind]
            yield from (left[start : start + size] for start in range(0, len(left), size))
            return
        matches = [match for match in self.matches if (match.stream, match.about_nid) < behind[1:]]
        for start in range(0, len(matches), size):
            yield rank_matches(self._txn, self._quest.terms, matches[start : start + size])


def _key(quest: Quest, hit: Hit) -> Key:
    return (0 if quest.ask.newest_first else hit.rank), hit.match.stream, hit.match.about_nid


def _load_seen(txn: Txn, quest: Quest, hits: Sequence[Hit]) -> dict[int, Seen]:
    """The events that hits are about, as far as they may be seen, by id."""
    rooms: dict[int, list[int]] = {}
    for hit in hits:
        rooms.setdefault(hit.match.room_nid, []).append(hit.match.about_nid)
    found: dict[int, Seen] = {}
    for room_nid, nids in rooms.items():
        record = quest.grounds[room_nid].record
        events = load_whole(txn, record, nids)
        found |= {seen.held.nid: seen for seen in load_seen(txn, record, quest.user_id, list(events.values()))}
    return found


def _show(txn: Txn, quest: Quest, hit: Hit, seen: Seen) -> Result:
    ground, around = quest.grounds[hit.match.room_nid], quest.ask.around or Around(before=0, after=0)
    back = Ask(backwards=True, limit=around.before)
    ahead = Ask(backwards=False, limit=around.after, stop=ground.upto if ground.left else None)
    context = load_around(txn, ground.record, quest.user_id, seen, (back, ahead))
    profiles = _load_profiles(txn, ground, context) if around.profiles else ()
    return Result(hit, ground, context, profiles)


def _load_profiles(txn: Txn, ground: Ground, context: Context) -> Sequence[RoomEvent]:
    """The membership events of those who sent what is shown, as of the result; or the last of it, who came later."""
    senders = {seen.held.event.sender for seen in context.events}
    found: list[RoomEvent] = []
    for group in dict.fromkeys((context.event.held.group, context.events[-1].held.group)):
        missing = senders - {held.state_key for held in found}
        if missing:
            found += find_state(txn, ground.record, group, "m.room.member", missing)
    return found
