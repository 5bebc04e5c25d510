"""SQL as the rest of storage writes it, and what becomes of it for a driver. Pure text in, text out."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

_TOKENS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|[?%]", re.DOTALL)
_INSERT = re.compile(
    r"\s*(?P<head>INSERT\s+INTO\s+\w+\s*\((?P<columns>[\w\s,]+)\)\s*VALUES\s*)"
    r"(?P<row>\([^()]*(?:\([^()]*\)[^()]*)*\))(?P<tail>.*)\s*",
    re.IGNORECASE | re.DOTALL,
)
_UPDATED_KEY = re.compile(r"\s*ON\s+CONFLICT\s*\((?P<key>[\w\s,]+)\)\s*DO\s+UPDATE\b", re.IGNORECASE)
_NAME = re.compile(r"\w+")

Row = tuple[Any, ...]


class Insert:
    """An INSERT of one row of values, plain or with ON CONFLICT: a constant of the module whose table it fills.

    Every value is a `?` or a literal. Equal only to itself, so that it is found quickly.

    Raises: ValueError when it is not `INSERT INTO table (columns) VALUES (...)`, or an upsert whose key is not inserted
    as a `?`.
    """

    __slots__ = ("_parts", "_percent_parts", "key", "text")

    def __init__(self, text: str) -> None:
        shape = _INSERT.fullmatch(text)
        if shape is None:
            raise ValueError(f"not an INSERT of one row of values: {text}")
        self.text = text
        self.key = _key_positions(shape)
        self._parts = shape["head"], shape["row"], shape["tail"]
        self._percent_parts = tuple(_percent_form(part) for part in self._parts)

    def of_rows(self, number: int) -> str:
        """The statement for `number` rows at once."""
        head, row, tail = self._parts
        return f"{head}{','.join([row] * number)}{tail}"

    def percent_of_rows(self, number: int) -> str:
        """The statement for `number` rows at once, as psycopg2 wants it."""
        head, row, tail = self._percent_parts
        return f"{head}{','.join([row] * number)}{tail}"

    def runs(self, rows: Sequence[Row], longest: int) -> list[Sequence[Row]]:
        """Cut rows into runs that one statement can take: not longer than `longest`, no upserted key twice in a run."""
        if not self.key:
            return [rows] if len(rows) <= longest else [rows[i : i + longest] for i in range(0, len(rows), longest)]
        runs, start, seen = [], 0, set[Row]()
        for at, row in enumerate(rows):
            key = tuple([row[i] for i in self.key])
            if key in seen or at - start == longest:
                runs.append(rows[start:at])
                start = at
                seen.clear()
            seen.add(key)
        runs.append(rows[start:])
        return runs


def _key_positions(shape: re.Match[str]) -> tuple[int, ...]:
    """Find which parameters are the key of an upsert; none for an INSERT that never updates."""
    update = _UPDATED_KEY.match(shape["tail"])
    if update is None:
        return ()
    columns = _NAME.findall(shape["columns"])
    if count_parameters(shape["row"]) != len(columns):
        raise ValueError(f"an upsert has a ? for every column: {shape[0]}")
    return tuple(columns.index(name) for name in _NAME.findall(update["key"]))


def count_parameters(sql: str) -> int:
    """Count the `?` of a statement, those in strings, names and comments left out."""
    return sum(token == "?" for token in _TOKENS.findall(sql))


def _percent_form(sql: str) -> str:
    return _TOKENS.sub(lambda token: "%s" if token[0] == "?" else token[0].replace("%", "%%"), sql)


percent_form = lru_cache(maxsize=4096)(_percent_form)
"""Write `?` as the `%s` of psycopg2, and escape what it would take for one."""


@lru_cache(maxsize=1024)
def split_at_list(sql: str) -> tuple[str, str, int]:
    """Cut a query at its `{in}`: what stands before, what after, and how many parameters stand before.

    Raises: ValueError when there is not exactly one.
    """
    before, mark, after = sql.partition("{in}")
    if not mark or "{in}" in after:
        raise ValueError(f"not exactly one {{in}}: {sql}")
    return before, after, count_parameters(before)


@lru_cache(maxsize=4096)
def with_list(sql: str, number: int) -> str:
    """Write a query's `{in}` as a list of `number` parameters."""
    before, after, _ = split_at_list(sql)
    return f"{before}IN (?{', ?' * (number - 1)}){after}"


@lru_cache(maxsize=1024)
def with_array(sql: str) -> str:
    """Write a query's `{in}` as a test against one parameter that is an array."""
    before, after, _ = split_at_list(sql)
    return f"{before}= ANY (?){after}"


def flatten(rows: Sequence[Row]) -> list[Any]:
    """String the values of rows together."""
    return list(chain.from_iterable(rows))


def without_nul(values: Sequence[Any]) -> Sequence[Any]:
    """Replace U+0000, which PostgreSQL keeps in no text, by U+FFFD; the same in both databases."""
    for value in values:
        if value.__class__ is str and "\0" in value:
            return tuple([v.replace("\0", "\ufffd") if isinstance(v, str) else v for v in values])
    return values
