"""Reading the query string."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from homeserver.api.errors import BadParam, MatrixError, MissingParam
from homeserver.api.query import Query

QUERY = Query(b"from=s1&limit=20&full=true&thin=false&via=a&via=b%20c&dir=b&empty=&text=%D0%B0+b%2Bc&neg=-5&&=x")


def test_text_is_decoded_and_the_first_counts() -> None:
    assert QUERY.str("text") == "а b+c"
    assert QUERY.str("via") == "a"
    assert QUERY.str("empty") == ""
    assert QUERY.str("none") is None
    assert QUERY.str("none", "x") == "x"
    assert QUERY.list("via") == ["a", "b c"]
    assert QUERY.list("none") == []
    assert Query().str("from", "x") == "x"
    assert Query().list("from") == []


def test_numbers_and_flags_are_read() -> None:
    assert QUERY.int("limit") == 20
    assert QUERY.int("none") is None
    assert QUERY.int("none", 5) == 5
    assert QUERY.int("neg", least=-10) == -5
    assert QUERY.flag("full")
    assert not QUERY.flag("thin", True)
    assert QUERY.flag("none", True)


def test_what_is_needed_must_be_there() -> None:
    assert QUERY.need("from") == "s1"
    with pytest.raises(MissingParam):
        QUERY.need("none")


def test_a_choice_is_one_of_the_choices() -> None:
    assert QUERY.choice("dir", ("f", "b")) == "b"
    assert QUERY.choice("none", ("f", "b"), "f") == "f"
    with pytest.raises(BadParam):
        QUERY.choice("from", ("f", "b"))
    with pytest.raises(MissingParam):
        QUERY.choice("none", ("f", "b"))


@pytest.mark.parametrize("value", ["", "a", "1.5", "1e3", "--1", "-", "٣", "1 ", "9" * 19, "-1", "1_000"])
def test_what_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(BadParam):
        Query(f"limit={value}".encode()).int("limit", 10)


@pytest.mark.parametrize("value", ["", "1", "True", "yes"])
def test_what_is_no_flag_is_refused(value: str) -> None:
    with pytest.raises(BadParam):
        Query(f"full={value}".encode()).flag("full")


@pytest.mark.parametrize("raw", [b"a=%ff", b"%ff=a", b"a=\xff"])
def test_what_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(BadParam):
        Query(raw).str("a")


@given(some.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    query = Query(raw)
    try:
        assert all(isinstance(value, str) for value in query.list("a"))
        assert isinstance(query.int("b", 1), int)
    except MatrixError as refusal:
        assert refusal.status == 400
