"""How events that were built become rows: the one unit of work of every door that changes a room.

An event is written only if those it was built on are, by the same commit or an earlier one. Whether that is so is known
without asking the database: see `Addition`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from federation.event import Event
from federation.ids import EventID, ServerName, StateKey, UserID, server_of
from homeserver.media.references import find_references
from homeserver.rooms.groups import Changes
from homeserver.rooms.head import Head
from homeserver.storage.changes import Audience, EventAdded, EventKept, StateRewritten
from homeserver.storage.database import Change, Txn
from homeserver.storage.devices import introduce_devices
from homeserver.storage.directory import Listing, set_published
from homeserver.storage.events import RoomEvent, Standing, append_event, set_redacted
from homeserver.storage.media import append_references, remove_references
from homeserver.storage.members import remove_membership, set_membership
from homeserver.storage.names import set_open
from homeserver.storage.outbox import append_passed_on, load_servers_near, set_joined, set_left
from homeserver.storage.received import append_gaps, remove_gaps, set_place
from homeserver.storage.relations import append_relation, remove_relation
from homeserver.storage.roomlist import Overview, set_overview
from homeserver.storage.rooms import RoomRecord, append_room
from homeserver.storage.search.index import append_waiting, remove_from_index
from homeserver.storage.state import GroupRow, StateChange, append_group, append_state_change, set_fork

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

    `groups` are the state groups to be written with it, `changes` how the current state changes. A redaction that takes
    effect has its `target`, and `pruned` is what it leaves of that. What is received may be more than that: see
    `Arrival`.
    """

    __slots__ = ("after", "arrival", "changes", "groups", "held", "pruned", "target")

    def __init__(self, held: RoomEvent, after: Head, group: GroupRow | None = None) -> None:
        self.held = held
        self.after = after
        self.groups: Sequence[GroupRow] = () if group is None else (group,)
        self.changes: Changes = {} if group is None else {held.key: held}
        self.target: RoomEvent | None = None
        self.pruned: Event | None = None
        self.arrival: Arrival | None = None

    @property
    def standing(self) -> Standing:
        """What became of it."""
        return Standing.ACCEPTED if self.arrival is None else self.arrival.standing

    @property
    def is_shown(self) -> bool:
        """Whether it enters the timeline as something new."""
        return self.arrival is None or self.arrival.is_shown


@dataclass(slots=True, kw_only=True)
class Arrival:
    """What is special of an event of another server.

    `is_shown`: it enters the timeline as something new; `past` is its stream position where it enters as something
    old. `is_stored`: it has a row already. `is_aside`: it does not simply follow what the room had. `missing` are
    events before it that are not known. `redacted_by` is a redaction that came before it. `is_passed_on`: it came into
    the room through this server, which tells the others.
    """

    standing: Standing = Standing.ACCEPTED
    is_shown: bool = True
    past: int | None = None
    is_stored: bool = False
    is_aside: bool = False
    missing: tuple[EventID, ...] = ()
    redacted_by: int | None = None
    is_passed_on: bool = False


class Addition:
    """What one unit of work adds to one room, whose head was `head`: one event at least.

    `before` is the addition it was built on, as long as that is not committed. `record` is there for a new room,
    `listing` when the directory's entry changes, `overview` when operators' does.
    """

    __slots__ = (
        "_first",
        "_place",
        "_written_in",
        "before",
        "committed",
        "head",
        "listing",
        "overview",
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
        self.overview: Overview | None = None
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
        if self.overview is not None:
            set_overview(txn, self.overview)
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
    held, arrival = pending.held, pending.arrival
    for group in pending.groups:
        append_group(txn, held.room_nid, group)
    if arrival is None:
        stream = held.stream = txn.position()
        append_event(txn, held, stream)
    else:
        stream = _write_arrival(txn, held, arrival)
    if pending.changes:
        met = _find_met(txn, pending, server)
        _write_changes(txn, pending, stream, server)
        _write_servers(txn, pending, stream, server)
        for user_id in met:
            introduce_devices(txn, user_id)
    if pending.target is not None and pending.pruned is not None:
        set_redacted(txn, pending.target.nid, pending.pruned.raw, held.nid)
        remove_references(txn, pending.target.nid)
        remove_relation(txn, pending.target.nid)
        remove_from_index(txn, [pending.target.nid])
    if held.stream:
        append_relation(txn, held, held.stream)
        media = find_references(held.event.raw)
        if media:
            append_references(txn, held.room_nid, held.nid, held.event.sender, media)
    if held.stream < 0:
        append_waiting(txn, held.nid)
    if _is_forked(pending):
        set_fork(txn, held.room_nid, stream, pending.after.group, pending.after.extremities)
    _tell(txn, pending, stream, server)


def _write_arrival(txn: Txn, held: RoomEvent, arrival: Arrival) -> int:
    """Write the row of an event of another server; the stream position of what it changes."""
    stream = txn.position() if arrival.is_shown else txn.last_position
    held.stream = stream if arrival.is_shown else arrival.past or 0
    if arrival.is_stored:
        set_place(txn, held, held.stream or None, arrival.standing)
    else:
        append_event(txn, held, held.stream or None, arrival.standing)
    if arrival.redacted_by is not None:
        set_redacted(txn, held.nid, held.event.raw, arrival.redacted_by)
    if arrival.is_passed_on:
        append_passed_on(txn, held.room_nid, held.nid)
    if arrival.standing is Standing.ACCEPTED:
        append_gaps(txn, held, arrival.missing)
        if arrival.past is not None or arrival.is_aside:
            remove_gaps(txn, held.room_nid, [held.event_id])
    return stream


def _is_forked(pending: Pending) -> bool:
    """Whether the room's present is now another than that of the event that was written last."""
    after, arrival = pending.after, pending.arrival
    if arrival is not None and (arrival.past is not None or arrival.standing is not Standing.ACCEPTED):
        return False
    follows = after.extremities == (pending.held,) and after.group == pending.held.group
    return not (follows and pending.is_shown)


def _tell(txn: Txn, pending: Pending, stream: int, server: ServerName) -> None:
    held, arrival = pending.held, pending.arrival
    if pending.is_shown:
        txn.tell(EventAdded(position=stream, event=held, audience=_find_audience(pending, server)))
    else:
        txn.tell(EventKept(position=stream, room_id=held.event.room_id))
    if arrival is None or not arrival.is_aside:
        return
    expected = {held.key: held} if held.state_key is not None and pending.is_shown else {}
    if expected != pending.changes or (arrival.missing and pending.is_shown):
        people = {UserID(key[1]) for key in (*expected, *pending.changes) if key[0] == "m.room.member"}
        ours = {user_id for user_id in people if server_of(user_id) == server}
        moved = {user_id: user_id in pending.after.joined for user_id in ours}
        txn.tell(StateRewritten(position=stream, room_id=held.event.room_id, moved=moved))


def _find_audience(pending: Pending, server: ServerName) -> Audience | None:
    """Which other servers this one tells of an event; None for none, as of events that came from them."""
    arrival, after = pending.arrival, pending.after
    if arrival is not None and not arrival.is_passed_on:
        return None
    target = None
    if pending.held.membership in ("leave", "ban"):
        target = server_of(UserID(pending.held.state_key or ""))
    if target in (None, server) and not any(other != server for other in after.servers):
        return None
    return Audience(after.servers, target, after.find(("m.room.server_acl", "")))


def _write_servers(txn: Txn, pending: Pending, stream: int, server: ServerName) -> None:
    """Write which other servers come into the room or go; those that are put out by us are told that."""
    room_nid, inside, is_ours = pending.held.room_nid, pending.after.servers, pending.arrival is None
    touched = {
        (server_of(UserID(state_key)), held is not None and held.membership in ("invite", "knock"))
        for (kind, state_key), held in pending.changes.items()
        if kind == "m.room.member"
    }
    for other, is_asked in touched:
        if other == server:
            continue
        if other in inside:
            set_joined(txn, other, room_nid, stream)
        elif not is_asked:
            set_left(txn, other, room_nid, stream, is_told=is_ours)


def _find_met(txn: Txn, pending: Pending, server: ServerName) -> list[UserID]:
    """Those of ours who come in and meet servers there that have been told nothing of their devices."""
    servers = pending.after.servers
    if len(servers) < 2:
        return []
    joined = [
        UserID(key)
        for (kind, key), held in pending.changes.items()
        if kind == "m.room.member" and held is not None and held.membership == "join"
    ]
    return [each for each in joined if server_of(each) == server and _is_new_to(txn, each, servers, server)]


def _is_new_to(txn: Txn, user_id: UserID, servers: Iterable[ServerName], ours: ServerName) -> bool:
    return not set(servers) <= {ours, *load_servers_near(txn, user_id)}


def _write_changes(txn: Txn, pending: Pending, stream: int, server: ServerName) -> None:
    room_nid, is_aside = pending.held.room_nid, pending.arrival is not None and pending.arrival.is_aside
    for key, held in pending.changes.items():
        append_state_change(txn, room_nid, StateChange(stream, key, held.nid if held is not None else None))
        if key[0] == "m.room.member":
            _write_member(txn, room_nid, (UserID(key[1]), held), stream, server)
        elif key in _OPENING:
            why, field, value = _OPENING[key]
            is_open = held is not None and held.event.content.get(field) == value
            if is_open or is_aside or (held is not None and held.replaced is not None):
                set_open(txn, room_nid, why, is_open=is_open)


def _write_member(
    txn: Txn, room_nid: int, member: tuple[UserID, RoomEvent | None], stream: int, server: ServerName
) -> None:
    user_id, held = member
    ours = server_of(user_id) == server
    if held is not None:
        set_membership(txn, held, stream, ours=ours)
    else:
        remove_membership(txn, user_id, room_nid, stream, ours=ours)
