"""The tokens that say how far a client has synced: a stream position, and a serial of what is never committed.

Only the position outlives a restart; a serial of another run says that typing and presence are to be told anew.

Spec: client-server-api#syncing
"""

import re
from typing import Final, NamedTuple

from homeserver.policy import Invalid

_TOKEN: Final = re.compile(r"s([0-9]{1,18})(?:_([0-9]{1,18}))?")


class SyncToken(NamedTuple):
    """A moment: the position of the last commit and the serial that a sync has seen."""

    position: int
    serial: int

    def encode(self) -> str:
        """The token as clients keep it."""
        return f"s{self.position}_{self.serial}"


def parse_token(text: str) -> SyncToken:
    """The token that a client sends back.

    Raises:
        Invalid: it is none of ours.
    """
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise Invalid("M_INVALID_PARAM", "since is not a token of this server")
    return SyncToken(int(found[1]), int(found[2] or 0))
