"""The query string of a request: parsed when first asked, read by typed getters.

Access tokens are never looked for here.
"""

from __future__ import annotations

import builtins
from typing import overload
from urllib.parse import unquote_to_bytes

from homeserver.api.errors import BadParam, MissingParam

_FLAGS = {"true": True, "false": False}
_LONGEST_INTEGER = 18


def decode_component(raw: bytes) -> str:
    """The text of a percent-encoded part of a URI.

    Raises:
        BadParam: the part is not UTF-8.
    """
    try:
        return (unquote_to_bytes(raw) if b"%" in raw else raw).decode("utf-8")
    except UnicodeDecodeError:
        raise BadParam("The URI is not UTF-8") from None


def _parse(raw: bytes) -> dict[builtins.str, builtins.list[builtins.str]]:
    fields: dict[str, list[str]] = {}
    for pair in raw.split(b"&"):
        if pair:
            name, _, value = pair.replace(b"+", b" ").partition(b"=")
            fields.setdefault(decode_component(name), []).append(decode_component(value))
    return fields


class Query:
    """The parameters behind the question mark; of one given twice the first counts, except for `list`.

    Every getter raises `BadParam` for a value of another type than its own.
    """

    __slots__ = ("_fields", "_raw")

    def __init__(self, raw: bytes = b"") -> None:
        self._raw = raw
        self._fields: dict[builtins.str, builtins.list[builtins.str]] | None = None

    def list(self, name: builtins.str) -> builtins.list[builtins.str]:
        """All values given under that name, in order."""
        if self._fields is None:
            self._fields = _parse(self._raw)
        return self._fields.get(name, [])

    @overload
    def str(self, name: builtins.str, default: None = None) -> builtins.str | None: ...
    @overload
    def str(self, name: builtins.str, default: builtins.str) -> builtins.str: ...
    def str(self, name: builtins.str, default: builtins.str | None = None) -> builtins.str | None:
        """The text given under that name, or the default."""
        if not self._raw:
            return default
        values = self.list(name)
        return values[0] if values else default

    def need(self, name: builtins.str) -> builtins.str:
        """The text given under that name.

        Raises:
            MissingParam: it is not there.
        """
        value = self.str(name)
        if value is None:
            raise MissingParam(name)
        return value

    def choice(
        self, name: builtins.str, choices: tuple[builtins.str, ...], default: builtins.str | None = None
    ) -> builtins.str:
        """One of the choices; without a default the parameter is required."""
        value = self.need(name) if default is None else self.str(name, default)
        if value not in choices:
            raise BadParam(f"{name} must be one of {', '.join(choices)}")
        return value

    @overload
    def int(self, name: builtins.str, default: None = None, *, least: builtins.int = 0) -> builtins.int | None: ...
    @overload
    def int(self, name: builtins.str, default: builtins.int, *, least: builtins.int = 0) -> builtins.int: ...
    def int(
        self, name: builtins.str, default: builtins.int | None = None, *, least: builtins.int = 0
    ) -> builtins.int | None:
        """The whole number given under that name, or the default; smaller than `least` is refused."""
        text = self.str(name)
        if text is None:
            return default
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_INTEGER):
            raise BadParam(f"{name} must be an integer")
        value = builtins.int(text)
        if value < least:
            raise BadParam(f"{name} must be at least {least}")
        return value

    def flag(self, name: builtins.str, default: bool = False) -> bool:
        """True or false as given under that name, or the default."""
        text = self.str(name)
        if text is None:
            return default
        try:
            return _FLAGS[text]
        except KeyError:
            raise BadParam(f"{name} must be true or false") from None
