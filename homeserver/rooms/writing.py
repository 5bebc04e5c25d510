"""How events that were built become rows: the one unit of work of every door that changes a room.

An event is written only if those it was built on are, by the same commit or an earlier one. Whether that is so is known
without asking the database: see `Addition`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from federation.event import Event
from federation.ids import ServerName, StateKey, UserID, server_of
from homeserver.media.references import find_references
from homeserver.rooms.head import Head
from homeserver.storage.changes import EventAdded
from homeserver.storage.database import Change, Txn
from homeserver.storage.directory import Listing, set_published
from homeserver.storage.events import RoomEvent, append_event, set_redacted
from homeserver.storage.media import append_references, remove_references
from homeserver.storage.members import set_membership
from homeserver.storage.names import set_open
from homeserver.storage.relations import append_relation, remove_relation
from homeserver.storage.rooms import RoomRecord, append_room
from homeserver.storage.search.index import remove_from_index
from homeserver.storage.state import GroupRow, StateChange, append_group, append_state_change

Work: TypeAlias = Callable[[Txn], object]
"""Something else to be written with events, in the same transaction: a function of it that may run twice."""


_OPENING: Final[Mapping[StateKey, tuple[Literal["join", "read"], str, str]]] = {
    ("m.room.join_rules", ""): ("join", "join_rule", "public"),
    ("m.room.history_visibility", ""): ("read", "history_visibility", "world_readable"),
}
"""The state by which a room is open to all: why, and which value of which field makes it so."""


class RoomDropped(Exception):
    """The live room was dropped before this could be written: load it anew and try again."""


class Pending:
    """An event that is built and not yet committed, and the head it leaves.

    `group` is the new state group of a state event. A redaction that takes effect has its `target`, and `pruned` is
    what it leaves of that.
    """

    __slots__ = ("after", "group", "held", "pruned", "target")

    def __init__(self, held: RoomEvent, after: Head, group: GroupRow | None) -> None:
        self.held = held
        self.after = after
        self.group = group
        self.target: RoomEvent | None = None
        self.pruned: Event | None = None


class Addition:
    """What one unit of work adds to one room, whose head was `head`: one event at least.

    `before` is the addition it was built on, as long as that is not committed. `record` is there for a new room,
    `listing` when the directory's entry changes.
    """

    __slots__ = (
        "_first",
        "_place",
        "_written_in",
        "before",
        "committed",
        "head",
        "listing",
        "pendings",
        "record",
        "server",
    )

    def __init__(self, server: ServerName, pendings: Sequence[Pending], before: "Addition | None") -> None:
        self.server = server
        self.pendings = pendings
        self.before = before
        self.head: Head
        self.record: RoomRecord | None = None
        self.listing: Listing | None = None
        self.committed = False
        self._written_in: Txn | None = None
        self._place = 0
        self._first: Change | None = None

    def write(self, txn: Txn) -> None:
        """Write the events and tell of them, in the writer's thread; this gives them their stream positions.

        Raises: RoomDropped when what they were built on is not written.
        """
        self._written_in = None
        if self.before is not None and not self.before.is_written_for(txn):
            raise RoomDropped
        if self.record is not None:
            append_room(txn, self.record)
        self._place = len(txn.changes)
        for pending in self.pendings:
            _write_pending(txn, pending, self.server)
        if self.listing is not None:
            set_published(txn, self.listing)
        self._written_in = txn
        self._first = txn.changes[self._place]

    def is_written_for(self, txn: Txn) -> bool:
        """Whether what is written in `txn` may build on this: it was committed, or is part of the same transaction.

        What a unit told is taken back when it fails, and the number of a commit that failed is given again, to another
        transaction.
        """
        written = self._written_in
        if self.committed or written is None:
            return self.committed
        is_kept = self._place < len(written.changes) and written.changes[self._place] is self._first
        return is_kept and (written is txn or written.commit < txn.commit)


def write_additions(txn: Txn, additions: Sequence[Addition], also: Sequence[Work]) -> None:
    """Unit of work: events of one or several rooms, and whatever else must change with them."""
    for addition in additions:
        addition.write(txn)
    for work in also:
        work(txn)


def _write_pending(txn: Txn, pending: Pending, server: ServerName) -> None:
    held = pending.held
    stream = held.stream = txn.position()
    append_event(txn, held, stream)
    append_relation(txn, held, stream)
    if pending.group is not None:
        _write_state(txn, held, pending.group, stream, server)
    if pending.target is not None and pending.pruned is not None:
        set_redacted(txn, pending.target.nid, pending.pruned.raw, held.nid)
        remove_references(txn, pending.target.nid)
        remove_relation(txn, pending.target.nid)
        remove_from_index(txn, [pending.target.nid])
    media = find_references(held.event.raw)
    if media:
        append_references(txn, held.room_nid, held.nid, held.event.sender, media)
    txn.tell(EventAdded(position=stream, event=held))


def _write_state(txn: Txn, held: RoomEvent, group: GroupRow, stream: int, server: ServerName) -> None:
    key = held.event.key
    append_group(txn, held.room_nid, group)
    append_state_change(txn, held.room_nid, StateChange(stream, key, held.nid))
    if key[0] == "m.room.member":
        set_membership(txn, held, stream, ours=server_of(UserID(key[1])) == server)
    elif key in _OPENING:
        why, field, value = _OPENING[key]
        is_open = held.event.content.get(field) == value
        if is_open or held.replaced is not None:
            set_open(txn, held.room_nid, why, is_open=is_open)
