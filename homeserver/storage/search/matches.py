"""Asking the index: which texts have all the words, in the rooms of one person."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import msgspec

from federation.ids import EventID, RoomID, UserID
from federation.versions import ROOM_VERSIONS
from homeserver.storage.database import Row, Txn
from homeserver.storage.rooms import RoomRecord
from homeserver.storage.search.index import mark_stem
from homeserver.storage.search.words import KINDS

Bound: TypeAlias = tuple[int, int]
"""Before what matches lie, which are in the order of (stream, nid)."""
FAR: Final[Bound] = (2**63 - 1, 2**63 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A room that somebody may look for something in, up to a stream position; `left`: they are not in it any more."""

    record: RoomRecord
    upto: int
    left: bool


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
    return Ground(record=record, upto=stream if left else FAR[0], left=left)


_ON_SQLITE: Final = (
    "FROM json_each(?) wanted CROSS JOIN search_fts i CROSS JOIN search_texts s ON s.nid = i.rowid{events}"
    " WHERE i.search_fts MATCH json_extract(wanted.value, '$[0]')"
    " AND s.stream <= json_extract(wanted.value, '$[1]'){which}"
)
_ON_POSTGRESQL: Final = (
    "FROM unnest(CAST(? AS text[]), CAST(? AS bigint[])) AS wanted (stems, upto) CROSS JOIN LATERAL"
    " (SELECT s.room_nid, s.nid, s.about_nid, s.stream FROM search_texts s{events}"
    " WHERE s.stems @@ CAST(wanted.stems AS tsquery) AND s.stream <= wanted.upto{which}) AS s"
)
_SENDER: Final = " JOIN events e ON e.nid = s.about_nid"
_MATCH: Final = (
    "SELECT f.room_nid, f.nid, t.group_nid, t.stream, f.about_nid, a.event_id, a.group_nid, f.stream, a.sender"
    " FROM (SELECT s.room_nid, s.nid, s.about_nid, s.stream {found} ORDER BY s.stream DESC, s.nid DESC LIMIT ?) AS f"
    " JOIN events t ON t.nid = f.nid JOIN events a ON a.nid = f.about_nid ORDER BY f.stream DESC, f.nid DESC"
)


def load_matches(txn: Txn, grounds: Sequence[Ground], wanted: Wanted, before: Bound, most: int) -> list[Match]:
    """The texts in these rooms that are wanted, that lie before a bound, the newest places first."""
    if not grounds or not wanted.stems or not wanted.types:
        return []
    found, params = _found(txn, grounds, wanted, before)
    return [Match(*row) for row in txn.all(_MATCH.format(found=found), (*params, most))]


def load_matched_rooms(txn: Txn, grounds: Sequence[Ground], wanted: Wanted) -> set[int]:
    """Those of the rooms that have something that is wanted."""
    if not grounds or not wanted.stems or not wanted.types:
        return set()
    found, params = _found(txn, grounds, wanted, FAR)
    return {room_nid for (room_nid,) in txn.all(f"SELECT DISTINCT s.room_nid {found}", params)}


def _found(txn: Txn, grounds: Sequence[Ground], wanted: Wanted, before: Bound) -> tuple[str, Sequence[object]]:
    """What follows the columns of a query, and its parameters."""
    which, chosen = _which(wanted, before)
    events = _SENDER if wanted.senders is not None or wanted.not_senders else ""
    ends = [min(ground.upto, before[0]) for ground in grounds]
    if txn.dialect == "sqlite":
        asked = [_match_form(ground.record.nid, wanted.stems) for ground in grounds]
        pairs = msgspec.json.encode(list(zip(asked, ends, strict=True))).decode()
        return _ON_SQLITE.format(events=events, which=which), (pairs, *chosen)
    asked = [_tsquery_form(ground.record.nid, wanted.stems) for ground in grounds]
    return _ON_POSTGRESQL.format(events=events, which=which), (asked, ends, *chosen)


def _which(wanted: Wanted, before: Bound) -> tuple[str, Sequence[object]]:
    """The conditions beside the words, and their parameters."""
    conditions, params = " AND (s.stream < ? OR s.nid < ?)", list[object](before)
    kinds = sorted(KINDS[name] for name in wanted.types)
    for column, values, sign in (
        ("s.kind", None if len(kinds) == len(KINDS) else kinds, "IN"),
        ("e.sender", None if wanted.senders is None else sorted(wanted.senders), "IN"),
        ("e.sender", sorted(wanted.not_senders) or None, "NOT IN"),
    ):
        if values is not None:
            conditions += f" AND {column} {sign} ({', '.join('?' * len(values)) or 'NULL'})"
            params += values
    return conditions, params


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
