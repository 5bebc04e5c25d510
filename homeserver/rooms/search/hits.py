"""Which matches of the index one person may be told of, and how well they fit.

Spec: client-server-api#search-categories
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import log
from typing import Final, NamedTuple

from federation.ids import EventID, UserID
from homeserver.rooms.bundles import recency
from homeserver.rooms.sight import Sight
from homeserver.storage.data import load_ignored
from homeserver.storage.database import Txn
from homeserver.storage.relations import Edit, load_edits
from homeserver.storage.search.matches import Ground, Match, load_contents_of
from homeserver.storage.search.stems import stems_of
from homeserver.storage.search.words import text_of, words_in

FULL_RANK: Final = 1_000_000
"""The rank of what could not fit better; ranks are whole numbers, so that a token can hold one."""
_EXACT: Final = 0.5
"""What it is worth that a word stands there in the very form that is asked for."""


class Hit(NamedTuple):
    """A match that the asker may be told of, its rank, and the words to highlight in it as they appear."""

    match: Match
    rank: int
    words: tuple[str, ...]


def judge_matches(txn: Txn, user_id: UserID, grounds: Mapping[int, Ground], matches: Iterable[Match]) -> list[Match]:
    """Those of the matches that the person may see, and which are the text that they see of what is found: each event
    is found once. In the order of the matches.
    """
    ignored = load_ignored(txn, user_id)
    rooms: dict[int, list[Match]] = {}
    for match in matches:
        ground = grounds[match.room_nid]
        if match.sender not in ignored and match.sent <= ground.upto:
            rooms.setdefault(match.room_nid, []).append(match)
    kept = [match for nid, found in rooms.items() for match in _judge_in_room(txn, user_id, grounds[nid], found)]
    return sorted(kept, key=lambda match: (match.stream, match.about_nid), reverse=True)


def _judge_in_room(txn: Txn, user_id: UserID, ground: Ground, matches: Sequence[Match]) -> Iterable[Match]:
    record = ground.record
    edits = load_edits(txn, record.nid, {match.about_id for match in matches})
    groups = {group for match in matches for group in (match.group, match.about_group)}
    sight = Sight(txn, record, user_id, groups | {edit.group for edit in edits})
    last = _find_last(edit for edit in edits if sight.may_see(edit.group, edit.stream))
    for match in matches:
        is_seen = sight.may_see(match.about_group, match.stream) and sight.may_see(match.group, match.sent)
        if is_seen and last.get(match.about_id, match.about_nid) == match.nid:
            yield match


def _find_last(edits: Iterable[Edit]) -> dict[EventID, int]:
    """The last edit of each event.

    Spec: client-server-api#server-side-aggregation-of-mreplace-relationships
    """
    last: dict[EventID, Edit] = {}
    for edit in edits:
        known = last.get(edit.parent_id)
        if known is None or recency(edit) > recency(known):
            last[edit.parent_id] = edit
    return {parent_id: edit.nid for parent_id, edit in last.items()}


def rank_matches(txn: Txn, terms: Mapping[str, str], matches: Sequence[Match]) -> list[Hit]:
    """How well matches fit words, which are given with their stems; in the order of the matches."""
    contents = load_contents_of(txn, [match.nid for match in matches])
    texts = {nid: list(words_in(text_of(*content))) for nid, content in contents.items()}
    stems = stems_of(txn, {word for text in texts.values() for _, word in text})
    wanted = set(terms.values())
    hits = []
    for match in matches:
        text = texts[match.nid]
        meant = [(shown, word) for shown, word in text if stems[word] in wanted]
        rank = _rank([(word, stems[word]) for _, word in meant], terms, len(text))
        hits.append(Hit(match, rank, tuple(dict.fromkeys(shown for shown, _ in meant))))
    return hits


def _rank(meant: Sequence[tuple[str, str]], terms: Mapping[str, str], length: int) -> int:
    """More for words that come often, for their very form, and for a short text."""
    stems = [stem for _, stem in meant]
    wanted = set(terms.values())
    exact: Collection[str] = {stem for word, stem in meant if word in terms}
    score = sum(stems.count(stem) / (stems.count(stem) + 1) + _EXACT * (stem in exact) for stem in wanted)
    return round(FULL_RANK * score / len(wanted) / (1 + _EXACT) / (1 + log(1 + length) / 10))
