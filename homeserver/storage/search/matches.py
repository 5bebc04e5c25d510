"""Asking the index: which texts have all the words, in the rooms of one person."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from federation.ids import EventID, RoomID, UserID
from federation.versions import ROOM_VERSIONS
from homeserver.storage.database import Row, Txn
from homeserver.storage.rooms import RoomRecord
from homeserver.storage.search.index import PLACES, mark_stem
from homeserver.storage.search.words import KINDS

FAR: Final = 2**63 - 1
"""A place behind which nothing lies."""
_TIMES: Final = 10
"""How many times as many matches of a room as are wanted a GIN index is asked for, at most."""
_MANY_ROOMS: Final = 50
"""In more rooms the last texts of all are looked at first."""
_FEWEST: Final = 20
"""How many matches of a room are read at first, at least, where there are many rooms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A room that somebody may look for something in, up to a stream position; `left`: they are not in it any more."""

    record: RoomRecord
    upto: int
    left: bool

    @property
    def end(self) -> int:
        """The place before which the texts lie that may be found."""
        return min((self.upto + 1) * PLACES, FAR)


class Match(NamedTuple):
    """A text that has the words: the event whose text it is and the state after it, and the same of the event that it
    is about, at whose place it stands.
    """

    room_nid: int
    nid: int
    group: int
    sent: int
    about_nid: int
    about_id: EventID
    about_group: int
    stream: int
    sender: UserID
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Texts that have words of all these stems, from events of those types and senders (None: all)."""

    stems: Sequence[str]
    types: Collection[str] = field(default_factory=lambda: KINDS)
    senders: Collection[str] | None = None
    not_senders: Collection[str] = ()


def load_grounds(txn: Txn, user_id: UserID) -> list[Ground]:
    """The rooms that somebody is in, or was in and has not forgotten; none that are encrypted.

    Spec: client-server-api#room_events
    """
    rows = txn.all(
        "SELECT r.nid, r.room_id, r.version, r.creator, r.kind, m.membership, m.stream FROM memberships m"
        " JOIN rooms r ON r.nid = m.room_nid WHERE m.user_id = ? AND m.forgotten = 0"
        " AND (m.membership = 'join' OR m.membership IN ('leave', 'ban') AND EXISTS (SELECT 1 FROM events e"
        " WHERE e.room_nid = m.room_nid AND e.type = 'm.room.member' AND e.state_key = m.user_id"
        " AND e.membership = 'join'))"
        " AND NOT EXISTS (SELECT 1 FROM state_changes c WHERE c.room_nid = m.room_nid"
        " AND c.type = 'm.room.encryption' AND c.state_key = '')",
        (user_id,),
    )
    return [_read_ground(row) for row in rows]


def _read_ground(row: Row) -> Ground:
    nid, room_id, version, creator, kind, membership, stream = row
    record = RoomRecord(
        nid=nid, room_id=RoomID(room_id), version=ROOM_VERSIONS[version], creator=UserID(creator), kind=kind
    )
    left = membership != "join"
    return Ground(record=record, upto=stream if left else FAR, left=left)


_SENDER: Final = " JOIN events e ON e.nid = s.about_nid"
_ON_SQLITE: Final = (
    "SELECT s.room_nid, s.place FROM search_fts i CROSS JOIN search_texts s ON s.place = i.rowid{events}"
    " WHERE i.search_fts MATCH ? AND i.rowid < ? AND i.rowid > ?{which} ORDER BY i.rowid DESC LIMIT ?"
)
_WANTED: Final = (
    "WITH wanted (room_nid, stems, high, low) AS (SELECT * FROM"
    " unnest(CAST(? AS bigint[]), CAST(? AS text[]), CAST(? AS bigint[]), CAST(? AS bigint[])))"
)
_SOME: Final = (
    " SELECT s.room_nid, s.place, s.number FROM wanted CROSS JOIN LATERAL"
    " (SELECT found.*, count(*) OVER () AS number FROM"
    " (SELECT s.room_nid, s.place FROM search_texts s{events} WHERE s.stems @@ CAST(wanted.stems AS tsquery)"
    " AND s.place + 0 < wanted.high AND s.place + 0 > wanted.low{which} LIMIT ?) AS found"
    " ORDER BY place DESC LIMIT ?) AS s"
)
"""The sums keep the planner from an index of places, which says nothing of the words."""
_DENSE: Final = (
    " SELECT s.room_nid, s.place, 0 FROM wanted CROSS JOIN LATERAL"
    " (SELECT s.room_nid, s.place FROM search_texts s{events}"
    " WHERE s.room_nid = wanted.room_nid AND (s.stems @@ CAST(wanted.stems AS tsquery)) IS TRUE"
    " AND s.place < wanted.high AND s.place > wanted.low{which} ORDER BY s.place DESC LIMIT ?) AS s"
)
_LAST: Final = (
    ", last AS (SELECT * FROM search_texts WHERE place < (SELECT MAX(high) FROM wanted)"
    " ORDER BY place DESC LIMIT 5000) SELECT s.room_nid, s.place, 0 FROM last s"
    " JOIN wanted ON wanted.room_nid = s.room_nid{events}"
    " WHERE s.stems @@ CAST(wanted.stems AS tsquery) AND s.place < wanted.high{which} ORDER BY s.place DESC LIMIT ?"
)
_MATCHES: Final = (
    "SELECT s.room_nid, t.nid, t.group_nid, t.stream, a.nid, a.event_id, a.group_nid, s.stream, a.sender, s.place"
    " FROM search_texts s JOIN events t ON t.nid = s.nid JOIN events a ON a.nid = s.about_nid WHERE s.place {in}"
)


class _Text(NamedTuple):
    """A text that has the words, by its place."""

    room_nid: int
    place: int


class _Span(NamedTuple):
    """Where in a room to look: below a place and above another."""

    room_nid: int
    high: int
    low: int


def load_matches(txn: Txn, grounds: Sequence[Ground], wanted: Wanted, before: int, most: int) -> list[Match]:
    """The texts in these rooms that are wanted, that lie before a place, the newest places first."""
    spans = [_Span(ground.record.nid, min(ground.end, before), -FAR) for ground in grounds]
    matches = [Match(*row) for row in txn.all_in(_MATCHES, _find_newest(txn, spans, wanted, most))]
    return sorted(matches, key=lambda match: match.place, reverse=True)


def load_matched_rooms(txn: Txn, grounds: Sequence[Ground], wanted: Wanted) -> set[int]:
    """Those of the rooms that have something that is wanted."""
    spans = [_Span(ground.record.nid, ground.end, -FAR) for ground in grounds]
    return {text.room_nid for text in _walk(txn, spans, wanted, 1)}


def _find_newest(txn: Txn, spans: Sequence[_Span], wanted: Wanted, most: int) -> list[int]:
    """The places of the newest texts: a few of each room, then of a room what is newer than the last that counts."""
    if txn.dialect == "postgresql" and len(spans) > _MANY_ROOMS:
        last = _look(txn, spans, wanted, _LAST, most)
        if len(last) == most:
            return [place for _, place, _ in last]
    few = max(most // max(len(spans), 1), _FEWEST)
    by_room: dict[int, list[int]] = {}
    for text in _walk(txn, spans, wanted, few):
        by_room.setdefault(text.room_nid, []).append(text.place)
    newest = sorted(chain.from_iterable(by_room.values()), reverse=True)
    floor = newest[most - 1] if len(newest) >= most else -FAR
    ends = [(room, places[-1]) for room, places in by_room.items() if len(places) == few]
    more = _walk(txn, [_Span(room, end, floor) for room, end in ends if end > floor], wanted, most)
    return sorted([*newest, *(text.place for text in more)], reverse=True)[:most]


def _walk(txn: Txn, spans: Sequence[_Span], wanted: Wanted, most: int) -> list[_Text]:
    """At most so many texts of each room, the newest first."""
    if not spans or not wanted.stems or not wanted.types:
        return []
    return (_walk_on_sqlite if txn.dialect == "sqlite" else _walk_on_postgresql)(txn, spans, wanted, most)


def _walk_on_sqlite(txn: Txn, spans: Sequence[_Span], wanted: Wanted, most: int) -> list[_Text]:
    events, which, chosen = _which(wanted)
    sql = _ON_SQLITE.format(events=events, which=which)
    asked = ((_match_form(span.room_nid, wanted.stems), span.high, span.low) for span in spans)
    return [_Text(*row) for each in asked for row in txn.all(sql, (*each, *chosen, most))]


def _walk_on_postgresql(txn: Txn, spans: Sequence[_Span], wanted: Wanted, most: int) -> list[_Text]:
    """A GIN index knows no order. Where it leads to many more texts of a room than are wanted, the room's last ones are
    gone through instead, of which then not so few have the words.
    """
    many = most * _TIMES
    rows = _look(txn, spans, wanted, _SOME, many, most)
    dense = {room_nid for room_nid, _, number in rows if number == many}
    rows = [row for row in rows if row[0] not in dense]
    if dense:
        rows += _look(txn, [span for span in spans if span.room_nid in dense], wanted, _DENSE, most)
    return [_Text(room_nid, place) for room_nid, place, _ in rows]


def _look(txn: Txn, spans: Sequence[_Span], wanted: Wanted, form: str, *limits: int) -> list[Row]:
    """What one of the queries for PostgreSQL finds: rooms, places, and how many there are."""
    if not spans or not wanted.stems or not wanted.types:
        return []
    events, which, chosen = _which(wanted)
    asked = [(span.room_nid, _tsquery_form(span.room_nid, wanted.stems), span.high, span.low) for span in spans]
    lists = map(list, zip(*asked, strict=True))
    return txn.all(_WANTED + form.format(events=events, which=which), (*lists, *chosen, *limits))


def _which(wanted: Wanted) -> tuple[str, str, Sequence[object]]:
    """The table joined to the texts, the conditions beside the words, and their parameters."""
    conditions, params = "", list[object]()
    kinds = sorted(KINDS[name] for name in wanted.types)
    for column, values, sign in (
        ("s.kind", None if len(kinds) == len(KINDS) else kinds, "IN"),
        ("e.sender", None if wanted.senders is None else sorted(wanted.senders), "IN"),
        ("e.sender", sorted(wanted.not_senders) or None, "NOT IN"),
    ):
        if values is not None:
            conditions += f" AND {column} {sign} ({', '.join('?' * len(values)) or 'NULL'})"
            params += values
    is_of_sender = wanted.senders is not None or bool(wanted.not_senders)
    return _SENDER if is_of_sender else "", conditions, params


def _match_form(room_nid: int, stems: Sequence[str]) -> str:
    """FTS5's form of a query for all stems; none of them has a quote in it."""
    return " AND ".join(f'"{mark_stem(room_nid, stem)}"' for stem in stems)


def _tsquery_form(room_nid: int, stems: Sequence[str]) -> str:
    """PostgreSQL's form of the same."""
    return " & ".join(f"'{mark_stem(room_nid, stem)}'" for stem in stems)


def load_contents_of(txn: Txn, nids: Collection[int]) -> Mapping[int, tuple[str, dict[str, object]]]:
    """Type and content of events, by id."""
    rows = txn.all_in("SELECT nid, type, json FROM events WHERE nid {in}", nids)
    return {nid: (kind, msgspec.json.decode(raw)["content"]) for nid, kind, raw in rows}
