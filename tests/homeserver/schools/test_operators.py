"""How far operators' deeds reach in a region of schools: the table, and the names it knows."""

from typing import get_args

import pytest

from homeserver.policy import Deed
from homeserver.schools.rights import OPERATORS, Reach, may_administer

NEVER = {
    "log_in_as", "read_room", "see_account_data", "admit", "make_room_admin", "create_account", "make_token",
    "change_token", "redact",
}  # fmt: skip
"""What opens a closed room, or makes people past the roster."""


def test_the_table_names_deeds_that_there_are() -> None:
    assert OPERATORS.keys() <= set(get_args(Deed))


def test_what_is_in_no_table_is_refused() -> None:
    assert set(get_args(Deed)) - OPERATORS.keys() == NEVER
    for deed in (*NEVER, "made_up"):
        assert not may_administer(deed, of_school=False)


@pytest.mark.parametrize("deed", sorted(OPERATORS))
def test_what_is_for_strangers_stops_at_the_schools(deed: str) -> None:
    assert may_administer(deed, of_school=False)
    assert may_administer(deed, of_school=True) is (OPERATORS[deed] is Reach.ALL)
