"""Server access control lists: which servers a room wants nothing to do with.

Spec: client-server-api#server-access-control-lists-acls-for-rooms, server-server-api#server-access-control-lists-acls
"""

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final

import msgspec

from federation.errors import BadIdentifier, Refused
from federation.event import Event
from federation.ids import ServerName, is_address, split_server_name
from homeserver.policy import RoomFacts

MOST_RULES: Final = 1000
"""How many patterns of a list count; an event cannot hold many more."""


class AccessList:
    """A room's list, ready to be asked."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._literals = content.get("allow_ip_literals") is not False
        self._allow = _compile(content.get("allow"))
        self._deny = _compile(content.get("deny"))

    def allows(self, server: ServerName) -> bool:
        """Whether the list lets the server take part; ports do not count, nor does case.

        Spec: client-server-api#mroomserver_acl
        """
        try:
            host = split_server_name(server)[0].lower()
        except BadIdentifier:
            return False
        if not self._literals and is_address(host):
            return False
        if self._deny.fullmatch(host) is not None:
            return False
        return self._allow.fullmatch(host) is not None


def check_acl(room: RoomFacts, server: ServerName) -> None:
    """Refuse a server that the room's list shuts out.

    Raises: Refused.
    Spec: server-server-api#server-access-control-lists-acls
    """
    if not is_let_in(room.state("m.room.server_acl"), server):
        raise Refused("acl", "the room's access list denies the server")


def is_let_in(acl: Event | None, server: ServerName) -> bool:
    """Whether a room's access list, if it has one, lets a server take part."""
    return acl is None or _read(acl.raw).allows(server)


@lru_cache(maxsize=1000)
def _read(raw: bytes) -> AccessList:
    content: dict[str, Any] = msgspec.json.decode(raw)["content"]
    return AccessList(content)


def _compile(patterns: Any) -> re.Pattern[str]:
    """Globs as one expression. A bracket is no wildcard here; `translate` sees to it that no glob takes forever."""
    if not isinstance(patterns, list):
        return re.compile(r"(?!)")
    globs = [translate(each.lower().replace("[", "[[]")) for each in patterns[:MOST_RULES] if isinstance(each, str)]
    return re.compile("|".join(globs) or r"(?!)")
