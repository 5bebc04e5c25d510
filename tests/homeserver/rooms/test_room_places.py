"""Pagination tokens."""

import pytest

from homeserver.policy import Invalid
from homeserver.rooms.places import encode_token, parse_token


@pytest.mark.parametrize("place", [(0, -1), (1, 0), (7, 42), (7, -3), (2**63 - 1, 10**17)])
def test_a_token_comes_back_as_its_place(place: tuple[int, int]) -> None:
    assert parse_token(encode_token(place)) == place


def test_a_syncs_token_is_its_position() -> None:
    assert parse_token("s17") == 17
    assert parse_token("s17_4_9") == 17


@pytest.mark.parametrize(
    "text",
    [
        "",
        "t",
        "s",
        "t1",
        "t-1-2",
        "t1-",
        "t1--",
        "x1",
        "s-1",
        "t1-2 ",
        "t9223372036854775808-0",
        "s" + "1" * 19,
        "t١-١",
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_token(text)
