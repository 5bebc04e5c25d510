"""Events of other servers as they are kept: what is known of them, how one gets its place, and where history ends.

An event has a place when the state after it is known (its group); whether people are shown it is another question
(its stream position). An outlier has none: it is there because a state or an auth event named it.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from federation.event import Event
from federation.ids import EventID
from homeserver.storage.database import Insert, Txn
from homeserver.storage.events import RoomEvent, Standing, load_events
from homeserver.storage.rooms import RoomRecord

_GAP: Final = Insert(
    "INSERT INTO gaps (room_nid, missing_id, event_nid) VALUES (?, ?, ?)"
    " ON CONFLICT (room_nid, missing_id, event_nid) DO NOTHING"
)


class Known(NamedTuple):
    """What is known of an event by its ID; `group` is 0 where it has no place."""

    nid: int
    event_id: EventID
    room_nid: int
    standing: Standing
    stream: int | None
    group: int


def find_known(txn: Txn, event_ids: Iterable[EventID]) -> dict[EventID, Known]:
    """Those of the events that are known, in whichever room."""
    rows = txn.all_in(
        "SELECT nid, event_id, room_nid, standing, stream, COALESCE(group_nid, 0) FROM events WHERE event_id {in}",
        set(event_ids),
    )
    return {
        event_id: Known(nid, event_id, room_nid, Standing(standing), stream, group)
        for nid, event_id, room_nid, standing, stream, group in rows
    }


def find_by_id(txn: Txn, room: RoomRecord, event_ids: Iterable[EventID]) -> dict[EventID, RoomEvent]:
    """Those of the events that are known in that room, whatever became of them."""
    rows = txn.all_in("SELECT nid FROM events WHERE event_id {in} AND room_nid = ?", set(event_ids), (room.nid,))
    return {held.event_id: held for held in load_events(txn, room, [nid for (nid,) in rows]).values()}


def find_rejected(txn: Txn, event_ids: Iterable[EventID]) -> set[EventID]:
    """Those of the events that were rejected."""
    rows = txn.all_in("SELECT event_id, standing FROM events WHERE event_id {in}", event_ids)
    return {EventID(event_id) for event_id, standing in rows if standing == Standing.REJECTED}


def set_place(txn: Txn, held: RoomEvent, stream: int | None, standing: Standing) -> None:
    """Give an event that was an outlier, or held back, its place."""
    replaced = held.replaced.nid if held.replaced else None
    txn.run(
        "UPDATE events SET stream = ?, group_nid = ?, replaces_nid = ?, standing = ? WHERE nid = ?",
        (stream, held.group, replaced, standing.value, held.nid),
    )


def find_early(txn: Txn, room: RoomRecord, event_ids: Collection[EventID]) -> list[RoomEvent]:
    """The accepted redactions of these events, which came before them: held back until then, but up to version 2."""
    rows = txn.all_in(
        "SELECT nid FROM events WHERE redacts {in} AND room_nid = ? AND (stream IS NULL OR ? = 1) AND standing = 0",
        event_ids,
        (room.nid, int(room.version.redaction_auth_by_server)),
    )
    return list(load_events(txn, room, [nid for (nid,) in rows]).values())


# where history ends


def append_gaps(txn: Txn, held: RoomEvent, missing: Iterable[EventID]) -> None:
    """Record that events before this one are not known."""
    for event_id in missing:
        txn.append(_GAP, (held.room_nid, event_id, held.nid))


def remove_gaps(txn: Txn, room_nid: int, event_ids: Iterable[EventID]) -> None:
    """These events have their place now."""
    txn.many("DELETE FROM gaps WHERE room_nid = ? AND missing_id = ?", [(room_nid, each) for each in event_ids])


def find_missing(txn: Txn, room_nid: int, event_ids: Iterable[EventID]) -> set[EventID]:
    """Those of the events that others are known to come after, while they are not known themselves."""
    rows = txn.all_in("SELECT missing_id FROM gaps WHERE missing_id {in} AND room_nid = ?", set(event_ids), (room_nid,))
    return {EventID(event_id) for (event_id,) in rows}


def has_gaps(txn: Txn, room_nid: int) -> bool:
    """Tell whether some of a room's history is missing here."""
    return txn.one("SELECT 1 FROM gaps WHERE room_nid = ? LIMIT 1", (room_nid,)) is not None


def load_gaps(txn: Txn, room_nid: int, upto: int, most: int) -> dict[EventID, list[EventID]]:
    """Events not deeper than `upto` before which something is missing, the deepest first, with what that is."""
    rows = txn.all(
        "SELECT e.event_id, g.missing_id FROM gaps g JOIN events e ON e.nid = g.event_nid"
        " WHERE g.room_nid = ? AND e.depth <= ? ORDER BY e.depth DESC, g.missing_id LIMIT ?",
        (room_nid, upto, most),
    )
    gaps: dict[EventID, list[EventID]] = {}
    for event_id, missing_id in rows:
        gaps.setdefault(event_id, []).append(missing_id)
    return gaps


def find_gaps(txn: Txn, room_nid: int, low: int, high: int, most: int) -> list[EventID]:
    """What is missing before the events between two depths, where they are deepest first."""
    rows = txn.all(
        "SELECT g.missing_id FROM gaps g JOIN events e ON e.nid = g.event_nid"
        " WHERE g.room_nid = ? AND e.depth >= ? AND e.depth <= ? ORDER BY e.depth DESC, g.missing_id LIMIT ?",
        (room_nid, low, high, most),
    )
    return list(dict.fromkeys(EventID(missing_id) for (missing_id,) in rows))


def find_with_gaps(txn: Txn, room_nid: int, nids: Iterable[int]) -> set[int]:
    """Those of the events before which something is missing."""
    rows = txn.all_in("SELECT event_nid FROM gaps WHERE event_nid {in} AND room_nid = ?", nids, (room_nid,))
    return {nid for (nid,) in rows}


def find_last_gap(txn: Txn, room_nid: int) -> int:
    """The stream position of the last event before which something is missing, 0 without one."""
    sql = "SELECT MAX(e.stream) FROM gaps g JOIN events e ON e.nid = g.event_nid WHERE g.room_nid = ?"
    row = txn.one(sql, (room_nid,))
    return 0 if row is None or row[0] is None else int(row[0])


def find_deepest_gap(txn: Txn, room_nid: int) -> int:
    """The depth of the deepest event before which something is missing, -1 if nothing is."""
    row = txn.one(
        "SELECT MAX(e.depth) FROM gaps g JOIN events e ON e.nid = g.event_nid WHERE g.room_nid = ?", (room_nid,)
    )
    return -1 if row is None or row[0] is None else int(row[0])


def find_beginning(txn: Txn, room_nid: int) -> int:
    """The depth of the event with which a room's timeline begins here, leaving out what was backfilled."""
    row = txn.one("SELECT depth FROM events WHERE room_nid = ? AND stream > 0 ORDER BY stream LIMIT 1", (room_nid,))
    return -1 if row is None else int(row[0])


def find_lowest(txn: Txn, room_nid: int) -> int:
    """The lowest stream position in a room's timeline that is not above 0: those below it are free."""
    row = txn.one("SELECT MIN(stream) FROM events WHERE room_nid = ? AND stream <= 0", (room_nid,))
    return 0 if row is None or row[0] is None else int(row[0])


# the auth events of many


class Chain:
    """Events of a room by ID, for whoever walks what they rest on: those `held`, others from the tables.

    What is gathered is read together with all that it rests on, in as many rounds as the chain is long. `held` grows by
    what is read.
    """

    def __init__(self, txn: Txn, room: RoomRecord, held: Mapping[EventID, RoomEvent]) -> None:
        self._txn = txn
        self._room = room
        self._absent: set[EventID] = set()
        self.held: dict[EventID, RoomEvent] = dict(held)

    def find(self, event_id: EventID) -> Event | None:
        """The event of that ID."""
        if not self._knows(event_id):
            self.gather([event_id])
        found = self.held.get(event_id)
        return None if found is None else found.event

    def gather(self, event_ids: Iterable[EventID]) -> None:
        """Read some events and all they rest on."""
        ahead, seen = set(event_ids), set[EventID]()
        while ahead:
            unread = [event_id for event_id in ahead if not self._knows(event_id)]
            found = find_by_id(self._txn, self._room, unread)
            self.held |= found
            self._absent.update(event_id for event_id in unread if event_id not in found)
            seen |= ahead
            events = [event for event_id in ahead if (event := self.find(event_id)) is not None]
            ahead = {each for event in events for each in event.auth_events} - seen

    def _knows(self, event_id: EventID) -> bool:
        return event_id in self.held or event_id in self._absent
