"""Request bodies: strict JSON into typed records, bounded in size and depth.

Spec: client-server-api#api-standards
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import msgspec
from msgspec.inspect import type_info

from federation import pieces
from federation.errors import BadJSON, TooMuchJSON
from homeserver.api.errors import MatrixError

MAX_DEPTH = 64
"""How deep objects and arrays may be nested in a body; as deep as an event may be."""

SMALL: Final = pieces.LARGE
"""Bodies up to that size are decoded at once, larger ones by another thread, in pieces."""
MOST_VALUES = 400_000
"""How many values a larger body may have: letting go of them gives nobody else a turn until it is done."""

_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))


def _not_json(why: str) -> MatrixError:
    return MatrixError(400, "M_NOT_JSON", why)


def _bad_json(why: str) -> MatrixError:
    return MatrixError(400, "M_BAD_JSON", why)


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


def check_depth(raw: bytes) -> None:
    """Refuse a JSON text that is nested deeper than :data:`MAX_DEPTH`.

    Raises:
        MatrixError: M_BAD_JSON.
    """
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise _bad_json(f"The body is nested deeper than {MAX_DEPTH}")


@cache
def body_decoder(kind: Any) -> Callable[[bytes], Any]:
    """A function that decodes a body to that type, which msgspec must know.

    The function raises `MatrixError`: M_NOT_JSON for what is not strict JSON in UTF-8, M_BAD_JSON for JSON that is
    not of that type or too deep.
    """
    decode_whole = msgspec.json.Decoder(kind, strict=True).decode
    in_pieces = "RawType()" not in repr(type_info(kind))  # a value has no bytes any more

    def decode(raw: bytes) -> Any:
        if in_pieces and len(raw) > SMALL:
            value = pieces.decode(raw, max_depth=MAX_DEPTH, most_values=MOST_VALUES)
            return msgspec.convert(value, kind, strict=True)
        check_depth(raw)
        if not raw.isascii():
            raw.decode()  # the decoder looks at no string that it has no use for
        return decode_whole(raw)

    def decode_body(raw: bytes) -> Any:
        try:
            return decode(raw)
        except (msgspec.ValidationError, TooMuchJSON) as fault:
            raise _bad_json(str(fault)) from None
        except (msgspec.DecodeError, BadJSON) as fault:
            raise _not_json(str(fault)) from None
        except UnicodeDecodeError:
            raise _not_json("The body is not UTF-8") from None

    return decode_body
