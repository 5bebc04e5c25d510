"""Large JSON objects of other servers, decoded element by element.

A decoder in C keeps the interpreter to itself from the first byte to the last, whichever thread it runs in; of the
state of a large room that is seconds. So the elements of an object's arrays are found first, by a walk over its
brackets that is never long in C, and then decoded one by one.

Spec: appendices#canonical-json
"""

import re
from typing import Any, Final

from federation import canonical
from federation.errors import BadJSON

LARGE: Final = 1 << 20
"""Values of more bytes than this are decoded in pieces."""
_FEW_VALUES: Final = 300_000
"""What has no more values in it than these may be four times as large before it is."""
_GROUP: Final = 1 << 16
"""How many bytes of elements are decoded together."""
_WINDOW: Final = 1 << 18
"""How far the walk looks at a time, and so how long a string or another value without brackets may be."""
_MOST_STEPS: Final = 6_000_000
"""How many steps a walk may have; no honest answer takes so many in the bytes that are listened to."""
_MOST_LEVELS: Final = 4
"""How deeply large values may nest."""

_BLANK: Final = re.compile(rb"[ \t\r\n]*+")
_RUN: Final = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")++', re.DOTALL)
_KEY: Final = re.compile(rb'[ \t\r\n]*+("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_SCALAR: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[^"{}\[\],: \t\r\n]++', re.DOTALL)
_FLAT: Final = rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+"'
_SHALLOW: Final = re.compile(
    rb"[{\[]" + _FLAT + (rb"|[{\[]" + _FLAT) * 3 + rb")*+" + rb"[}\]])*+" * 3 + rb"[}\]]", re.DOTALL
)
"""A value that is nested no more than events usually are, in one go."""
_OPENING: Final = (b"{", b"[")
_CLOSING: Final = (b"}", b"]")


def decode(data: bytes, *, max_depth: int = canonical.MAX_DEPTH) -> object:
    """The value of strict JSON, as `canonical.decode` has it; what is large of it in pieces.

    Raises: BadJSON, also for a string in a large value that is longer than any event, and for more values than honest
    answers have.
    """
    if len(data) <= LARGE or (len(data) <= 4 * LARGE and _has_few_values(data)):
        return canonical.decode(data, max_depth=max_depth)
    walk = _Walk(data)
    value = walk.decode_large(max_depth, _MOST_LEVELS)
    walk.end()
    return value


def _has_few_values(data: bytes) -> bool:
    return data.count(b",") + data.count(b"{") + data.count(b"[") <= _FEW_VALUES


class _Walk:
    """A place in JSON that moves on. What it passes by is not judged: whoever decodes that does."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._left = _MOST_STEPS

    def decode(self, max_depth: int, levels: int) -> object:
        """The value at which the walk stands."""
        opening = self._peek()
        if levels and opening == b"[":
            return self._decode_array(max_depth, levels - 1)
        start, end = self._pass_value()
        if end - start <= LARGE or opening not in _OPENING:
            return canonical.decode(self._data[start:end], max_depth=max_depth)
        self._at = start
        return self.decode_large(max_depth, levels)

    def decode_large(self, max_depth: int, levels: int) -> object:
        """The value at which the walk stands, known to be a large one."""
        opening = self._peek()
        if not levels or opening not in _OPENING:
            raise BadJSON("a large value is nested too deeply, or is a string")
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
            found[key] = self.decode(max_depth - 1, levels)
            self._go_on(b"}")
        self._pass(b"}")
        return found

    def _decode_array(self, max_depth: int, levels: int) -> list[Any]:
        self._pass(b"[")
        found: list[Any] = []
        while self._peek() != b"]":
            start, end = self._pass_group()
            if end == start:  # a large one
                found.append(self.decode_large(max_depth - 1, levels))
                self._go_on(b"]")
                continue
            group = canonical.decode(b"[" + self._data[start:end] + b"]", max_depth=max_depth)
            assert isinstance(group, list)  # it has brackets
            found += group
        self._pass(b"]")
        return found

    def _pass_group(self) -> tuple[int, int]:
        """Where some elements of an array begin and end, up to the next that is large."""
        start = end = self._at
        while self._peek() != b"]" and end - start <= _GROUP:
            first, last = self._pass_value()
            if last - first > LARGE and self._data[first : first + 1] in _OPENING:
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

    def _pass_value(self) -> tuple[int, int]:
        """Where the value begins and ends at which the walk stands."""
        self._step()
        self._peek()
        start = self._at
        if self._data[start : start + 1] in _OPENING:
            self._skip_nested()
        else:
            found = _SCALAR.match(self._data, start, start + _WINDOW)
            if found is None:
                raise BadJSON("not JSON: no value, or one that is too long")
            self._at = found.end()
        return start, self._at

    def _skip_nested(self) -> None:
        """Go to behind the bracket that closes the one at which the walk stands."""
        self._step()
        shallow = _SHALLOW.match(self._data, self._at, self._at + _WINDOW)
        if shallow is not None:
            self._at = shallow.end()
            return
        depth = 0
        while True:
            self._step()
            run = _RUN.match(self._data, self._at, self._at + _WINDOW)
            if run is not None:
                self._at = run.end()
                continue
            bracket = self._data[self._at : self._at + 1]
            if bracket in _OPENING:
                depth += 1
            elif bracket in _CLOSING:
                depth -= 1
            else:
                raise BadJSON("not JSON: it ends too early, or has a value that is too long")
            self._at += 1
            if not depth:
                return

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise BadJSON("more values than are listened to")

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
            if self._peek() == end:
                raise BadJSON("not JSON: nothing after a comma")
        elif self._peek() != end:
            raise BadJSON("not JSON: no comma")
