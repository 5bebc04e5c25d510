"""The table of who may see what: visibility x membership at the event x whether the person joined later."""

import pytest

from homeserver.rooms.visibility import may_see, may_see_change

MEMBERSHIPS = (None, "leave", "ban", "knock", "invite", "join")

# visibility -> memberships at the event that see it (never joined later), and those that see it having joined later
TABLE = {
    "world_readable": (set(MEMBERSHIPS), set(MEMBERSHIPS)),
    "shared": ({"join"}, set(MEMBERSHIPS)),
    "invited": ({"join", "invite"}, {"join", "invite"}),
    "joined": ({"join"}, {"join"}),
    None: ({"join"}, set(MEMBERSHIPS)),
    "no such rule": ({"join"}, set(MEMBERSHIPS)),
    7: ({"join"}, set(MEMBERSHIPS)),
}


@pytest.mark.parametrize("visibility", TABLE)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_the_table_of_visibility(visibility: object, membership: str | None) -> None:
    never, later = TABLE[visibility]  # type: ignore[index]  # the table's own keys
    assert may_see(visibility, membership, joined_later=False) is (membership in never)
    assert may_see(visibility, membership, joined_later=True) is (membership in later)


def test_a_change_of_visibility_is_seen_by_whom_either_side_lets() -> None:
    assert may_see_change(["joined", "world_readable"], [None], joined_later=False)
    assert may_see_change(["world_readable", "joined"], [None], joined_later=False)
    assert not may_see_change(["joined", "invited"], [None], joined_later=False)


def test_a_change_of_ones_own_membership_is_seen_if_either_side_lets() -> None:
    assert may_see_change(["joined"], ["join", "leave"], joined_later=False)
    assert may_see_change(["joined"], ["invite", "join"], joined_later=False)
    assert not may_see_change(["joined"], ["invite", "leave"], joined_later=False)
