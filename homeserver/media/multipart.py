"""Reading a multipart/mixed answer piece by piece: two parts, the first of them small. Pure.

Spec: server-server-api#get_matrixfederationv1mediadownloadmediaid
"""

import re
from collections.abc import Mapping
from typing import Final

from federation.errors import BadAnswer

MOST_HEAD: Final = 16_384
"""How many bytes the headers of a part may have, and what comes before the first boundary."""
MOST_FIRST: Final = 65_536
"""How many bytes the first part may have."""
_BOUNDARY: Final = re.compile(r"[A-Za-z0-9'()+_,\-./:=? ]{0,69}[A-Za-z0-9'()+_,\-./:=?]")
_PARAMETER: Final = re.compile(r';\s*boundary\s*=\s*(?:"([^"\\]*)"|([^;\s"]+))', re.IGNORECASE)
_CLOSE: Final = b"--"


def find_boundary(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names; None where it names none, or is of another type."""
    if content_type.partition(";")[0].strip().lower() != "multipart/mixed":
        return None
    found = _PARAMETER.search(content_type)
    boundary = (found[1] or found[2] or "") if found is not None else ""
    return boundary.encode("ascii") if _BOUNDARY.fullmatch(boundary) else None


class TwoParts:
    """Takes such a body in pieces; `headers` are those of the second part, once it has begun (names in lower case).

    A part ends at the next boundary, or at the end of the body where `end` finds none: then it was cut off.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # the first delimiter may begin the body
        self._stage = 0
        self.headers: Mapping[str, str] | None = None
        self.is_whole = False

    def feed(self, piece: bytes) -> bytes:
        """Take a piece; gives what of the second part's content is certain now.

        Raises: BadAnswer.
        """
        if self.is_whole:
            return b""
        self._buffer += piece
        while self._stage < len(_STAGES) and getattr(self, _STAGES[self._stage])():
            self._stage += 1
        return self._read_content() if self._stage == len(_STAGES) else b""

    def end(self) -> None:
        """The body has ended.

        Raises: BadAnswer when it was not whole.
        """
        if not self.is_whole:
            raise BadAnswer("the parts of the answer are not whole")

    def _skip_preamble(self) -> bool:
        return self._pass_delimiter(MOST_HEAD) is not None

    def _skip_first(self) -> bool:
        """The first part, whatever it says."""
        return self._pass_delimiter(MOST_HEAD + MOST_FIRST) is not None

    def _pass_delimiter(self, most: int) -> bytes | None:
        """What comes before the next delimiter, which is dropped with the rest of its line."""
        at = self._buffer.find(self._delimiter)
        line_end = -1 if at < 0 else self._buffer.find(b"\r\n", at + len(self._delimiter))
        if line_end < 0:
            if len(self._buffer) > most + MOST_HEAD:
                raise BadAnswer("there is no boundary where one must be")
            return None
        before = bytes(self._buffer[:at])
        if len(before) > most or self._buffer[at + len(self._delimiter) : line_end].strip(b" \t"):
            raise BadAnswer("a part is too large, or there are too few")
        del self._buffer[:line_end]  # the line's end is there, so that no headers at all end like some
        return before

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > MOST_HEAD:
            if len(self._buffer) > MOST_HEAD:
                raise BadAnswer("a part has too many headers")
            return False
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        named = [line.partition(":") for line in lines if line]
        self.headers = {name.strip().lower(): value.strip() for name, _, value in reversed(named)}
        del self._buffer[: end + 4]
        return True

    def _read_content(self) -> bytes:
        at = self._buffer.find(self._delimiter)
        if at >= 0:
            after = bytes(self._buffer[at + len(self._delimiter) : at + len(self._delimiter) + 2])
            if len(after) < len(_CLOSE):
                return b""
            if after != _CLOSE:
                raise BadAnswer("there are more than two parts, or the boundary is in one")
            self.is_whole = True
            certain = bytes(self._buffer[:at])
        else:
            keep = max(len(self._buffer) - len(self._delimiter), 0)
            certain = bytes(self._buffer[:keep])
        del self._buffer[: len(certain)]
        return certain


_STAGES: Final = ("_skip_preamble", "_skip_first", "_read_head")
