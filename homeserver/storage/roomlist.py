"""Rooms as operators see them: listed, found and sorted by what their present state says.

What state says lies in events and packed groups, by which nothing can be sorted; so the little that lists need of it is
kept in `room_overviews` by whoever writes the state. Who is in a room is counted when it is asked for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from federation.ids import RoomID, ServerName, UserID
from homeserver.storage.database import Insert, Row, Txn
from homeserver.storage.patterns import containing

_OVERVIEW: Final = Insert(
    "INSERT INTO room_overviews (room_nid, name, canonical_alias, encryption, federatable, join_rules, guest_access,"
    " history_visibility, room_type) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (room_nid) DO UPDATE SET name = excluded.name, canonical_alias = excluded.canonical_alias,"
    " encryption = excluded.encryption, federatable = excluded.federatable, join_rules = excluded.join_rules,"
    " guest_access = excluded.guest_access, history_visibility = excluded.history_visibility,"
    " room_type = excluded.room_type"
)
_FROM: Final = "FROM rooms r LEFT JOIN room_overviews o ON o.room_nid = r.nid"
_JOINED: Final = "SELECT {what} FROM memberships m WHERE m.room_nid = r.nid AND m.membership = 'join'"
_PUBLIC: Final = "EXISTS (SELECT 1 FROM published p WHERE p.room_nid = r.nid)"
_LOCAL: Final = "m.user_id LIKE ? ESCAPE '\\'"
_STATE: Final = "SELECT {what}COUNT(DISTINCT s.type || ' ' || s.state_key) FROM state_changes s WHERE s.room_nid "
_SHOWN: Final = "SELECT 1 FROM memberships m WHERE m.room_nid = ? AND m.forgotten = 0 AND m.user_id LIKE ? ESCAPE '\\'"

ORDERS: Final = {
    "name": "COALESCE(o.name, '') ASC",
    "alphabetical": "COALESCE(o.name, '') ASC",
    "canonical_alias": "COALESCE(o.canonical_alias, '') ASC",
    "size": f"({_JOINED.format(what='COUNT(*)')}) DESC",
    "joined_members": f"({_JOINED.format(what='COUNT(*)')}) DESC",
    "joined_local_members": f"({_JOINED.format(what='COUNT(*)')} AND {_LOCAL}) DESC",
    "version": "r.version DESC",
    "creator": "r.creator ASC",
    "encryption": "COALESCE(o.encryption, '') ASC",
    "federatable": "COALESCE(o.federatable, 1) ASC",
    "public": f"CASE WHEN {_PUBLIC} THEN 1 ELSE 0 END ASC",
    "join_rules": "COALESCE(o.join_rules, '') ASC",
    "guest_access": "COALESCE(o.guest_access, '') ASC",
    "history_visibility": "COALESCE(o.history_visibility, '') ASC",
    "state_events": f"({_STATE.format(what='')}= r.nid) DESC",
}
"""By what rooms may be sorted, forwards; equals are in the order of their IDs."""


class Overview(NamedTuple):
    """What a room's present state says, as far as lists need it."""

    room_nid: int
    name: str | None
    canonical_alias: str | None
    encryption: str | None
    federatable: bool
    join_rules: str | None
    guest_access: str | None
    history_visibility: str | None
    room_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRoom:
    """A room on a page; `overview` is None as long as nobody has written one."""

    nid: int
    room_id: RoomID
    version: str
    creator: UserID
    public: bool
    overview: Overview | None
    joined: int
    joined_local: int
    state_events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomQuery:
    """Which rooms, in which order; None stands for no condition. `ours` is the server's name."""

    ours: ServerName
    term: str | None = None
    public: bool | None = None
    empty: bool | None = None
    order: str = "name"
    backwards: bool = False
    start: int = 0
    limit: int = 100


def set_overview(txn: Txn, overview: Overview) -> None:
    """Write what lists need of a room."""
    txn.append(_OVERVIEW, (*overview[:4], int(overview.federatable), *overview[5:]))


def load_listed_rooms(txn: Txn, query: RoomQuery) -> tuple[list[ListedRoom], int]:
    """A page of the rooms, and how many there are on all pages."""
    where, params = _conditions(query)
    order = ORDERS[query.order]
    if query.backwards:
        order = order[:-4] + " DESC" if order.endswith(" ASC") else order[:-5] + " ASC"
    sorting = [_local(query.ours)] if _LOCAL in order else []
    rows = txn.all(
        f"SELECT r.nid {_FROM} WHERE {where} ORDER BY {order}, r.room_id LIMIT ? OFFSET ?",
        (*params, *sorting, query.limit, query.start),
    )
    total = txn.one(f"SELECT COUNT(*) {_FROM} WHERE {where}", params)
    nids = [nid for (nid,) in rows]
    listed = {room.nid: room for room in _load(txn, nids, query.ours)}
    return [listed[nid] for nid in nids], 0 if total is None else int(total[0])


def find_listed_room(txn: Txn, nid: int, ours: ServerName) -> ListedRoom | None:
    """A room as it is listed."""
    return next(iter(_load(txn, [nid], ours)), None)


def count_devices_in(txn: Txn, room_nid: int) -> int:
    """How many devices the people of this server have who are joined to a room."""
    row = txn.one(
        "SELECT COUNT(*) FROM memberships m JOIN devices d ON d.user_id = m.user_id"
        " WHERE m.room_nid = ? AND m.membership = 'join'",
        (room_nid,),
    )
    return 0 if row is None else int(row[0])


def is_forgotten(txn: Txn, room_nid: int, ours: ServerName) -> bool:
    """Whether nobody of this server is shown the room any more."""
    return txn.one(_SHOWN, (room_nid, _local(ours))) is None


def add_overview(txn: Txn, overview: Overview) -> None:
    """Write what lists need of a room unless somebody has, who then knows better."""
    row = txn.one("SELECT 1 FROM room_overviews WHERE room_nid = ?", (overview.room_nid,))
    if row is None:
        set_overview(txn, overview)


def load_rooms_without_overview(txn: Txn, after: int, most: int) -> list[tuple[int, RoomID]]:
    """Rooms of which lists know nothing yet, as (nid, ID) in the order of nids, from behind one on."""
    sql = f"SELECT r.nid, r.room_id {_FROM} WHERE o.room_nid IS NULL AND r.nid > ? ORDER BY r.nid LIMIT ?"
    return [(nid, RoomID(room_id)) for nid, room_id in txn.all(sql, (after, most))]


def remove_overviews(txn: Txn) -> None:
    """Forget what lists know of rooms, so that it is made anew."""
    txn.run("DELETE FROM room_overviews")


def load_largest(txn: Txn, most: int, sample: int) -> list[tuple[RoomID, int]]:
    """The rooms with most events, and about how many bytes those take: their number times the size of the last ones."""
    rows = txn.all(
        "SELECT e.room_nid, COUNT(*) FROM events e WHERE e.stream IS NOT NULL GROUP BY e.room_nid"
        " ORDER BY COUNT(*) DESC, e.room_nid LIMIT ?",
        (most,),
    )
    sized = []
    for nid, count in rows:
        row = txn.one(
            "SELECT r.room_id, (SELECT AVG(LENGTH(last.json)) FROM (SELECT e.json FROM events e"
            " WHERE e.room_nid = r.nid AND e.stream IS NOT NULL ORDER BY e.stream DESC LIMIT ?) last)"
            " FROM rooms r WHERE r.nid = ?",
            (sample, nid),
        )
        if row is not None:
            sized.append((RoomID(row[0]), round(count * float(row[1] or 0))))
    return sorted(sized, key=lambda room: -room[1])


def _load(txn: Txn, nids: list[int], ours: ServerName) -> list[ListedRoom]:
    rooms = txn.all_in(
        "SELECT r.nid, r.room_id, r.version, r.creator, p.room_nid, o.room_nid, o.name, o.canonical_alias,"
        " o.encryption, o.federatable, o.join_rules, o.guest_access, o.history_visibility, o.room_type"
        f" {_FROM} LEFT JOIN published p ON p.room_nid = r.nid WHERE r.nid {{in}}",
        nids,
    )
    joined = "SELECT m.room_nid, COUNT(*) FROM memberships m WHERE m.room_nid {in} AND m.membership = 'join'"
    states = _STATE.format(what="s.room_nid, ") + "{in} GROUP BY s.room_nid"
    everybody = _counted(txn.all_in(f"{joined} GROUP BY m.room_nid", nids))
    ours_there = _counted(txn.all_in(f"{joined} AND {_LOCAL} GROUP BY m.room_nid", nids, (_local(ours),)))
    state_events = _counted(txn.all_in(states, nids))
    return [
        ListedRoom(
            nid=nid,
            room_id=RoomID(room_id),
            version=version,
            creator=UserID(creator),
            public=published is not None,
            overview=_read_overview(known),
            joined=everybody.get(nid, 0),
            joined_local=ours_there.get(nid, 0),
            state_events=state_events.get(nid, 0),
        )
        for nid, room_id, version, creator, published, *known in rooms
    ]


def _counted(rows: Iterable[Row]) -> dict[int, int]:
    return {nid: count for nid, count in rows}


def _read_overview(known: Sequence[Any]) -> Overview | None:
    overview = Overview(*known)
    return None if known[0] is None else overview._replace(federatable=bool(overview.federatable))


def _local(ours: ServerName) -> str:
    """The pattern of the user IDs of a server."""
    return containing(f":{ours}")[:-1]


def _conditions(query: RoomQuery) -> tuple[str, list[object]]:
    conditions: list[str] = ["TRUE"]
    params: list[object] = []
    if query.term:
        term = containing(query.term)
        alias = containing(query.term.lower()) + ":%"
        conditions.append(
            "(o.name LIKE ? ESCAPE '\\' OR LOWER(o.name) LIKE ? ESCAPE '\\'"
            " OR LOWER(o.canonical_alias) LIKE ? ESCAPE '\\' OR r.room_id = ?)"
        )
        params += [term, containing(query.term.lower()), alias, query.term]
    for wanted, test in ((query.public, _PUBLIC), (query.empty, f"NOT EXISTS ({_JOINED.format(what='1')})")):
        if wanted is not None:
            conditions.append(test if wanted else f"NOT {test}")
    return " AND ".join(conditions), params
