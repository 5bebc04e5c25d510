"""Large JSON of other servers, decoded and encoded element by element.

A decoder in C keeps the interpreter to itself from the first byte to the last, whichever thread it runs in; of the
state of a large room that is seconds, and of some numbers a megabyte is enough. So the elements of arrays and objects
are found first, by a walk over their brackets that is never long in C, and then decoded a few at a time. What is let go
of in one go takes as long as what is decoded in one go; who can wait for neither keeps the pieces, and drops those.

Spec: appendices#canonical-json
"""

import re
from typing import Any, Final

from federation import canonical
from federation.errors import BadJSON, TooMuchJSON

LARGE: Final = 1 << 16
"""Values of more bytes than this are decoded in pieces of about as many."""
MOST_VALUES: Final = 4_000_000
"""How many values an answer may have: half as many again as the state of a room of 80,000 members."""
MOST_KEYS: Final = 100_000
"""How many values an object may have that is decoded in pieces: it grows in one go."""
LONGEST: Final = 16 << 20
"""How long one string may be."""
_WINDOW: Final = 1 << 18
"""How far the walk looks at a time, and so how long a key, a number or a blank may be."""
_MOST_STEPS: Final = 4_000_000
"""How many steps a walk may have."""
_MOST_LEVELS: Final = 8
"""How deeply large values may nest."""


def _many(body: bytes, count: bytes = b"*") -> bytes:
    """As many as there are of something, of which nothing is given back.

    Until Python 3.11.4 a possessive quantifier forgets where it stood when its last round fails half-way.
    """
    return rb"(?>(?:" + body + rb")" + count + rb")"


_BLANK: Final = re.compile(rb"[ \t\r\n]*+")
_LETTERS: Final = _many(rb'[^"\\]++|\\.')
_STRING: Final = rb'"' + _LETTERS + rb'"'
_INSIDE: Final = re.compile(_LETTERS, re.DOTALL)
_STRINGS: Final = re.compile(_STRING, re.DOTALL)
_RUN: Final = re.compile(_many(rb'[^"{}\[\]]++|' + _STRING, b"+"), re.DOTALL)
_KEY: Final = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+", re.DOTALL)
_PLAIN: Final = rb'[^"{}\[\],: \t\r\n]++'
_NUMBER: Final = re.compile(_PLAIN)


def _nest(levels: int) -> bytes:
    """A value in brackets with so many levels of them."""
    inner = rb"|" + _nest(levels - 1) if levels > 1 else b""
    return rb"[{\[]" + _many(rb'[^"{}\[\]]++|' + _STRING + inner) + rb"[}\]]"


_NESTED: Final = _nest(4)
"""A value that is nested no more than events usually are."""
_SHALLOW: Final = re.compile(_NESTED, re.DOTALL)
_ELEMENTS: Final = re.compile(
    _many(rb"(?:" + _NESTED + rb"|" + _STRING + rb"|" + _PLAIN + rb")[ \t\r\n]*+,[ \t\r\n]*+", b"+"), re.DOTALL
)
"""Elements that others follow."""
_TEDIOUS: Final = re.compile(rb"[0-9][eE][-+]?[0-9]{2}|[0-9]{17}|[0-9]\.[0-9]{15}")
"""A number that takes as long to decode as very many others; none of them is in canonical JSON."""
_TEDIUM: Final = 50
_OPENING: Final = (b"{", b"[")
_CLOSING: Final = (b"}", b"]")


def decode(
    data: bytes,
    *,
    max_depth: int = canonical.MAX_DEPTH,
    most_values: int = MOST_VALUES,
    parts: list[object] | None = None,
) -> object:
    """The value of strict JSON, as `canonical.decode` has it; what is large of it in pieces, which `parts` gets.

    Raises: BadJSON; TooMuchJSON for more than honest answers have.
    """
    walk = _Walk(data, most_values, [] if parts is None else parts)
    value = walk.decode_large(max_depth, _MOST_LEVELS) if len(data) > LARGE else walk.decode(max_depth, 0)
    walk.end()
    return value


def encode(value: object, *, max_depth: int = canonical.MAX_DEPTH, levels: int = _MOST_LEVELS) -> bytes:
    """The canonical JSON of a value, as `canonical.encode` has it when it is not strict, in pieces.

    Raises: BadJSON.
    """
    if levels and isinstance(value, list):
        return b"[" + b",".join([encode(each, max_depth=max_depth - 1, levels=levels - 1) for each in value]) + b"]"
    if levels and isinstance(value, dict):
        pairs = [
            canonical.encode(key) + b":" + encode(value[key], max_depth=max_depth - 1, levels=levels - 1)
            for key in sorted(value)
        ]
        return b"{" + b",".join(pairs) + b"}"
    return canonical.encode(value, strict=False, max_depth=max_depth)


class _Walk:
    """A place in JSON that moves on. What it passes by is not judged: whoever decodes that does."""

    def __init__(self, data: bytes, most_values: int, parts: list[object]) -> None:
        self._data = data
        self._at = 0
        self._steps = _MOST_STEPS
        self._values = most_values
        self._parts = parts

    def decode(self, max_depth: int, levels: int) -> object:
        """The value at which the walk stands."""
        opening = self._peek()
        if levels and opening == b"[":
            return self._decode_array(max_depth, levels - 1)
        start, end = self._pass_value(max_depth)
        if end - start <= LARGE or opening not in _OPENING:
            return self._decode_piece(self._data[start:end], max_depth)
        self._at = start
        return self.decode_large(max_depth, levels)

    def decode_large(self, max_depth: int, levels: int) -> object:
        """The value at which the walk stands, known to be a large one."""
        opening = self._peek()
        if opening not in _OPENING:
            start, end = self._pass_value(max_depth)
            return self._decode_piece(self._data[start:end], max_depth)
        if not levels:
            raise TooMuchJSON("a large value is nested too deeply")
        decode_nested = self._decode_object if opening == b"{" else self._decode_array
        return decode_nested(max_depth, levels - 1)

    def end(self) -> None:
        """Check that nothing follows."""
        if self._peek():
            raise BadJSON("not JSON: something follows it")

    def _decode_object(self, max_depth: int, levels: int) -> dict[str, Any]:
        self._pass(b"{")
        found: dict[str, Any] = {}
        while self._peek() != b"}":
            key = self._pass_key()
            if key in found:
                raise BadJSON("an object has the same key twice")
            if len(found) >= MOST_KEYS:
                raise TooMuchJSON("more values than are listened to")
            found[key] = self.decode(max_depth - 1, levels)
            self._go_on(b"}")
        self._pass(b"}")
        return found

    def _decode_array(self, max_depth: int, levels: int) -> list[Any]:
        self._pass(b"[")
        found: list[Any] = []
        while self._peek() != b"]":
            start, end = self._pass_group(max_depth - 1)
            if end == start:  # a large one
                found.append(self.decode_large(max_depth - 1, levels))
                self._go_on(b"]")
                continue
            group = self._decode_piece(b"[" + self._data[start:end].rstrip(b", \t\r\n") + b"]", max_depth)
            assert isinstance(group, list)  # it has brackets
            found += group
        self._pass(b"]")
        return found

    def _decode_piece(self, data: bytes, max_depth: int) -> object:
        self._values -= _count_values(data)
        if self._values < 0:
            raise TooMuchJSON("more values than are listened to")
        value = canonical.decode(data, max_depth=max_depth)
        self._parts.append(value)
        return value

    def _pass_group(self, max_depth: int) -> tuple[int, int]:
        """Where some elements of an array begin and end, up to the next that is large; commas may follow them."""
        start = end = self._at
        while self._peek() != b"]" and end - start <= LARGE:
            some = _ELEMENTS.match(self._data, self._at, start + LARGE)
            if some is not None:
                self._step()
                self._at = end = some.end()
                self._check_more(b"]")
                continue
            first, last = self._pass_value(max_depth)
            if last - first > LARGE:
                self._at = first
                break
            end = last
            self._go_on(b"]")
        return start, end

    def _pass_key(self) -> str:
        found = _KEY.match(self._data, self._at, self._at + _WINDOW)
        if found is None:
            raise BadJSON("not JSON: no key, or one that is too long")
        self._at = found.end()
        key = canonical.decode(found[1])
        assert isinstance(key, str)  # it has quotation marks
        return key

    def _pass_value(self, max_depth: int) -> tuple[int, int]:
        """Where the value begins and ends at which the walk stands."""
        self._step()
        opening = self._peek()
        start = self._at
        if opening in _OPENING:
            self._pass_nested(max_depth)
        elif opening == b'"':
            self._pass_string()
        else:
            found = _NUMBER.match(self._data, start, start + _WINDOW)
            if found is None:
                raise BadJSON("not JSON: no value")
            self._at = found.end()
        return start, self._at

    def _pass_nested(self, max_depth: int) -> None:
        """Go to behind the bracket that closes the one at which the walk stands."""
        self._step()
        shallow = _SHALLOW.match(self._data, self._at, self._at + _WINDOW)
        if shallow is not None:
            self._at = shallow.end()
            return
        depth = 0
        while True:
            self._step()
            sign = self._data[self._at : self._at + 1]
            if sign in _OPENING:
                depth += 1
                if depth > max_depth:
                    raise TooMuchJSON("nested too deeply")
            elif sign in _CLOSING:
                depth -= 1
            else:
                self._pass_run()
                continue
            self._at += 1
            if not depth:
                return

    def _pass_run(self) -> None:
        """Pass what has no brackets."""
        run = _RUN.match(self._data, self._at, self._at + _WINDOW)
        if run is not None:
            self._at = run.end()
        else:
            self._pass_string()

    def _pass_string(self) -> None:
        """Pass a string, which may be longer than the walk looks at a time."""
        start = self._at
        self._pass(b'"')
        while (inside := _INSIDE.match(self._data, self._at, self._at + _WINDOW)) and inside.end() > self._at:
            self._step()
            self._at = inside.end()
        self._pass(b'"')
        if self._at - start > LONGEST:
            raise TooMuchJSON("a string is longer than is listened to")

    def _step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise TooMuchJSON("more values than are listened to")

    def _peek(self) -> bytes:
        """What comes after blanks, where the walk then stands; nothing at the end."""
        found = _BLANK.match(self._data, self._at, self._at + _WINDOW)
        assert found is not None  # it matches nothing, too
        self._at = found.end()
        return self._data[self._at : self._at + 1]

    def _pass(self, sign: bytes) -> None:
        if self._peek() != sign:
            raise BadJSON(f"not JSON: no {sign.decode()}")
        self._at += 1

    def _go_on(self, end: bytes) -> None:
        """Pass a comma behind which there is more, unless that is the end."""
        if self._peek() == b",":
            self._at += 1
            self._check_more(end)
        elif self._peek() != end:
            raise BadJSON("not JSON: no comma")

    def _check_more(self, end: bytes) -> None:
        if self._peek() == end:
            raise BadJSON("not JSON: nothing after a comma")


def _count_values(data: bytes) -> int:
    """What separates values and opens them, about as many as there are values; what is tedious counts for more."""
    if data.startswith(b'"'):
        return 1
    signs = _count_signs(data)
    return signs if signs * 16 < len(data) else _count_signs(_STRINGS.sub(b"", data))


def _count_signs(data: bytes) -> int:
    return data.count(b",") + data.count(b"{") + data.count(b"[") + _TEDIUM * len(_TEDIOUS.findall(data))
