"""Asking the web: a few bounded requests, each to an address that was judged, also where a redirect leads."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Final

from twisted.internet.interfaces import IReactorTime

from federation.errors import RemoteFault
from federation.transport.agent import Outgoing, Outward
from homeserver import VERSION
from homeserver.media.previews.addresses import host_of, join_address

MOST_REDIRECTS: Final = 5
WITHIN_S: Final = 20.0
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Unreadable(RemoteFault):
    """The page gives nothing that could be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lay at an address, after all redirects; `charset` is empty where none was named."""

    address: str
    content_type: str
    charset: str
    body: bytes


class Web:
    """The pages and pictures of some hosts."""

    def __init__(self, outward: Outward, clock: IReactorTime, hosts: Container[str], languages: Sequence[str]) -> None:
        self._outward = outward
        self._clock = clock
        self._hosts = hosts
        self._languages = ", ".join(languages) or "*"

    async def get(self, address: str, *, accept: str, most_bytes: int) -> Found:
        """Get what lies at an address: unpacked, since nothing here unpacks, and whole, since part of it may lie.

        Raises:
            RemoteFault: There is nothing, or too much, or too slowly, or it leads where nobody is asked.
        """
        deadline = self._clock.seconds() + WITHIN_S
        headers = {
            "Accept": accept,
            "Accept-Encoding": "identity",
            "Accept-Language": self._languages,
            "User-Agent": f"Parta/{VERSION} (preview of a link)",
        }
        for _ in range(MOST_REDIRECTS + 1):
            if host_of(address) not in self._hosts:
                raise Unreadable("a host that is not asked")
            within_s = max(0.1, deadline - self._clock.seconds())
            request = Outgoing(method="GET", url=address, headers=headers, most_bytes=most_bytes, within_s=within_s)
            incoming = await self._outward.ask(request)
            if incoming.status in REDIRECTS:
                location = incoming.headers.get("location", "").encode("latin-1").decode("utf-8", "replace")
                address = join_address(address, location) or ""
                if not address:
                    raise Unreadable("leads nowhere")
                continue
            if incoming.status != 200 or incoming.headers.get("content-encoding", "identity") != "identity":
                raise Unreadable(f"status {incoming.status}, or packed")
            content_type, charset = _parse_content_type(incoming.headers.get("content-type", ""))
            return Found(address=address, content_type=content_type, charset=charset, body=incoming.body)
        raise Unreadable("leads on and on")


def _parse_content_type(header: str) -> tuple[str, str]:
    """The type in lower case, and the charset."""
    message = Message()
    message["Content-Type"] = "".join(c for c in header[:200] if c.isprintable())
    charset = message.get_param("charset", "")
    return message.get_content_type(), charset if isinstance(charset, str) and charset.isascii() else ""
