"""What of a room is shown to somebody who is asked into it, or knocks.

Spec: client-server-api#stripped-state
"""

from typing import Final

import msgspec

from federation.ids import StateKey, UserID
from homeserver.rooms.room import Room

SHOWN: Final[tuple[StateKey, ...]] = tuple(
    (f"m.room.{kind}", "") for kind in "create name avatar topic join_rules canonical_alias encryption".split()
)


def shown_to(room: Room, sender: UserID) -> list[msgspec.Raw]:
    """The state events by which another server's person knows what they are asked into by `sender`, as they travel.

    Spec: server-server-api#put_matrixfederationv2inviteroomideventid
    """
    state = room.head.state
    keys = [*SHOWN, ("m.room.member", sender)]
    return [msgspec.Raw(state[key].event.raw) for key in keys if key in state]
