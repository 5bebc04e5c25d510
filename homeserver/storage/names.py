"""The user directory: the words people are found by, and who may be found by whom.

Spec: client-server-api#user-directory
"""

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple
from unicodedata import normalize

from federation.ids import UserID, localpart_of
from homeserver.storage.database import Insert, Txn

MOST_WORDS: Final = 16
LONGEST_WORD: Final = 64
_AT_ONCE: Final = 100
_WORD: Final = re.compile(r"[^\W_]+")
_LAST: Final = chr(0x10FFFF)
_FOLDED: Final = str.maketrans("ё", "е")

_OPEN: Final = Insert(
    "INSERT INTO open_rooms (room_nid, why, is_open) VALUES (?, ?, ?)"
    " ON CONFLICT (room_nid, why) DO UPDATE SET is_open = excluded.is_open"
)
_SELECT: Final = (
    "SELECT w.word, w.user_id, profiles.displayname, profiles.avatar_url FROM name_words w"
    " LEFT JOIN profiles ON profiles.user_id = w.user_id"
)
_MATCHES: Final = (
    "EXISTS (SELECT 1 FROM name_words other WHERE other.user_id = w.user_id AND other.word >= ? AND other.word < ?)"
)
_WITHIN_REACH: Final = (
    "(EXISTS (SELECT 1 FROM memberships mine JOIN memberships theirs ON theirs.room_nid = mine.room_nid"
    " WHERE mine.user_id = ? AND mine.membership = 'join'"
    " AND theirs.user_id = w.user_id AND theirs.membership = 'join')"
    " OR EXISTS (SELECT 1 FROM memberships theirs JOIN open_rooms ON open_rooms.room_nid = theirs.room_nid"
    " WHERE theirs.user_id = w.user_id AND theirs.membership = 'join' AND open_rooms.is_open = 1)"
    " OR EXISTS (SELECT 1 FROM roles mine JOIN roles theirs ON theirs.org_id = mine.org_id"
    " WHERE mine.user_id = ? AND mine.ended_ms IS NULL AND theirs.user_id = w.user_id AND theirs.ended_ms IS NULL))"
)
"""Who shares a room with the seeker, is in an open one, or is of the same organisation."""


class Match(NamedTuple):
    """Somebody who was found, by which word of theirs, and what they show."""

    word: str
    user_id: UserID
    displayname: str | None
    avatar_url: str | None


def words_of(text: str) -> list[str]:
    """The words of a text, folded so that case, width and the two dots of ё make no difference."""
    folded = normalize("NFKC", text).casefold().translate(_FOLDED)
    words = dict.fromkeys(word[:LONGEST_WORD] for word in _WORD.findall(folded))
    return list(words)[:MOST_WORDS]


def renew_words(txn: Txn, user_id: UserID) -> None:
    """Let a person be found by what they are called now; guests, and accounts that are closed, are not found."""
    row = txn.one(
        "SELECT profiles.displayname FROM users LEFT JOIN profiles ON profiles.user_id = users.user_id"
        " WHERE users.user_id = ? AND users.kind IN ('user', 'appservice') AND users.deactivated_ms IS NULL",
        (user_id,),
    )
    wanted = set() if row is None else {*words_of(localpart_of(user_id)), *words_of(row[0] or "")}
    present = {word for (word,) in txn.all("SELECT word FROM name_words WHERE user_id = ?", (user_id,))}
    for word in present - wanted:
        txn.run("DELETE FROM name_words WHERE user_id = ? AND word = ?", (user_id, word))
    if wanted - present:
        rows = [(user_id, word) for word in sorted(wanted - present)]
        txn.many("INSERT INTO name_words (user_id, word) VALUES (?, ?)", rows)


def renew_next(txn: Txn) -> bool:
    """Let the next of those people be found by all their names who had an account before there was an index of words;
    whether there may be more.
    """
    row = txn.one("SELECT renewed FROM search_progress WHERE renewed IS NOT NULL")
    if row is None:
        return False
    rows = txn.all("SELECT user_id FROM users WHERE user_id > ? ORDER BY user_id LIMIT ?", (row[0], _AT_ONCE))
    for (user_id,) in rows:
        renew_words(txn, UserID(user_id))
    is_last = len(rows) < _AT_ONCE
    txn.run("UPDATE search_progress SET renewed = ?", (None if is_last else rows[-1][0],))
    return not is_last


def set_open(txn: Txn, room_nid: int, why: Literal["join", "read"], *, is_open: bool) -> None:
    """Record whether anybody may join a room, or look into it."""
    txn.append(_OPEN, (room_nid, why, int(is_open)))


def load_matches(txn: Txn, seeker: UserID, terms: Sequence[str], after: tuple[str, str], most: int) -> list[Match]:
    """People within the seeker's reach who have a word beginning with each of the terms, in the order of the words that
    begin with the first, from behind (word, user) on. Who has several such words is found by each.
    """
    first, *others = terms
    conditions = [_MATCHES for _ in others]
    params = [value for term in others for value in (term, term + _LAST)]
    where = " AND ".join([*conditions, _WITHIN_REACH])
    rows = txn.all(
        f"{_SELECT} WHERE w.word >= ? AND w.word < ? AND (w.word, w.user_id) > (?, ?) AND {where}"
        " ORDER BY w.word, w.user_id LIMIT ?",
        (first, first + _LAST, *after, *params, seeker, seeker, most),
    )
    return [Match(*row) for row in rows]
