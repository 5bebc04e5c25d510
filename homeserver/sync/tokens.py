"""The tokens that say how far a client has synced.

Only the positions outlive a restart; a serial of another run says that typing and presence are to be told anew.

Spec: client-server-api#syncing
"""

import re
from typing import Final, NamedTuple

from homeserver.policy import Invalid

_TOKEN: Final = re.compile(r"s([0-9]{1,18})(?:_([0-9]{1,18})(?:_([0-9]{1,18}))?)?")


class SyncToken(NamedTuple):
    """A moment: the position of the last commit and the serial that a sync has seen, and the position up to which
    messages to the device were handed out, which is lower when there were too many at once.
    """

    position: int
    serial: int
    taken: int

    def encode(self) -> str:
        """The token as clients keep it."""
        if self.taken == self.position:
            return f"s{self.position}_{self.serial}"
        return f"s{self.position}_{self.serial}_{self.taken}"


def parse_token(text: str) -> SyncToken:
    """The token that a client sends back.

    Raises:
        Invalid: it is none of ours.
    """
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise Invalid("M_INVALID_PARAM", "since is not a token of this server")
    position, serial, taken = found.groups()
    return SyncToken(int(position), int(serial or 0), int(taken or position))
