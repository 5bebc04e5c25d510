"""Glob patterns of push rules, against a slow oracle and against those who would make them slow."""

import time

from hypothesis import given
from hypothesis import strategies as st

from homeserver.push.globs import compile_glob, compile_word_glob


def oracle(pattern: str, text: str) -> bool:
    """Whether a pattern matches all of a text, by the book: a star is nothing, or anything and a star."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return oracle(pattern[1:], text) or bool(text and oracle(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and oracle(pattern[1:], text[1:])


def is_boundary(text: str, at: int) -> bool:
    def is_word(char: str) -> bool:
        return char in "ab"

    return at in (0, len(text)) or not (is_word(text[at - 1]) and is_word(text[at]))


@given(st.text("ab*?", max_size=6), st.text("ab", max_size=8))
def test_a_glob_matches_what_the_oracle_matches(pattern: str, text: str) -> None:
    assert compile_glob(pattern)(text) == oracle(pattern, text)


@given(st.text("ab*? ", max_size=5), st.text("ab -", max_size=8))
def test_a_word_glob_matches_some_part_between_boundaries(pattern: str, text: str) -> None:
    edges = [at for at in range(len(text) + 1) if is_boundary(text, at)]
    parts = [text[start:end] for start in edges for end in edges if start <= end]
    assert compile_word_glob(pattern)(text) == any(oracle(pattern, part) for part in parts)


def test_case_does_not_matter() -> None:
    assert compile_glob("Lunc?*")("LUNCH plans")
    assert not compile_glob("lunc?*")(" lunch")
    assert not compile_glob("lunc?*")("lunc")
    assert compile_glob("мама")("МАМА")


def test_words_of_the_specification_match_as_it_says() -> None:
    matches = compile_word_glob("ex*ple")
    assert matches("An example event.")
    assert matches("exple")
    assert matches("An exciting triple-whammy")
    assert not matches("An exampled event")
    assert not matches("a hexample")


def test_special_characters_stand_for_themselves() -> None:
    assert compile_glob("a.c")("a.c")
    assert not compile_glob("a.c")("abc")
    assert compile_glob("(a|b)[c]")("(a|b)[c]")


def test_no_pattern_takes_long() -> None:
    began = time.perf_counter()
    compile_word_glob("*a" * 120 + "b")("a" * 60_000)
    compile_word_glob("a" * 254 + "b")("a" * 60_000)
    compile_glob("*a?" * 80)("a" * 60_000)
    assert time.perf_counter() - began < 2
