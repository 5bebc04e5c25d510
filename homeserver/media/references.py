"""Which media an event refers to: pure, and cheap where there are none, as for nearly every message."""

import re

from federation.errors import BadIdentifier
from federation.ids import ServerName, parse_mxc

_MXC = re.compile(rb"mxc://([^\s\"'<>/\\]{1,255})/([A-Za-z0-9_-]{1,255})")
MOST = 50
"""References counted in one event; an event that holds more is no message but a list."""


def find_references(raw: bytes) -> tuple[tuple[ServerName, str], ...]:
    """Find the media that an event's JSON names, in its order, each once, at most :data:`MOST`.

    Anything that has the form of an ``mxc://`` URI counts, wherever it stands: in ``url``, ``info.thumbnail_url``,
    ``file.url``, ``avatar_url`` or a formatted body. What an encrypted event refers to cannot be seen.

    Spec: client-server-api#matrix-content-mxc-uris
    School: row 54
    """
    if b"mxc://" not in raw:
        return ()
    found: dict[tuple[ServerName, str], None] = {}
    for match in _MXC.finditer(raw):
        try:
            found[parse_mxc(match[0].decode("ascii"))] = None
        except (BadIdentifier, UnicodeDecodeError):
            continue
        if len(found) == MOST:
            break
    return tuple(found)
