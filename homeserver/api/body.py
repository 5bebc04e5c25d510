"""Request bodies: strict JSON into typed records, bounded in size and depth.

Spec: client-server-api#api-standards
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from homeserver.api.errors import MatrixError

MAX_DEPTH = 64
"""How deep objects and arrays may be nested in a body; as deep as an event may be."""

SMALL = 1 << 17
"""Bodies up to that size are decoded at once, larger ones by another thread."""
MOST_VALUES = 400_000
"""How many values a body of more than a megabyte may have: the decoder gives nobody else a turn until it is done."""

_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_LARGE = 1 << 20
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))


def _not_json(why: str) -> MatrixError:
    return MatrixError(400, "M_NOT_JSON", why)


def _depth(raw: bytes) -> int:
    """How deep the brackets of a JSON text are nested, outside its strings."""
    depth = deepest = 0
    for byte in _STRINGS.sub(b"", raw).translate(None, _NO_BRACKETS):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _check_values(raw: bytes) -> None:
    """Refuse a large body of very many values, none of which can be large."""
    if len(raw) > _LARGE and _count_values(raw) > MOST_VALUES and _count_values(_STRINGS.sub(b"", raw)) > MOST_VALUES:
        raise MatrixError(400, "M_BAD_JSON", f"The body has more than {MOST_VALUES} values")


def _count_values(raw: bytes) -> int:
    """What separates values and opens them: no fewer than there are values, but one."""
    return raw.count(b",") + raw.count(b"{") + raw.count(b"[")


def check_depth(raw: bytes) -> None:
    """Refuse a JSON text that is nested deeper than :data:`MAX_DEPTH`.

    Raises:
        MatrixError: M_BAD_JSON.
    """
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise MatrixError(400, "M_BAD_JSON", f"The body is nested deeper than {MAX_DEPTH}")


@cache
def body_decoder(kind: Any) -> Callable[[bytes], Any]:
    """A function that decodes a body to that type, which msgspec must know.

    The function raises `MatrixError`: M_NOT_JSON for what is not strict JSON in UTF-8, M_BAD_JSON for JSON that is
    not of that type or too deep.
    """
    decode = msgspec.json.Decoder(kind, strict=True).decode

    def decode_body(raw: bytes) -> Any:
        _check_values(raw)
        check_depth(raw)
        try:
            if not raw.isascii():
                raw.decode()  # the decoder looks at no string that it has no use for
            return decode(raw)
        except msgspec.ValidationError as fault:
            raise MatrixError(400, "M_BAD_JSON", str(fault)) from None
        except msgspec.DecodeError as fault:
            raise _not_json(str(fault)) from None
        except UnicodeDecodeError:
            raise _not_json("The body is not UTF-8") from None

    return decode_body
