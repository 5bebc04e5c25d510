"""Strict JSON in, canonical JSON out: the bytes that are hashed, signed and measured.

msgspec does both in C, and its sorted encoder writes exactly the canonical form of a value that has one; what it does
not check (floats, large integers, duplicate keys, depth) is checked here in one walk over the value.

Spec: appendices#canonical-json
"""

import json
from typing import Any, Final

import msgspec

from federation.errors import BadJSON, TooMuchJSON

MAX_DEPTH: Final = 64
"""How deeply arrays and objects may nest; no honest event comes near it, and recursive readers survive it."""
MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON library reads exactly; the smallest is its negative."""

_sorted = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder()
_SCALARS: Final = frozenset({str, bool, type(None)})


def encode(value: object, *, strict: bool = True, max_depth: int = MAX_DEPTH) -> bytes:
    """The canonical JSON of a value made of dict, list, tuple, str, int, bool and None.

    With `strict` off, floats and large integers pass, as they do in the events of room versions 1 to 5; floats are then
    written the way Python writes them, which is how the servers that allow them hash them.

    Raises: BadJSON for anything without a canonical form: floats, integers beyond 2**53 - 1, lone surrogates, keys that
    are not strings, other types, too deep nesting.
    Spec: appendices#canonical-json
    """
    floats = _check_value(value, max_depth, strict=strict)
    try:
        encoded = _sorted.encode(value)
        return _encode_floats(value) if floats else encoded
    except (TypeError, ValueError) as error:
        raise BadJSON(f"no canonical form: {error}") from None


def encode_checked(value: object) -> bytes:
    """The canonical JSON of a value known to have one; canonical parts in `msgspec.Raw` are spliced in as they are."""
    return _sorted.encode(value)


def decode(data: bytes, *, max_depth: int = MAX_DEPTH) -> object:
    """The value of strict JSON: UTF-8 without a mark, no NaN, no key twice in an object, no deeper than `max_depth`.

    Floats and large integers are allowed here; `encode` and the event format refuse them where they must.

    Raises: BadJSON.
    Spec: appendices#canonical-json
    """
    try:
        value: object = _decoder.decode(data)
    except RecursionError:
        raise TooMuchJSON("nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadJSON(f"not JSON: {error}") from None
    if _count_strings(value, max_depth) * 2 != _count_quotes(data):
        raise BadJSON("an object has the same key twice")
    return value


def _encode_floats(value: object) -> bytes:
    """The way Python writes them, which differs from msgspec's: the hashes out in the world were made with Python's."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return text.encode()


def _check_value(value: object, max_depth: int, *, strict: bool) -> bool:
    """Refuse, level by level, what has no canonical form; returns whether a (tolerated) float was seen."""
    floats = False
    level: list[Any] = [value]
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind in _SCALARS:
                continue
            if kind is dict:
                below.extend(item.values())
            elif kind is list or kind is tuple:
                below.extend(item)
            else:
                floats = _check_number(item, strict=strict) or floats
        if not below:
            return floats
        level = below
    raise TooMuchJSON("nested too deeply")


def _check_number(item: object, *, strict: bool) -> bool:
    if type(item) is int:
        if strict and not -MAX_INTEGER <= item <= MAX_INTEGER:
            raise BadJSON("an integer is out of range")
        return False
    if type(item) is float and not strict:
        return True
    raise BadJSON(f"a {type(item).__name__} has no canonical form")


def _count_strings(value: object, max_depth: int) -> int:
    """How many strings, keys among them, the value holds. Raises: TooMuchJSON when it is nested too deeply."""
    strings = 0
    level: list[Any] = [value]
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                strings += 1
            elif kind is dict:
                strings += len(item)
                below.extend(item.values())
            elif kind is list:
                below.extend(item)
        if not below:
            return strings
        level = below
    raise TooMuchJSON("nested too deeply")


def _count_quotes(data: bytes) -> int:
    """How many quotation marks delimit strings: a key given twice has them in the bytes but not in the value."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return data.count(b'"')
