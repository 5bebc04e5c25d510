"""Names and types of files, as far as they may be passed on: nothing that could end a header or leave a folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

OCTETS: Final = "application/octet-stream"
INLINE: Final = frozenset(
    "text/css text/plain text/csv application/json application/ld+json image/jpeg image/gif image/png image/apng"
    " image/webp image/avif video/mp4 video/webm video/ogg video/quicktime audio/mp4 audio/webm audio/aac audio/mpeg"
    " audio/ogg audio/wave audio/wav audio/x-wav audio/x-pn-wav audio/flac audio/x-flac".split()
)
"""Content types that a browser may show in place. Spec: client-server-api#serving-inline-content"""
_CONTENT_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(\s*;[\x20-\x7e]{0,200})?")
_EXTENDED: Final = re.compile(r"filename\*\s*=\s*utf-8''([^;\s]*)", re.IGNORECASE)
_PLAIN: Final = re.compile(r'filename\s*=\s*(?:"([^"]*)"|([^;\s"]+))', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is said of a file."""

    content_type: str
    filename: str | None

    @property
    def inline(self) -> bool:
        """Whether a browser may show it in place; SVG and HTML never.

        Spec: client-server-api#serving-inline-content
        """
        return self.content_type.partition(";")[0].strip().lower() in INLINE


def read_label(headers: Mapping[str, str]) -> Label:
    """What the headers of a file say of it; their names are in lower case."""
    return Label(
        content_type=read_content_type(headers.get("content-type")),
        filename=find_filename(headers.get("content-disposition")),
    )


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
