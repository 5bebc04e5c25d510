"""Names and types of files, as far as they may be passed on: nothing that could end a header or leave a folder."""

import re
from typing import Final
from urllib.parse import unquote

OCTETS: Final = "application/octet-stream"
_CONTENT_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(\s*;[\x20-\x7e]{0,200})?")
_EXTENDED: Final = re.compile(r"filename\*\s*=\s*utf-8''([^;\s]*)", re.IGNORECASE)
_PLAIN: Final = re.compile(r'filename\s*=\s*(?:"([^"]*)"|([^;\s"]+))', re.IGNORECASE)


def is_content_type(text: str) -> bool:
    """Whether it is a media type."""
    return _CONTENT_TYPE.fullmatch(text) is not None


def read_content_type(text: str | None) -> str:
    """The media type, or that of any bytes for what is none."""
    return text if text is not None and is_content_type(text) else OCTETS


def clean_filename(name: str | None) -> str | None:
    """A name without what could end a header or leave a folder; None for an empty one."""
    if name is None:
        return None
    kept = "".join(c for c in name if c.isprintable() and c not in '/\\"')[:255]
    return kept or None


def find_filename(disposition: str | None) -> str | None:
    """The name that a Content-Disposition gives a file."""
    extended = _EXTENDED.search(disposition or "")
    if extended is not None:
        return clean_filename(unquote(extended[1], errors="replace"))
    plain = _PLAIN.search(disposition or "")
    return None if plain is None else clean_filename(plain[1] or plain[2])
