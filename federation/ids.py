"""Matrix identifiers: the one place that knows their grammar.

An identifier is a `str` with a `NewType`; a `parse_` function is the only honest way to get one from a stranger's
string. Lengths are counted in UTF-8 bytes. Everything here raises `BadIdentifier` and nothing else.

Spec: appendices#identifier-grammar
"""

import ipaddress
import re
from typing import NewType, TypeAlias

from federation.errors import BadIdentifier

UserID = NewType("UserID", str)
RoomID = NewType("RoomID", str)
EventID = NewType("EventID", str)
RoomAlias = NewType("RoomAlias", str)
ServerName = NewType("ServerName", str)
DeviceID = NewType("DeviceID", str)
MxcURI = NewType("MxcURI", str)

StateKey: TypeAlias = tuple[str, str]
"""What a state event is about: `(type, state_key)`."""

MAX_ID_BYTES = 255

_DNS_LABEL = "[0-9A-Za-z-]+"
_SERVER_NAME = re.compile(rf"(\[[0-9A-Fa-f:.]{{2,45}}\]|{_DNS_LABEL}(?:\.{_DNS_LABEL})*)(?::([0-9]{{1,5}}))?")
_DOTTED_QUAD = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_HASH = re.compile(r"[0-9A-Za-z+/]{43}|[0-9A-Za-z_-]{43}")
_URLSAFE_HASH = re.compile(r"[0-9A-Za-z_-]{43}")
_STRICT_LOCALPART = re.compile(r"[0-9a-z._=/+-]+")
_MEDIA_ID = re.compile(r"[0-9A-Za-z_-]{1,255}")


def parse_user_id(text: str, *, historical: bool = True) -> UserID:
    """`@localpart:server`; with `historical`, old localparts (any character but `:` and NUL, even none) pass too.

    Raises: BadIdentifier.
    Spec: appendices#user-identifiers, appendices#historical-user-ids
    """
    localpart = _check_domained("@", text)
    if not historical:
        check_localpart(localpart)
    return UserID(text)


def parse_room_alias(text: str) -> RoomAlias:
    """`#localpart:server`.

    Raises: BadIdentifier.
    Spec: appendices#room-aliases
    """
    if not _check_domained("#", text):
        raise BadIdentifier("an alias needs a localpart")
    return RoomAlias(text)


def parse_room_id(text: str) -> RoomID:
    """`!opaque:server`, or `!` and the hash of the create event (version 12).

    Raises: BadIdentifier.
    Spec: appendices#room-ids
    """
    if _URLSAFE_HASH.fullmatch(_without_sigil("!", text)) is None and not _check_domained("!", text):
        raise BadIdentifier("a room ID needs an opaque part")
    return RoomID(text)


def parse_event_id(text: str) -> EventID:
    """`$opaque:server` (versions 1 and 2), or `$` and a reference hash in either base64 alphabet.

    Raises: BadIdentifier.
    Spec: appendices#event-ids
    """
    if _HASH.fullmatch(_without_sigil("$", text)) is None and not _check_domained("$", text):
        raise BadIdentifier("an event ID needs an opaque part")
    return EventID(text)


def parse_server_name(text: str) -> ServerName:
    """A host, which is a DNS name or an address literal, and perhaps a port. Case is kept and matters.

    Raises: BadIdentifier.
    Spec: appendices#server-name
    """
    split_server_name(text)
    return ServerName(text)


def split_server_name(text: str) -> tuple[str, int | None]:
    """`(host, port)` of a server name; the host of an IPv6 literal keeps its brackets, an absent port is `None`.

    Raises: BadIdentifier.
    Spec: appendices#server-name
    """
    found = _SERVER_NAME.fullmatch(text) if isinstance(text, str) and len(text) <= MAX_ID_BYTES else None
    if found is None:
        raise BadIdentifier("not a server name")
    host, port = found.groups()
    _check_address_literal(host)
    return host, None if port is None else int(port)


def is_address(host: str) -> bool:
    """Whether the host of a server name is an IP address; an IPv6 one has its brackets."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def find_server_name(text: object) -> ServerName | None:
    """The server name that a stranger's value is; None for what is none."""
    try:
        return parse_server_name(text) if isinstance(text, str) else None
    except BadIdentifier:
        return None


def parse_mxc(text: str) -> tuple[ServerName, str]:
    """`(server, media ID)` of an `mxc://server/media` URI; neither can climb out of a directory.

    Raises: BadIdentifier.
    Spec: client-server-api#matrix-content-mxc-uris
    """
    if not isinstance(text, str) or not text.startswith("mxc://"):
        raise BadIdentifier("not an mxc URI")
    server, _, media_id = text[6:].partition("/")
    return parse_server_name(server), parse_media_id(media_id)


def parse_media_id(text: str) -> str:
    """The media part of an `mxc` URI: letters, digits, `_` and `-`, at most 255 of them.

    Raises: BadIdentifier.
    Spec: client-server-api#matrix-content-mxc-uris
    """
    if not isinstance(text, str) or _MEDIA_ID.fullmatch(text) is None:
        raise BadIdentifier("not a media ID")
    return text


def localpart_of(identifier: str) -> str:
    """What stands between the sigil and the first colon, if there is one; the argument was parsed before."""
    return identifier[1:].partition(":")[0]


def server_of(identifier: UserID | RoomAlias) -> ServerName:
    """The server that a user or an alias belongs to; the argument was parsed before."""
    return ServerName(identifier.partition(":")[2])


def find_server_of(identifier: RoomID | EventID) -> ServerName | None:
    """The domain in an old room or event ID; None for version 12 rooms and hash event IDs. It routes nothing."""
    domain = identifier.partition(":")[2]
    return ServerName(domain) if domain else None


def check_localpart(localpart: str) -> None:
    """Refuse a localpart that no new user may have: only `a-z 0-9 . _ = - / +`, and not empty.

    Raises: BadIdentifier.
    Spec: appendices#user-identifiers
    """
    if not isinstance(localpart, str) or _STRICT_LOCALPART.fullmatch(localpart) is None:
        raise BadIdentifier("a localpart holds only a-z 0-9 . _ = - / +")


def fits(text: str) -> bool:
    """Whether a string is at most 255 bytes of UTF-8; a lone surrogate has no UTF-8 and does not fit.

    Spec: client-server-api#size-limits
    """
    if text.isascii():
        return len(text) <= MAX_ID_BYTES
    try:
        return len(text) <= MAX_ID_BYTES and len(text.encode()) <= MAX_ID_BYTES
    except UnicodeEncodeError:
        return False


def _without_sigil(sigil: str, text: str) -> str:
    if not isinstance(text, str) or text[:1] != sigil or not fits(text):
        raise BadIdentifier(f"does not start with {sigil}, or is too long")
    return text[1:]


def _check_domained(sigil: str, text: str) -> str:
    localpart, colon, domain = _without_sigil(sigil, text).partition(":")
    if not colon or "\0" in localpart:
        raise BadIdentifier("not of the form localpart:server")
    split_server_name(domain)
    return localpart


def _check_address_literal(host: str) -> None:
    if host[0] == "[":
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ipaddress.AddressValueError:
            raise BadIdentifier("not an IPv6 address") from None
    elif _DOTTED_QUAD.fullmatch(host) and any(int(part) > 255 for part in host.split(".")):
        raise BadIdentifier("not an IPv4 address")
