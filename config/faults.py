"""What is wrong with a configuration, as one line that begins with the key's path."""

import re
from typing import Final

_AT: Final = re.compile(r"^(?P<why>.*?)(?: - at (?:`key` in )?`(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD: Final = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<name>.*)`$")


class ConfigError(Exception):
    """The configuration cannot be used; the message is one line and names the key."""


def name_key(fault: str) -> str:
    """A fault of msgspec's as one line that starts with the key's path."""
    found = _AT.match(fault)
    assert found is not None
    path = (found["path"] or "").removeprefix("$").lstrip(".")
    why = found["why"]
    field = _FIELD.match(why)
    if field:
        path = f"{path}.{field['name']}" if path else field["name"]
        why = "unknown key" if "unknown" in why else "missing"
    return f"{path}: {why}" if path else why
