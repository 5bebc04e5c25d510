"""What words stem from: Russian and English forms of one word have one stem."""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from threading import Lock
from typing import Final

import snowballstemmer

from homeserver.storage.database import Txn

_REMEMBERED: Final = 100_000
_russian: Final = snowballstemmer.stemmer("russian")
_english: Final = snowballstemmer.stemmer("english")
_lock: Final = Lock()


def stems_of(txn: Txn, words: Iterable[str]) -> Mapping[str, str]:
    """The stems of folded words, by word, as the database's own index has them."""
    distinct = set(words)
    if txn.dialect == "sqlite":
        return {word: _stem(word) for word in distinct}
    stems = {word: word for word in distinct}
    for dictionary, chosen in (
        ("russian_stem", [word for word in distinct if _is_cyrillic(word)]),
        ("english_stem", [word for word in distinct if word.isascii()]),
    ):
        stems |= _ask_dictionary(txn, dictionary, chosen)
    return stems


def _ask_dictionary(txn: Txn, dictionary: str, words: Collection[str]) -> dict[str, str]:
    """The stems that a dictionary knows of words; it knows none of those that it would stop."""
    if not words:
        return {}
    rows = txn.all(
        "SELECT word, stem[1] FROM (SELECT word, ts_lexize(CAST(? AS regdictionary), word) AS stem"
        " FROM unnest(CAST(? AS text[])) AS word) AS stemmed WHERE stem[1] IS NOT NULL",
        (dictionary, list(words)),
    )
    return {word: stem for word, stem in rows}


@lru_cache(_REMEMBERED)
def _stem(word: str) -> str:
    stemmer = _russian if _is_cyrillic(word) else _english if word.isascii() else None
    if stemmer is None:
        return word
    with _lock:  # it keeps the word it works on
        return str(stemmer.stemWord(word)) or word


def _is_cyrillic(word: str) -> bool:
    return "\u0400" <= word[0] <= "\u052f"
