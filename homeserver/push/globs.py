"""Glob patterns, matched in bounded time: no pattern that a person can store makes the matcher go back.

A pattern is cut at its stars; each piece is searched once, from left to right, which is enough because a star may stand
for anything. Texts are compared in lower case.

Spec: appendices#glob-style-matching
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

Glob: TypeAlias = Callable[[str], bool]

MOST_SEARCHED = 16_384
"""How many characters of a text are looked at; with bounded patterns that bounds the time of a match."""

_BEGINS_WORD = r"(?:(?<![a-z0-9_])|(?![a-z0-9_]))"
_ENDS_WORD = r"(?:(?![a-z0-9_])|(?<![a-z0-9_]))"


@lru_cache(maxsize=4096)
def compile_glob(pattern: str) -> Glob:
    """A function that tells whether the whole of a text matches the pattern, whatever the case of letters."""
    if "*" not in pattern and "?" not in pattern:
        wanted = pattern.lower()
        return lambda text: text.lower() == wanted
    return _compile(pattern, r"\A", r"\Z")


@lru_cache(maxsize=4096)
def compile_word_glob(pattern: str) -> Glob:
    """A function that tells whether some part of a text that begins and ends at word boundaries matches the pattern.

    Only ASCII letters, digits and the underscore make words.

    Spec: client-server-api#conditions
    """
    return _compile(pattern, _BEGINS_WORD, _ENDS_WORD)


def _compile(pattern: str, begin: str, end: str) -> Glob:
    pieces = [
        "".join("." if char == "?" else re.escape(char) for char in piece) for piece in pattern.lower().split("*")
    ]
    if pieces[0] or len(pieces) == 1:
        pieces[0] = begin + pieces[0]
    if pieces[-1] or len(pieces) == 1:
        pieces[-1] += end
    searches = [re.compile(piece, re.DOTALL).search for piece in pieces if piece]

    def matches(text: str) -> bool:
        text = text[:MOST_SEARCHED].lower()
        at = 0
        for search in searches:
            found = search(text, at)
            if found is None:
                return False
            at = found.end()
        return True

    return matches
