"""Relations between the events of a room: a row for each event of a timeline that relates to another.

The rows say what the events say. Whether a relation counts (an edit by somebody else does not) is judged where it is
read, and so is who may see it.

Spec: client-server-api#forming-relationships-between-events
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from federation.event import Event
from federation.ids import EventID, UserID, fits
from homeserver.storage.database import Insert, Txn
from homeserver.storage.events import Place, RoomEvent
from homeserver.storage.threads import Relation, relation_of

BUNDLED: Final = frozenset({"m.replace", "m.reference", "m.thread"})
"""The types of relations that are aggregated."""
MOST_REFERENCES: Final = 1000
"""How many references to an event are listed with it, the latest."""
MOST_IGNORED: Final = 500
"""How many ignored people a list of threads leaves out of account."""

_RELATION: Final = Insert(
    "INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, type, sender, annotation, sound, group_nid,"
    " depth, stream) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def find_relation(content: Mapping[str, Any]) -> Relation | None:
    """The relation that is kept of an event of that content, None if there is none or it cannot be one."""
    relation = relation_of(content)
    if relation is None or not all(text and fits(text) for text in relation):
        return None
    return relation


def append_relation(txn: Txn, held: RoomEvent, stream: int) -> None:
    """Record what an event relates to, if it does, as it enters its room's timeline at that position."""
    event = held.event
    if "m.relates_to" not in event.content:
        return
    relation = find_relation(event.content)
    if relation is not None:
        key = event.content["m.relates_to"].get("key")
        annotation = key if isinstance(key, str) else None
        sound = int(_is_sound(event, relation.type, annotation))
        what = (relation.event_id, relation.type, event.type, event.sender, annotation, sound)
        row = (held.nid, held.room_nid, *what, held.group, event.depth, stream)
        txn.append(_RELATION, row)


def _is_sound(event: Event, rel_type: str, annotation: str | None) -> bool:
    """Whether an event has what the type of its relation demands of it.

    Spec: client-server-api#validity-of-replacement-events
    """
    if rel_type == "m.replace":
        renewed = event.type == "m.room.encrypted" or isinstance(event.content.get("m.new_content"), dict)
        return renewed and not event.is_state
    if rel_type == "m.annotation":
        return annotation is not None
    return rel_type != "m.thread" or not event.is_state


def remove_relation(txn: Txn, event_nid: int) -> None:
    """Forget what an event related to, as when it is redacted."""
    txn.run("DELETE FROM relations WHERE event_nid = ?", (event_nid,))


def has_annotation(txn: Txn, room_nid: int, annotation: tuple[str, str, str, str]) -> bool:
    """Whether an event has been annotated so: by ID, with that sender, type and key.

    Spec: client-server-api#avoiding-duplicate-annotations
    """
    row = txn.one(
        "SELECT 1 FROM relations WHERE parent_id = ? AND sender = ? AND type = ? AND annotation = ?"
        " AND rel_type = 'm.annotation' AND room_nid = ? LIMIT 1",
        (*annotation, room_nid),
    )
    return row is not None


def is_related(txn: Txn, room_nid: int, event_id: str) -> bool:
    """Whether an event of that room itself relates to another."""
    row = txn.one(
        "SELECT 1 FROM relations r JOIN events e ON e.nid = r.event_nid WHERE e.event_id = ? AND +e.room_nid = ?",
        (event_id, room_nid),
    )
    return row is not None


def load_parents(txn: Txn, nids: Iterable[int]) -> set[int]:
    """Those of some events that others relate to."""
    rows = txn.all_in(
        "SELECT e.nid FROM events e WHERE e.nid {in} AND EXISTS"
        " (SELECT 1 FROM relations r WHERE r.room_nid = e.room_nid AND r.parent_id = e.event_id)",
        nids,
    )
    return {nid for (nid,) in rows}


# what is bundled with an event


class Edit(NamedTuple):
    """A replacement of an event that may be the most recent one."""

    parent_id: EventID
    nid: int
    event_id: EventID
    sent_ms: int
    group: int
    stream: int


class Reference(NamedTuple):
    """An event that refers to another."""

    parent_id: EventID
    event_id: EventID
    sender: UserID
    group: int
    stream: int


class Share(NamedTuple):
    """What one person wrote in a thread while the room had one state: how much, and the last of it."""

    parent_id: EventID
    sender: UserID
    group: int
    nid: int
    depth: int
    stream: int
    number: int


def load_edits(txn: Txn, room_nid: int, parents: Iterable[EventID]) -> list[Edit]:
    """The valid replacements of messages: of each, and of each state of the room, those sent last.

    Spec: client-server-api#validity-of-replacement-events
    """
    rows = txn.all_in(
        "SELECT parent_id, nid, event_id, origin_server_ts, group_nid, stream FROM ("
        " SELECT r.parent_id, e.nid, e.event_id, e.origin_server_ts, r.group_nid, r.stream, RANK() OVER"
        " (PARTITION BY r.parent_id, r.group_nid ORDER BY e.origin_server_ts DESC) AS place"
        " FROM relations r JOIN events e ON e.nid = r.event_nid JOIN events p ON p.event_id = r.parent_id"
        " WHERE r.parent_id {in} AND r.room_nid = ? AND r.rel_type = 'm.replace' AND r.sound = 1"
        " AND r.sender = p.sender AND r.type = p.type AND p.room_nid = r.room_nid) AS ranked WHERE place = 1",
        parents,
        (room_nid,),
    )
    return [Edit(*row) for row in rows]


def load_references(txn: Txn, room_nid: int, parents: Iterable[EventID]) -> list[Reference]:
    """The events that refer to some events, of each the latest, in the order of the room."""
    rows = txn.all_in(
        "SELECT parent_id, event_id, latest.sender, latest.group_nid, latest.stream FROM ("
        " SELECT r.parent_id, r.event_nid, r.sender, r.group_nid, r.depth, r.stream, ROW_NUMBER() OVER"
        " (PARTITION BY r.parent_id ORDER BY r.depth DESC, r.stream DESC) AS place FROM relations r"
        " WHERE r.parent_id {in} AND r.room_nid = ? AND r.rel_type = 'm.reference') AS latest"
        " JOIN events e ON e.nid = latest.event_nid WHERE place <= ? ORDER BY latest.depth, latest.stream",
        parents,
        (room_nid, MOST_REFERENCES),
    )
    return [Reference(*row) for row in rows]


def load_shares(txn: Txn, room_nid: int, roots: Iterable[EventID]) -> list[Share]:
    """Who wrote how much in the threads off some events."""
    rows = txn.all_in(
        "SELECT s.parent_id, s.sender, s.group_nid, l.event_nid, l.depth, l.stream, s.number FROM ("
        " SELECT r.parent_id, r.sender, r.group_nid, COUNT(*) AS number, MAX(r.depth) AS depth FROM relations r"
        " WHERE r.parent_id {in} AND r.room_nid = ? AND r.rel_type = 'm.thread' AND r.sound = 1"
        " GROUP BY r.parent_id, r.sender, r.group_nid) AS s"
        " JOIN relations l ON l.parent_id = s.parent_id AND l.sender = s.sender AND l.group_nid = s.group_nid"
        " AND l.depth = s.depth AND l.room_nid = ? AND l.rel_type = 'm.thread' AND l.sound = 1 ORDER BY l.stream",
        roots,
        (room_nid, room_nid),
    )
    # of two of the same depth the later stands
    return list({row[:3]: Share(*row) for row in rows}.values())


# pages of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which relations to an event: of a type and from events of a type (None: any), followed over so many of them."""

    nid: int
    event_id: EventID
    rel_type: str | None = None
    type: str | None = None
    depth: int = 1


_CHILDREN: Final = (
    "SELECT r.event_nid, r.depth, r.stream, 1 AS hops FROM relations r WHERE r.room_nid = ? AND r.parent_id = ?"
)
_FAMILY: Final = "WITH RECURSIVE family (event_nid, depth, stream, hops) AS ("
_NEXT_OF_FAMILY: Final = (
    " UNION SELECT r.event_nid, r.depth, r.stream, f.hops + 1 FROM family f JOIN events e ON e.nid = f.event_nid"
    " JOIN relations r ON r.parent_id = e.event_id AND r.room_nid = ? WHERE f.hops < ?"
)
_WHOLE_FAMILY: Final = (
    ") SELECT event_nid, depth, stream, 0 FROM (SELECT DISTINCT event_nid, depth, stream FROM family) AS once"
    " WHERE event_nid <> ?"
)


def load_children(
    txn: Txn, room_nid: int, wanted: Wanted, start: Place, most: int, *, backwards: bool
) -> list[tuple[int, Place]]:
    """The events that relate to one, from a place on, in the order of paging; `start` belongs to what is before it."""
    which, chosen = "", []
    for column, value in (("rel_type", wanted.rel_type), ("type", wanted.type)):
        if value is not None:
            which += f" AND r.{column} = ?"
            chosen.append(value)
    params: tuple[object, ...] = (room_nid, wanted.event_id, *chosen)
    if wanted.depth == 1:
        family = f"{_CHILDREN}{which}"
    else:
        family = f"{_FAMILY} {_CHILDREN}{which}{_NEXT_OF_FAMILY}{which}{_WHOLE_FAMILY}"
        params += (room_nid, wanted.depth, *chosen, wanted.nid)
    order, sign = ("DESC", "<=") if backwards else ("ASC", ">")
    rows = txn.all(
        f"{family} AND (depth, stream) {sign} (?, ?) ORDER BY depth {order}, stream {order} LIMIT ?",
        (*params, *start, most),
    )
    return [(nid, (depth, stream)) for nid, depth, stream, _ in rows]


class ThreadPlace(NamedTuple):
    """A thread, and where the last of it is."""

    root_id: EventID
    place: Place


_LAST_IN_THREADS: Final = (
    "SELECT r.parent_id, r.depth, r.stream FROM relations r WHERE r.room_nid = ? AND r.rel_type = 'm.thread'"
    " AND r.sound = 1 AND (r.depth, r.stream) < (?, ?) AND (r.depth, r.stream) <= (?, ?)"
)
_NO_LATER: Final = (
    " AND NOT EXISTS (SELECT 1 FROM relations n WHERE n.room_nid = r.room_nid AND n.parent_id = r.parent_id"
    " AND n.rel_type = 'm.thread' AND n.sound = 1 AND (n.depth, n.stream) > (r.depth, r.stream)"
    " AND (n.depth, n.stream) <= (?, ?)"
)
_TAKES_PART: Final = (
    " AND (EXISTS (SELECT 1 FROM relations o WHERE o.parent_id = r.parent_id AND o.sender = ?"
    " AND o.room_nid = r.room_nid AND o.rel_type = 'm.thread' AND o.sound = 1)"
    " OR EXISTS (SELECT 1 FROM events p WHERE p.event_id = r.parent_id AND p.sender = ?))"
)


def load_threads(
    txn: Txn, room_nid: int, window: tuple[Place, Place], most: int, *, by: UserID | None, ignored: Collection[str]
) -> list[ThreadPlace]:
    """The threads of a room by the last event in them that is not sent by somebody ignored, the latest first.

    `window` is the place before which that event is, and the place after which nothing counts. `by`: only those
    threads in which that person takes part.
    """
    before, end = window
    people = sorted(ignored)[:MOST_IGNORED]
    heard = f" AND {{}}.sender NOT IN ({', '.join('?' * len(people))})" if people else ""
    rows = txn.all(
        f"{_LAST_IN_THREADS}{heard.format('r')}{_NO_LATER}{heard.format('n')})"
        f"{'' if by is None else _TAKES_PART} ORDER BY r.depth DESC, r.stream DESC LIMIT ?",
        (room_nid, *before, *end, *people, *end, *people, *(() if by is None else (by, by)), most),
    )
    return [ThreadPlace(root_id, (depth, stream)) for root_id, depth, stream in rows]


def find_roots(txn: Txn, room_nid: int, event_ids: Sequence[EventID]) -> dict[EventID, int]:
    """The ids of those events of a room's timeline that a thread may start from: messages that relate to nothing.

    Spec: client-server-api#threading
    """
    rows = txn.all_in(
        "SELECT e.event_id, e.nid FROM events e WHERE e.event_id {in} AND +e.room_nid = ? AND e.stream IS NOT NULL"
        " AND e.state_key IS NULL AND NOT EXISTS (SELECT 1 FROM relations r WHERE r.event_nid = e.nid)",
        event_ids,
        (room_nid,),
    )
    return dict(rows)
