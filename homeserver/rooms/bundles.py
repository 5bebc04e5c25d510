"""What is bundled with events: the last edit, references, threads; as far as one person may see it.

It all is read, in a reading thread, for a page of events at once. A page to which nothing relates costs one look at an
index for each event.

Spec: client-server-api#aggregations-of-child-events
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from federation.ids import EventID, UserID
from homeserver.rooms.room import Room
from homeserver.rooms.sight import Bundle, Seen, Sight, Thread
from homeserver.storage.data import load_ignored
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, load_events
from homeserver.storage.relations import (
    Edit,
    Reference,
    Share,
    find_relation,
    load_edits,
    load_parents,
    load_references,
    load_shares,
)
from homeserver.storage.rooms import RoomRecord

Row = TypeVar("Row", Edit, Reference, Share)
_ByParent: TypeAlias = Mapping[EventID, Sequence[Row]]

_NOTHING: Final = Bundle()


class _Tally(NamedTuple):
    """What a thread comes to: the last event, how many, and whether the person takes part."""

    latest: int
    number: int
    participated: bool


class _Gathered(NamedTuple):
    """What there is to bundle, by the event it belongs to; edits and the last of threads by id."""

    edits: Mapping[EventID, int]
    references: Mapping[EventID, tuple[EventID, ...]]
    threads: Mapping[EventID, _Tally]


def has_all_bundles(room: Room, events: Iterable[Seen]) -> bool:
    """Whether nothing that memory does not know can be bundled with some events of a live room: then nothing is."""
    return all(seen.held.stream > room.recent_floor and seen.held.event_id not in room.parents for seen in events)


def load_bundled(txn: Txn, record: RoomRecord, user_id: UserID, events: Sequence[Seen]) -> Sequence[Seen]:
    """Some events of a room, each with what is bundled with it for one person.

    Spec: client-server-api#aggregations-of-child-events
    """
    nids = load_parents(txn, [seen.held.nid for seen in events if seen.held.state_key is None])
    if not nids:
        return events
    reader = _Reader(txn, record, user_id)
    bundles = reader.load([seen.held for seen in events if seen.held.nid in nids])
    return [seen._replace(bundle=bundles.get(seen.held.event_id)) for seen in events]


class _Reader:
    """Reads what is bundled for one person."""

    def __init__(self, txn: Txn, record: RoomRecord, user_id: UserID) -> None:
        self._txn = txn
        self._record = record
        self._user_id = user_id
        self._ignored = load_ignored(txn, user_id)

    def load(self, parents: Sequence[RoomEvent], *, threads: bool = True) -> dict[EventID, Bundle]:
        """The bundles of those messages that have one; the last event of a thread has its own, but no thread."""
        gathered, sight = self._gather(parents, threads=threads)
        latest = {tally.latest for tally in gathered.threads.values()}
        held = load_events(self._txn, self._record, latest.union(gathered.edits.values()))
        inner = self.load([held[nid] for nid in latest], threads=False) if latest else {}

        def see(nid: int) -> Seen:
            child = held[nid]
            return Seen(child, sight.membership_at(child.group), previous=False, bundle=inner.get(child.event_id))

        found = {parent.event_id: _build(parent.event_id, gathered, see) for parent in parents}
        return {event_id: bundle for event_id, bundle in found.items() if bundle != _NOTHING}

    def _gather(self, parents: Sequence[RoomEvent], *, threads: bool) -> tuple[_Gathered, Sight]:
        txn, room_nid = self._txn, self._record.nid
        edits = load_edits(txn, room_nid, [held.event_id for held in parents if _may_be_edited(held)])
        references = load_references(txn, room_nid, [held.event_id for held in parents])
        roots = [held.event_id for held in parents if threads and find_relation(held.event.content) is None]
        shares = load_shares(txn, room_nid, roots)
        groups = {row.group for rows in (edits, references, shares) for row in rows}
        sight = Sight(txn, self._record, self._user_id, groups)
        senders = {held.event_id: held.event.sender for held in parents}
        visible_edits = [
            row for row in edits if sight.may_see(row.group, row.stream) and senders[row.parent_id] not in self._ignored
        ]
        heard = [row for row in references if row.sender not in self._ignored and sight.may_see(row.group, row.stream)]
        shown = [row for row in shares if row.sender not in self._ignored and sight.may_see(row.group, row.stream)]
        gathered = _Gathered(
            {parent: max(rows, key=recency).nid for parent, rows in _by_parent(visible_edits).items()},
            {parent: tuple([row.event_id for row in rows]) for parent, rows in _by_parent(heard).items()},
            {parent: self._tally(rows, senders[parent]) for parent, rows in _by_parent(shown).items()},
        )
        return gathered, sight

    def _tally(self, shares: Sequence[Share], root_sender: UserID) -> _Tally:
        """What the shares in a thread come to.

        Spec: client-server-api#server-side-aggregation-of-mthread-relationships
        """
        latest = max(shares, key=lambda share: (share.depth, share.stream))
        people = {root_sender, *(share.sender for share in shares)}
        return _Tally(latest.nid, sum(share.number for share in shares), self._user_id in people)


def _build(event_id: EventID, gathered: _Gathered, see: Callable[[int], Seen]) -> Bundle:
    edit, tally = gathered.edits.get(event_id), gathered.threads.get(event_id)
    return Bundle(
        replacement=None if edit is None else see(edit),
        references=gathered.references.get(event_id, ()),
        thread=None if tally is None else Thread(latest=see(tally.latest), count=tally.number, participated=tally[2]),
    )


def _may_be_edited(held: RoomEvent) -> bool:
    """Whether an event shows edits of itself: no edit does, and nothing that was redacted.

    Spec: client-server-api#server-side-aggregation-of-mreplace-relationships
    """
    relation = find_relation(held.event.content)
    return held.redacted_because is None and (relation is None or relation.type != "m.replace")


def recency(edit: Edit) -> tuple[int, EventID]:
    """What makes one of several edits the most recent: it is greater.

    Spec: client-server-api#server-side-aggregation-of-mreplace-relationships
    """
    return edit.sent_ms, edit.event_id


def _by_parent(rows: Iterable[Row]) -> "_ByParent[Row]":
    found: dict[EventID, list[Row]] = {}
    for row in rows:
        found.setdefault(row.parent_id, []).append(row)
    return found
