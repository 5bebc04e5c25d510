"""Filling and emptying the index, in units of work.

Everything that can be found and lies between two positions of the stream is in the index; `index_next` moves the newer
one on and `index_older` the older one back, by a bounded batch. What other servers send of the past has no place in
that order and waits by name. Texts that are in already are passed over.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from homeserver.storage.database import Insert, Txn
from homeserver.storage.relations import find_relation
from homeserver.storage.search.stems import stems_of
from homeserver.storage.search.words import KINDS, text_of, words_in

AT_ONCE: Final = 50
"""How many events a unit of work indexes."""

PLACES: Final = 1 << 20
"""How many places of texts there are to a position of the stream."""

_PAGES: Final = 200
"""How many pages of the index one step of clearing writes."""

_TO_FIND: Final = (
    "SELECT nid, event_id, room_nid, stream, type, json FROM events"
    " WHERE stream IS NOT NULL AND type IN ('m.room.message', 'm.room.name', 'm.room.topic')"
)
_TEXT: Final = Insert(
    "INSERT INTO search_texts (place, nid, about_nid, room_nid, stream, kind, stems) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_VECTOR: Final = Insert(
    "INSERT INTO search_texts (place, nid, about_nid, room_nid, stream, kind, stems)"
    " VALUES (?, ?, ?, ?, ?, ?, array_to_tsvector(?))"
)
_WAITING: Final = Insert("INSERT INTO search_waiting (nid) VALUES (?) ON CONFLICT DO NOTHING")
_EDITED: Final = (
    "SELECT r.event_nid, p.nid, p.stream FROM relations r"
    " JOIN events p ON p.event_id = r.parent_id AND p.room_nid = r.room_nid"
    " WHERE r.event_nid {in} AND r.rel_type = 'm.replace' AND r.sound = 1 AND p.sender = r.sender AND p.type = r.type"
    " AND p.stream IS NOT NULL AND p.redacted_by IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM relations e WHERE e.event_nid = p.nid AND e.rel_type = 'm.replace')"
)


class _OnlyContent(msgspec.Struct):
    content: dict[str, Any]


_decoder: Final = msgspec.json.Decoder(_OnlyContent)


class _Found(NamedTuple):
    """An event that can be found, as its row has it."""

    nid: int
    event_id: str
    room_nid: int
    stream: int
    type: str
    json: bytes


class _Text(NamedTuple):
    """A text to be indexed: whose it is, what is found by it, and its words."""

    event: _Found
    about: tuple[int, int]
    words: Sequence[str]


def is_behind(txn: Txn) -> bool:
    """Whether something was sent, or came from another server, that is not in the index yet."""
    newest, _ = _load_progress(txn)
    if txn.one("SELECT nid FROM search_waiting LIMIT 1") is not None:
        return True
    return txn.one(f"{_TO_FIND} AND stream > ? LIMIT 1", (newest,)) is not None


def index_next(txn: Txn) -> bool:
    """Index the next events of the stream, and some of those that wait; whether there may be more."""
    newest, _ = _load_progress(txn)
    rows = txn.all(f"{_TO_FIND} AND stream > ? ORDER BY stream LIMIT ?", (newest, AT_ONCE))
    if rows:
        _index(txn, [_Found(*row) for row in rows])
        txn.run("UPDATE search_progress SET newest = ?", (rows[-1][3],))
    return AT_ONCE in (len(rows), _index_waiting(txn))


def index_older(txn: Txn) -> bool:
    """Index the events before the oldest that is in the index; whether there may be more."""
    _, oldest = _load_progress(txn)
    rows = txn.all(
        f"{_TO_FIND} AND stream > 0 AND stream < ? ORDER BY stream DESC LIMIT ?",
        (oldest, AT_ONCE),
    )
    if rows:
        _index(txn, [_Found(*row) for row in rows])
        txn.run("UPDATE search_progress SET oldest = ?", (rows[-1][3],))
    return len(rows) == AT_ONCE


def append_waiting(txn: Txn, nid: int) -> None:
    """Let an event wait for the index which came to an older place than the last of the stream."""
    txn.append(_WAITING, (nid,))


def remove_from_index(txn: Txn, nids: Collection[int]) -> None:
    """Let events be found no more, neither by their own text nor by that of their edits, as when they are redacted."""
    edits = txn.all_in("SELECT nid FROM search_texts WHERE about_nid {in} AND nid <> about_nid", nids)
    txn.many("DELETE FROM search_texts WHERE nid = ?", [(nid,) for nid in {*nids, *(nid for (nid,) in edits)}])


def clear_index(txn: Txn, *, first: bool) -> bool:
    """Take what is no text's any more out of the index's pages, a step at a time; whether there is more to be done.

    PostgreSQL does it by itself. `first`: nothing of it was done yet.
    """
    if txn.dialect != "sqlite":
        return False
    before = txn.one("SELECT total_changes()")
    pages = -_PAGES if first else _PAGES
    txn.run("INSERT INTO search_fts (search_fts, rank) VALUES ('merge', ?)", (pages,))
    after = txn.one("SELECT total_changes()")
    return first or (before is not None and after is not None and after[0] - before[0] > 1)


def mark_stem(room_nid: int, stem: str) -> str:
    """A stem as the index has it, in a room."""
    return f"{room_nid}_{stem}"


def _index_waiting(txn: Txn) -> int:
    waiting = [nid for (nid,) in txn.all("SELECT nid FROM search_waiting LIMIT ?", (AT_ONCE,))]
    if waiting:
        _index(txn, [_Found(*row) for row in txn.all_in(f"{_TO_FIND} AND nid {{in}}", waiting)])
        txn.many("DELETE FROM search_waiting WHERE nid = ?", [(nid,) for nid in waiting])
    return len(waiting)


def _load_progress(txn: Txn) -> tuple[int, int]:
    (progress,) = txn.all("SELECT newest, oldest FROM search_progress")
    return progress[0], progress[1]


def _index(txn: Txn, events: Sequence[_Found]) -> None:
    waiting = {event.nid: event for event in [*events, *_load_edits(txn, events)]}
    present = txn.all_in("SELECT nid FROM search_texts WHERE nid {in}", waiting)
    for (nid,) in present:
        del waiting[nid]
    # FTS5 writes down what it has gathered whenever a row comes before the last
    texts = sorted(_read_texts(txn, list(waiting.values())), key=lambda text: (text.about[1], text.event.nid))
    stems = stems_of(txn, {word for text in texts for word in text.words})
    for event, about, words in texts:
        _append(txn, event, about, sorted({stems[word] for word in words}))


def _load_edits(txn: Txn, events: Sequence[_Found]) -> list[_Found]:
    """The edits of events, which were passed over if they came before them."""
    rows = txn.all_in(
        "SELECT r.event_nid FROM events p JOIN relations r ON r.room_nid = p.room_nid AND r.parent_id = p.event_id"
        " WHERE p.nid {in} AND r.rel_type = 'm.replace'",
        [event.nid for event in events],
    )
    return [_Found(*row) for row in txn.all_in(f"{_TO_FIND} AND nid {{in}}", [nid for (nid,) in rows])]


def _read_texts(txn: Txn, events: Sequence[_Found]) -> list[_Text]:
    contents = {event.nid: _decoder.decode(event.json).content for event in events}
    edits = [nid for nid, content in contents.items() if _is_edit(content)]
    edited = {nid: (about, stream) for nid, about, stream in txn.all_in(_EDITED, edits)}
    texts = []
    for event in events:
        about = edited.get(event.nid) if event.nid in edits else (event.nid, event.stream)
        words = [word for _, word in words_in(text_of(event.type, contents[event.nid]))]
        if about is not None and words:
            texts.append(_Text(event, about, words))
    return texts


def _is_edit(content: dict[str, Any]) -> bool:
    relation = find_relation(content)
    return relation is not None and relation.type == "m.replace"


def _find_place(txn: Txn, event: _Found, about: tuple[int, int]) -> int:
    """The first place of a position is that of the event which has it; those that share it come one after the other."""
    nid, stream = about
    first = stream * PLACES
    if nid == event.nid and stream > 0:
        return first
    row = txn.one("SELECT MAX(place) FROM search_texts WHERE place >= ? AND place < ?", (first, first + PLACES))
    return first + 1 if row is None or row[0] is None else int(row[0]) + 1


def _append(txn: Txn, event: _Found, about: tuple[int, int], stems: Iterable[str]) -> None:
    marked = [mark_stem(event.room_nid, stem) for stem in stems]
    row = (_find_place(txn, event, about), event.nid, about[0], event.room_nid, about[1], KINDS[event.type])
    if txn.dialect == "sqlite":
        txn.append(_TEXT, (*row, " ".join(marked)))
    else:
        txn.append(_VECTOR, (*row, marked))
