"""Who may see which event of a room's history: pure.

Spec: client-server-api#room-history-visibility
"""

from collections.abc import Collection
from typing import Final

_RESTRICTIVE: Final = ("joined", "invited")
"""What is neither these nor `world_readable` counts as `shared`."""


def may_see(visibility: object, membership: str | None, *, joined_later: bool) -> bool:
    """Whether an event may be seen by somebody who had that membership when it was sent, under that visibility.

    `joined_later`: the person joined at any point after it, or is in the room without its sender's knowledge.

    Spec: client-server-api#room-history-visibility
    """
    # 1. the visibility was world_readable
    if visibility == "world_readable":
        return True
    # 2. the membership was join
    if membership == "join":
        return True
    # 3. the visibility was shared, or not understood, and the person joined later
    if visibility not in _RESTRICTIVE and joined_later:
        return True
    # 4. the membership was invite and the visibility invited; 5. otherwise not
    return membership == "invite" and visibility == "invited"


def may_see_change(
    visibilities: Collection[object], memberships: Collection[str | None], *, joined_later: bool
) -> bool:
    """The same where an event changes the visibility or the person's own membership: either side of it may allow.

    Spec: client-server-api#room-history-visibility
    """
    return any(
        may_see(visibility, membership, joined_later=joined_later)
        for visibility in visibilities
        for membership in memberships
    )
