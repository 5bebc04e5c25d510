"""Addresses of pages: which are addresses at all, and which this server may ask. Pure."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urljoin

import hyperlink
import idna

LONGEST: Final = 2048


def parse_address(text: str) -> str | None:
    """The address that is asked, in ASCII and without a fragment; None for what is none of http or https.

    An address with a name and password in it is none either: they are somebody's, and not for this server to use.
    """
    if len(text) > LONGEST or not text.isprintable():
        return None
    try:
        url = hyperlink.URL.from_text(text).to_uri().normalize(path=False, query=False, fragment=False)
    except (ValueError, TypeError, IndexError):  # what hyperlink and idna raise; a port that is no number, too
        return None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or not 0 < (url.port or 0) < 1 << 16:
        return None
    address = url.replace(fragment="", path=url.path or ("",)).to_text()
    return address if address.isascii() and len(address) <= LONGEST else None


def join_address(page: str, text: str) -> str | None:
    """The address that a text means on a page; None as for :func:`parse_address`."""
    try:
        return parse_address(urljoin(page, text.strip()))
    except ValueError:
        return None


def host_of(address: str) -> str:
    """The host of an address, in lower case and ASCII."""
    return hyperlink.URL.from_text(address).host.lower()


class Hosts:
    """The hosts that may be asked: names, or patterns like ``*.example.org`` (which is not example.org itself)."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(_encode_pattern(pattern) for pattern in patterns)

    def __contains__(self, host: object) -> bool:
        return isinstance(host, str) and any(fnmatchcase(host.rstrip("."), pattern) for pattern in self._patterns)


def _encode_pattern(pattern: str) -> str:
    """A pattern as hosts are compared with it: names in other letters than Latin have an ASCII form."""
    labels = pattern.lower().rstrip(".").split(".")
    return ".".join(label if label.isascii() else _encode_label(label) for label in labels)


def _encode_label(label: str) -> str:
    try:
        return idna.encode(label).decode("ascii")
    except idna.IDNAError:  # no host is called so
        return label
