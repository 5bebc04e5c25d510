"""How many notifications wait for a person in a room.

Nothing is written for it: what may be unread is evaluated when somebody asks, from the events since they read the room,
and carried on in memory by each new event and receipt.

Spec: client-server-api#receiving-notifications, client-server-api#marking-notifications-as-read
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from federation.auth import PowerLevels
from federation.event import Event
from federation.ids import RoomID, UserID
from homeserver.push.conditions import Judged, Setting
from homeserver.push.rulebook import Rulebook
from homeserver.push.rules import Outcome, RuleSet
from homeserver.rooms.head import CREATE, POWER_LEVELS, Head
from homeserver.rooms.room import Room
from homeserver.storage.changes import EventAdded, ReceiptMoved, UserDataChanged
from homeserver.storage.data import load_ignored
from homeserver.storage.database import Change, Database, Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.receipts import load_reads
from homeserver.storage.rooms import load_rooms
from homeserver.storage.sync import MEMBER, load_state_at
from homeserver.storage.threads import MAIN, find_thread, relation_of
from homeserver.storage.unread import MOST_NEW, MOST_OLD, Arrival, Entry, count_joined, load_arrivals, load_entries
from homeserver.streams import Streams

MOST_KNOWN: Final = 50_000
"""How many people's rooms are counted in memory."""
MOST_JUDGED: Final = 5_000
"""Of how many events the outcome is remembered for those who share a rule set."""

Moved: TypeAlias = ReceiptMoved | UserDataChanged
"""What changes how much is unread for one person, besides events."""


class Waiting(NamedTuple):
    """A notification that waits."""

    stream: int
    thread: str
    highlight: bool
    event_id: str


class Unread:
    """What waits for a person in a room, as of the stream position `upto`, the oldest first; `changed` is the position
    since which it is the same.
    """

    __slots__ = ("_counts", "_read", "changed", "upto", "waiting")

    def __init__(self, waiting: list[Waiting], upto: int) -> None:
        self.waiting = waiting
        self.upto = upto
        self.changed = upto
        self._read: dict[str | None, int] = {}
        self._counts: dict[str, tuple[int, int]] | None = None

    @property
    def threads(self) -> Mapping[str, tuple[int, int]]:
        """By thread: how many notify, and how many of these highlight."""
        if self._counts is None:
            self._counts = {}
            for each in self.waiting:
                notify, highlight = self._counts.get(each.thread, (0, 0))
                self._counts[each.thread] = (notify + 1, highlight + each.highlight)
        return self._counts

    @property
    def total(self) -> tuple[int, int]:
        """How many notify in the room, and how many of these highlight."""
        if not self.waiting:
            return 0, 0
        counts = self.threads.values()
        return sum(notify for notify, _ in counts), sum(highlight for _, highlight in counts)

    def add(self, waiting: Waiting) -> None:
        """Another one waits, unless it was read before it was counted."""
        if waiting.stream <= max(self._read.get(None, 0), self._read.get(waiting.thread, 0)):
            return
        self.waiting.append(waiting)
        self.changed = waiting.stream
        self._counts = None
        if len(self.waiting) > MOST_NEW:
            del self.waiting[0]

    def read(self, thread: str | None, upto: int, position: int) -> None:
        """The person has read a thread, or all (None), up to there; that was told at `position`."""
        if upto > self.upto:
            self._read[thread] = max(upto, self._read.get(thread, 0))
        left = [each for each in self.waiting if each.stream > upto or thread not in (None, each.thread)]
        if len(left) < len(self.waiting):
            self.waiting = left
            self.changed = position
            self._counts = None


class Counts:
    """Counts what is unread, on the reactor's thread. `heed` gets what each commit tells, before anybody is woken."""

    def __init__(
        self, database: Database, streams: Streams, rulebook: Rulebook, find_live: Callable[[str], Room | None]
    ) -> None:
        self._database = database
        self._streams = streams
        self._rulebook = rulebook
        self._find_live = find_live
        self._known: OrderedDict[tuple[UserID, RoomID], Unread] = OrderedDict()
        self._judged: dict[int, _Judgements] = {}
        self._ignored: dict[UserID, frozenset[str]] = {}
        self._loading: dict[UserID, list[list[Moved]]] = {}

    def find(self, user_id: UserID, room_id: RoomID) -> Unread | None:
        """What is unread in a room that the person is in, carried on to now; None where memory does not tell."""
        key = (user_id, room_id)
        unread = self._known.get(key)
        log = self._streams.find_room(room_id)
        if unread is None or log is None:
            return None
        upto = log.events[-1].stream if log.events else log.floor
        if upto > unread.upto:
            rules, room, ignored = self._rulebook.find(user_id), self._find_live(room_id), self._ignored.get(user_id)
            if log.floor > unread.upto or rules is None or room is None or ignored is None:
                return None
            for held in log.since(unread.upto, upto):
                is_heard = held.event.sender not in ignored or held.event.redacts is not None
                if is_heard and not self._carry_on(unread, held, user_id, rules, room):
                    del self._known[key]
                    return None
            unread.upto = upto
        self._known.move_to_end(key)
        return unread

    async def load(self, user_id: UserID, room_ids: Collection[RoomID]) -> Mapping[RoomID, Unread]:
        """What is unread in some rooms that the person is in."""
        rules = await self._rulebook.load(user_id)
        moved: list[Moved] = []
        self._loading.setdefault(user_id, []).append(moved)
        try:
            live = [room for room_id in room_ids if (room := self._find_live(room_id)) is not None]
            settings = {room.room_id: _LiveSetting(room.shown) for room in live}
            reader = Reader(user_id=user_id, rules=rules, settings=settings, upto=self._streams.position)
            loaded, ignored = await self._database.read(load_unread, reader, room_ids)
        finally:
            _take_out(self._loading, user_id, moved)
        for room_id, unread in loaded.items():
            self._known[user_id, room_id] = unread
        if len(self._ignored) >= MOST_KNOWN:
            self._ignored.clear()
        self._ignored[user_id] = ignored
        for change in moved:
            self._take_up(change)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return loaded

    async def rules(self, user_id: UserID) -> bytes:
        """All push rules of a person as JSON."""
        return await self._rulebook.show(user_id)

    def heed(self, changes: Sequence[Change]) -> None:
        """Take up what has been read, and forget the rooms that people have left."""
        self._rulebook.heed(changes)
        for change in changes:
            if isinstance(change, ReceiptMoved | UserDataChanged):
                self._take_up(change)
                for moved in self._loading.get(change.user_id, ()):
                    moved.append(change)
            elif isinstance(change, EventAdded):
                event = change.event.event
                if event.type == MEMBER and event.membership != "join":
                    self._known.pop((UserID(event.state_key or ""), event.room_id), None)

    def _take_up(self, change: Moved) -> None:
        if isinstance(change, ReceiptMoved):
            self._read(change)
        elif change.kind == "account_data" and change.room_id is None:
            self._ignored.pop(change.user_id, None)

    def _read(self, receipt: ReceiptMoved) -> None:
        unread = self._known.get((receipt.user_id, receipt.room_id))
        if unread is not None and receipt.upto is not None:
            unread.read(receipt.thread_id, receipt.upto, receipt.position)

    def _carry_on(self, unread: Unread, held: RoomEvent, user_id: UserID, rules: RuleSet, room: Room) -> bool:
        """Count a new event; False when memory does not tell how."""
        event = held.event
        relation = relation_of(event.content)
        thread = relation.event_id if relation is not None and relation.type == "m.thread" else MAIN
        in_thread = relation is None or relation.type == "m.thread"
        if event.sender == user_id:
            if event.state_key is None and in_thread:
                unread.read(thread, held.stream, held.stream)
            return True
        if event.redacts is not None and any(each.event_id == event.redacts for each in unread.waiting):
            return False
        outcome = self.judge(held, user_id, rules, room)
        if outcome.notify:
            if not in_thread:
                return False
            unread.add(Waiting(held.stream, thread, outcome.highlight, held.event_id))
        return True

    def judge(self, held: RoomEvent, user_id: UserID, rules: RuleSet, room: Room) -> Outcome:
        """What the rules say of a new event of somebody else's.

        For those who share a set, and are meant by the event alike, they are evaluated once.
        """
        event = held.event
        if rules.personal:
            return rules.evaluate(event, user_id, _LiveSetting(room.shown))
        judged = self._judged.get(held.nid)
        if judged is None or judged.event is not event:
            if len(self._judged) >= MOST_JUDGED:
                self._judged.clear()
            judged = self._judged[held.nid] = _Judgements(event)
        key = (rules, user_id in judged.mentioned, event.state_key == user_id)
        outcome = judged.outcomes.get(key)
        if outcome is None:
            outcome = judged.outcomes[key] = rules.evaluate(event, user_id, _LiveSetting(room.shown))
        return outcome


class _Judgements:
    """What rule sets said of one event."""

    __slots__ = ("event", "mentioned", "outcomes")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.outcomes: dict[tuple[RuleSet, bool, bool], Outcome] = {}
        mentions = event.content.get("m.mentions")
        user_ids = mentions.get("user_ids") if isinstance(mentions, dict) else None
        self.mentioned = frozenset(_strings(user_ids)) if isinstance(user_ids, list) else frozenset()


def _take_out(lists: dict[UserID, list[list[Moved]]], user_id: UserID, taken: list[Moved]) -> None:
    """Take one list out of those of a person, by what it is and not by what it holds."""
    left = [each for each in lists[user_id] if each is not taken]
    if left:
        lists[user_id] = left
    else:
        del lists[user_id]


def _strings(values: Iterable[Any]) -> Iterable[str]:
    return (value for value in values if isinstance(value, str))


class _LiveSetting:
    """A room in memory, as rules ask of it."""

    __slots__ = ("_head",)

    def __init__(self, head: Head) -> None:
        self._head = head

    def member_count(self) -> int:
        return len(self._head.joined)

    def power_levels(self) -> PowerLevels:
        return self._head.levels

    def display_name(self, user_id: str, /) -> str | None:
        return _name_in(self._head.find((MEMBER, user_id)))


class StoredSetting:
    """A room in the tables, as rules ask of it."""

    def __init__(self, txn: Txn, room_id: RoomID, upto: int) -> None:
        self._txn = txn
        self._room = load_rooms(txn, [room_id])[room_id]
        self._upto = upto
        self._levels: PowerLevels | None = None
        self._members: int | None = None

    def member_count(self) -> int:
        """How many are joined."""
        if self._members is None:
            self._members = count_joined(self._txn, self._room.nid)
        return self._members

    def power_levels(self) -> PowerLevels:
        """Who may do what."""
        if self._levels is None:
            state = load_state_at(self._txn, self._room, self._upto, members=())
            events = {key: held.event for key, held in state.items()}
            self._levels = PowerLevels.of(self._room.version, events.get(CREATE), events.get(POWER_LEVELS))
        return self._levels

    def display_name(self, user_id: str, /) -> str | None:
        """What that member is called in the room."""
        state = load_state_at(self._txn, self._room, self._upto, members={UserID(user_id)})
        held = state.get((MEMBER, user_id))
        return None if held is None else _name_in(held.event)


def _name_in(event: Event | None) -> str | None:
    name = event.content.get("displayname") if event is not None else None
    return name if isinstance(name, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Somebody who reads, their rules, and what memory knows of their rooms; as of the position `upto`."""

    user_id: UserID
    rules: RuleSet
    settings: Mapping[RoomID, Setting]
    upto: int


def load_unread(txn: Txn, reader: Reader, room_ids: Collection[RoomID]) -> tuple[dict[RoomID, Unread], frozenset[str]]:
    """What is unread in some rooms, from the tables, and whom the person ignores: what those send does not count.

    Spec: client-server-api#ignoring-users
    """
    ignored = load_ignored(txn, reader.user_id)
    unread = {room_id: Unread([], reader.upto) for room_id in room_ids}
    arrivals = load_arrivals(txn, reader.user_id, room_ids)
    read: dict[int, dict[str | None, int]] = {arrival.room_nid: {} for arrival in arrivals}
    for room_nid, thread, upto in load_reads(txn, reader.user_id, list(read)):
        read[room_nid][thread] = upto
    for arrival in arrivals:
        waiting = _find_waiting(txn, reader, arrival, read[arrival.room_nid], ignored)
        unread[arrival.room_id] = Unread(waiting, reader.upto)
    return unread, ignored


def _find_waiting(
    txn: Txn, reader: Reader, arrival: Arrival, read: dict[str | None, int], ignored: frozenset[str]
) -> list[Waiting]:
    floor = max(arrival.stream, read.pop(None, 0))
    entries = _load_entries(txn, arrival, floor, max(floor, read.get(MAIN, 0)), reader.upto)
    if not entries:
        return []
    threads = [find_thread(txn, arrival.room_nid, entry.content) for entry in entries]
    for entry, thread in zip(entries, threads, strict=True):
        if entry.sender == reader.user_id and entry.state_key is None and _is_placed(entry):
            read[thread] = max(read.get(thread, 0), entry.stream)
    setting = reader.settings.get(arrival.room_id) or StoredSetting(txn, arrival.room_id, reader.upto)
    waiting = []
    for entry, thread in zip(entries, threads, strict=True):
        is_counted = entry.sender != reader.user_id and entry.sender not in ignored
        if is_counted and entry.stream > read.get(thread, 0):
            outcome = reader.rules.evaluate(entry, reader.user_id, setting)
            if outcome.notify:
                waiting.append(Waiting(entry.stream, thread, outcome.highlight, entry.event_id))
    return waiting


def _load_entries(txn: Txn, arrival: Arrival, floor: int, main: int, upto: int) -> list[Entry]:
    """The events after the last one read, and those before it that may be in a thread; the oldest first."""
    entries = load_entries(txn, arrival, (main, upto), MOST_NEW)
    if main > floor:
        entries += load_entries(txn, arrival, (floor, main), MOST_OLD, threaded=True)
    return entries[::-1]


def _is_placed(entry: Judged) -> bool:
    """Whether the event itself tells its thread."""
    relation = relation_of(entry.content)
    return relation is None or relation.type == "m.thread"
