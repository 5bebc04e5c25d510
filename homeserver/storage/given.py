"""What other servers are given of a room's history: read by event ID, whatever standing it has.

Spec: server-server-api#backfilling-and-retrieving-missing-events
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from federation.ids import EventID, RoomID, ServerName
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, load_contents, load_dated
from homeserver.storage.received import find_by_id
from homeserver.storage.rooms import RoomRecord
from homeserver.storage.state import load_group, load_group_nids, load_key_events

_VISIBILITY: Final = ("m.room.history_visibility", "")
_MOST: Final = 2**63 - 1
_LIKE: Final = str.maketrans({"%": r"\%", "_": r"\_", "\\": r"\\"})


class _Auth(msgspec.Struct):
    auth_events: list[Any]


_auth_decoder: Final = msgspec.json.Decoder(_Auth)


def find_room_of_any(txn: Txn, event_id: str) -> RoomID | None:
    """The room of an event, whatever its standing; anything may be asked."""
    sql = "SELECT rooms.room_id FROM events JOIN rooms ON rooms.nid = events.room_nid WHERE event_id = ?"
    row = txn.one(sql, (event_id,))
    return None if row is None else RoomID(row[0])


def load_state_before(txn: Txn, record: RoomRecord, event_id: EventID) -> dict[EventID, bytes] | None:
    """The state before an event that has a place: canonical JSON by ID."""
    row = txn.one(
        "SELECT nid, state_key, group_nid, replaces_nid, standing FROM events WHERE event_id = ? AND room_nid = ?",
        (event_id, record.nid),
    )
    if row is None or not row[2]:
        return None
    nid, state_key, group, replaces, standing = row
    nids = _fold(txn, record, group)
    if state_key is not None and standing != 2:
        nids.discard(nid)
        nids |= {replaces} - {None}
    rows = txn.all_in("SELECT event_id, json FROM events WHERE nid {in}", nids)
    return {EventID(each): bytes(raw) for each, raw in rows}


def _fold(txn: Txn, record: RoomRecord, group: int) -> set[int]:
    """The ids of the events in a group's state."""
    row = load_group(txn, group)
    if row.base is None:
        return set(row.event_nids)
    nids = load_group_nids(txn, row)
    rows = txn.all_in("SELECT nid, type, state_key FROM events WHERE nid {in}", set(nids))
    keys = {nid: (kind, state_key) for nid, kind, state_key in rows}
    return set({keys[nid]: nid for nid in nids}.values())


def load_chain(txn: Txn, record: RoomRecord, events: Iterable[bytes], most: int) -> dict[EventID, bytes]:
    """All events that some rest on, the rejected left out, as canonical JSON by ID; at most about so many."""
    found: dict[EventID, bytes] = {}
    ahead = {each for raw in events for each in _auth_of(raw)}
    while ahead and len(found) < most:
        rows = txn.all_in(
            "SELECT event_id, json FROM events WHERE event_id {in} AND room_nid = ?", ahead, (record.nid,)
        )
        new = {EventID(event_id): bytes(raw) for event_id, raw in rows}
        found |= new
        ahead = {each for raw in new.values() for each in _auth_of(raw)} - found.keys()
    return found


def _auth_of(raw: bytes) -> list[EventID]:
    # versions 1 and 2 have pairs of ID and hash
    return [each[0] if isinstance(each, list) else each for each in _auth_decoder.decode(raw).auth_events]


def walk_back(
    txn: Txn, record: RoomRecord, starts: Sequence[EventID], stop: set[EventID], most: int
) -> list[RoomEvent]:
    """Events and what comes before them, breadth first, without those of `stop` and what only they follow.

    Only events that have a place are found, the rejected left out.
    """
    found: dict[EventID, RoomEvent] = {}
    seen, ahead = set(stop), [each for each in starts if each not in stop]
    while ahead and len(found) < most:
        seen.update(ahead)
        round_ = find_by_id(txn, record, ahead)
        placed = _placed(txn, round_)
        here = sorted((held for held in round_.values() if held.nid in placed), key=_newest_first)
        for held in here[: most - len(found)]:
            found[held.event_id] = held
        ahead = list(dict.fromkeys(each for held in here for each in held.event.prev_events if each not in seen))
    return list(found.values())


def _newest_first(held: RoomEvent) -> tuple[int, int]:
    return -held.event.depth, -held.stream


def _placed(txn: Txn, events: dict[EventID, RoomEvent]) -> set[int]:
    rows = txn.all_in(
        "SELECT nid FROM events WHERE nid {in} AND group_nid > 0 AND standing IN (0, 1)",
        [held.nid for held in events.values()],
    )
    return {nid for (nid,) in rows}


class ServerSight:
    """What one server may see of a room: who of it was there, and what the visibility was, in each state."""

    def __init__(self, txn: Txn, record: RoomRecord, server: ServerName) -> None:
        self._txn = txn
        rules = load_key_events(txn, record.nid, _VISIBILITY)
        contents = load_contents(txn, rules)
        self._rules = {nid: contents[nid].get("history_visibility") for nid in rules}
        self._record = record
        self._server = server
        self._members: dict[int, tuple[str, str]] | None = None

    def may_see(self, held: RoomEvent) -> bool:
        """Whether the server may see the event as a whole.

        Spec: client-server-api#room-history-visibility
        """
        if all(rule not in ("invited", "joined") for rule in self._rules.values()):
            return True
        nids = load_group_nids(self._txn, load_group(self._txn, held.group))
        rule: object = None
        for nid in nids:
            rule = self._rules.get(nid, rule)
        if rule not in ("invited", "joined"):
            return True
        allowed = ("join",) if rule == "joined" else ("join", "invite")
        if self._members is None:
            self._members = _load_members(self._txn, self._record, self._server)
        members = self._members
        latest = dict(members[nid] for nid in nids if nid in members)
        return any(membership in allowed for membership in latest.values())


def _load_members(txn: Txn, record: RoomRecord, server: ServerName) -> dict[int, tuple[str, str]]:
    """Who of a server the room ever knew: person and membership by event."""
    rows = txn.all(
        "SELECT nid, state_key, membership FROM events WHERE room_nid = ? AND type = 'm.room.member'"
        r" AND state_key LIKE ? ESCAPE '\'",
        (record.nid, "%:" + server.translate(_LIKE)),
    )
    return {nid: (user_id, membership) for nid, user_id, membership in rows}


def find_witnessed(txn: Txn, record: RoomRecord, server: ServerName, event_ids: Sequence[EventID]) -> list[EventID]:
    """Those of some events before which somebody of the server was in the room, or that came here while it was."""
    members = _load_members(txn, record, server)
    if all(membership != "join" for _, membership in members.values()):
        return []
    rows = txn.all_in(
        "SELECT event_id, nid, group_nid, replaces_nid, stream FROM events WHERE event_id {in} AND room_nid = ?"
        " AND group_nid > 0 AND standing = 0",
        set(event_ids),
        (record.nid,),
    )
    found, parting = set(), load_parting(txn, record, server)
    for event_id, nid, group, replaces, stream in rows:
        nids = [*load_group_nids(txn, load_group(txn, group)), replaces]
        before = dict(members[each] for each in nids if each in members and each != nid)
        if "join" in before.values() or 0 < (stream or 0) <= parting:
            found.add(event_id)
    return [event_id for event_id in event_ids if event_id in found]


def load_parting(txn: Txn, record: RoomRecord, server: ServerName) -> int:
    """The stream position at which a server went out of the room, as the state became here; 0 if it is in it, or never
    was.
    """
    rows = txn.all(
        "SELECT c.stream, c.state_key, e.membership FROM state_changes c LEFT JOIN events e ON e.nid = c.event_nid"
        r" WHERE c.room_nid = ? AND c.type = 'm.room.member' AND c.state_key LIKE ? ESCAPE '\' ORDER BY c.stream",
        (record.nid, "%:" + server.translate(_LIKE)),
    )
    inside: set[str] = set()
    went = 0
    for stream, person, membership in rows:
        if membership == "join":
            inside.add(person)
        elif person in inside:
            inside.remove(person)
            went = stream
    return 0 if inside else went


def find_parting(txn: Txn, record: RoomRecord, server: ServerName) -> RoomEvent | None:
    """The event after which a server was in the room no more; None if it is in it, or never was."""
    row = txn.one(
        "SELECT event_id FROM events WHERE room_nid = ? AND stream = ?",
        (record.nid, load_parting(txn, record, server)),
    )
    return None if row is None else find_by_id(txn, record, [row[0]]).get(row[0])


def find_dated(txn: Txn, record: RoomRecord, at_ms: int, *, backwards: bool) -> RoomEvent | None:
    """The event of the timeline that is closest to a time, not after it if `backwards`, else not before it."""
    start = (at_ms, _MOST, _MOST) if backwards else (at_ms, -1, -_MOST)
    found = load_dated(txn, record, start, 1, backwards=backwards)
    return found[0] if found else None
