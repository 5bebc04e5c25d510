"""Which membership events a client has been sent, so that lazily loaded ones need not be sent again.

Spec: client-server-api#lazy-loading-room-members
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple

from federation.ids import DeviceID, UserID
from homeserver.storage.events import RoomEvent
from homeserver.sync.filters import Filter

MOST_CLIENTS: Final = 5000
MOST_SENT: Final = 2000
"""How many events are remembered for a client; forgetting only sends some again."""


class Client(NamedTuple):
    """A device with a filter: one that remembers what it was sent."""

    user_id: UserID
    device_id: DeviceID
    filter: Filter


class SentMembers:
    """What was sent to whom, and with which token: a client that shows the token, or a later one, has it."""

    def __init__(self) -> None:
        self._sent: OrderedDict[Client, dict[int, int]] = OrderedDict()

    def forget(self, client: Client) -> None:
        """A client begins anew."""
        self._sent.pop(client, None)

    def missing(self, client: Client, members: Iterable[RoomEvent], since: int) -> list[RoomEvent]:
        """Those of the events that a client which synced up to `since` may not have."""
        sent = self._sent.get(client)
        if sent is None:
            return list(members)
        return [held for held in members if sent.get(held.nid, since + 1) > since]

    def note(self, client: Client, members: Iterable[RoomEvent], upto: int) -> None:
        """These are sent with a token of that position; for those sent before, the earlier token still counts."""
        sent = self._sent.get(client)
        if sent is None:
            sent = self._sent[client] = {}
            if len(self._sent) > MOST_CLIENTS:
                self._sent.popitem(last=False)
        else:
            self._sent.move_to_end(client)
        if len(sent) > MOST_SENT:
            sent.clear()
        for held in members:
            sent.setdefault(held.nid, upto)
