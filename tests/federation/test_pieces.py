"""Large JSON, decoded in pieces: the same values, the same refusals, and never long in one go."""

import json
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import canonical, pieces
from federation.errors import BadJSON

EVENT = {"type": "m.x", "content": {"body": 'a "quoted" \\ б, {[]}', "n": [1, -2, None, True]}, "prev_events": ["$x"]}
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text())
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)))


def in_pieces(data: bytes, max_depth: int = canonical.MAX_DEPTH) -> object:
    """The value, as if it were large."""
    with patch.multiple(pieces, LARGE=8, _FEW_VALUES=0, _GROUP=30, _MOST_LEVELS=60):
        return pieces.decode(data, max_depth=max_depth)


def dumped(value: object) -> list[bytes]:
    """A value as different servers write it."""
    value = {"value": value}
    indented = json.dumps(value, indent=2, ensure_ascii=False).encode()
    return [msgspec.json.encode(value), json.dumps(value).encode(), indented, b" \t\r\n" + indented + b"\n "]


@given(VALUES)
def test_a_value_is_what_it_is_also_in_pieces(value: object) -> None:
    try:
        for data in dumped(value):
            assert in_pieces(data) == {"value": value}
    except UnicodeEncodeError:
        pass  # a lone surrogate, which nobody can send


@given(VALUES, st.data())
def test_what_is_no_json_is_none_in_pieces(value: object, draw: Any) -> None:
    data = bytearray(msgspec.json.encode({"value": value}))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] = draw.draw(st.sampled_from(list(b'{}[]",:\\ x1\xff')))
    try:
        expected: object = canonical.decode(bytes(data))
    except BadJSON:
        with pytest.raises(BadJSON):
            in_pieces(bytes(data))
    else:
        assert in_pieces(bytes(data)) == expected


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 12345678, "a": 2}',
        b'{"a": [1, 2, 3, {"b": 1, "b": 2}]}',
        b'{"a": [1, 2, 3, 4, 5,]}',
        b'{"a": [1, 2, 3, 4, 5}',
        b'{"a": [1, 2, 3 4, 5]}',
        b'{"a": "12345678",}',
        b'{"a": "12345678"} x',
        b'{"a": "12345678"',
        b'{"a" "12345678"}',
        b'{a: "12345678"}',
        b'{"a": [NaN, 1, 2, 3]}',
        b'{"a": ["\xff", 1, 2]}',
        b'{"a": [{]}, 1, 2, 3]}',
        b'{"a": }         ',
        b"[1, 2, 3, 4, 5, 6",
        b"x" * 30,
        b"           ",
    ],
)
def test_large_values_are_as_strict_as_small_ones(data: bytes) -> None:
    with pytest.raises(BadJSON):
        canonical.decode(data)
    with pytest.raises(BadJSON):
        in_pieces(data)


def test_nesting_is_bounded_as_for_small_values() -> None:
    for depth, is_good in ((5, True), (6, False)):
        data = b'{"events": ' + b"[" * (depth - 1) + b'"large enough"' + b"]" * (depth - 1) + b"}"
        for decode in (canonical.decode, in_pieces):
            if is_good:
                assert decode(data, max_depth=5)
            else:
                with pytest.raises(BadJSON):
                    decode(data, max_depth=5)


def test_a_large_answer_is_read_in_the_old_form_as_well() -> None:
    answer = {"state": [EVENT] * 20_000, "auth_chain": [EVENT], "event": EVENT, "members_omitted": False}
    for value in (answer, [200, answer]):
        data = msgspec.json.encode(value)
        assert len(data) > pieces.LARGE
        assert pieces.decode(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b'{"state": [' + b"[]," * 3_500_000 + b"[]]}",
        b'{"state": [' + b"1," * 7_000_000 + b"1]}",
        b'{"state": [' + b'{"a":' * 1_000_000 + b"1" + b"}" * 1_000_000 + b"]}",
        b'{"state": ["' + b"x" * 5_000_000 + b'"]}',
        b'{"state": [' + b" " * 5_000_000 + b"]}",
        b'{"' + b"x" * 5_000_000 + b'": 1}',
        b'{"a": {"b": {"c": {"d": {"e": {"f": [' + b"1," * 1_000_000 + b"1]}}}}}}",
        b"[" * 5_000_000,
        b'"' + b"x" * 5_000_000 + b'"',
    ],
)
def test_what_no_server_would_answer_is_refused_before_it_is_built(data: bytes) -> None:
    with pytest.raises(BadJSON):
        pieces.decode(data)
