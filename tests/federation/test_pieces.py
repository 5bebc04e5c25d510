"""Large JSON, decoded in pieces: the same values, the same refusals, and never long in one go."""

import json
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import canonical, pieces
from federation.errors import BadJSON, TooMuchJSON

EVENT = {"type": "m.x", "content": {"body": 'a "quoted" \\ б, {[]}', "n": [1, -2, None, True]}, "prev_events": ["$x"]}
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text())
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)))


def in_pieces(data: bytes, max_depth: int = canonical.MAX_DEPTH) -> object:
    """The value, as if it were large."""
    with patch.multiple(pieces, LARGE=8, _MOST_LEVELS=60):
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


def test_nothing_large_is_decoded_in_one_go() -> None:
    event = msgspec.json.encode(
        {"content": {"body": "x" * 300}, "auth_events": ["$x"] * 5, "signatures": {"a": {"b": "c"}}}
    )
    deep = b"[" * 20 + b"1" + b"]" * 20
    many = b",".join(b'"%d":%b' % (number, event) for number in range(1000))
    sizes: list[int] = []

    def decode(data: bytes, **more: Any) -> object:
        sizes.append(len(data))
        return canonical.decode(data, **more)

    for element in (event, b"1", b"[]", b'{"a":1}', b"1.5e-300", b'"' + b"y" * 1000 + b'"', deep, b"{%b}" % many):
        elements = b",".join([element] * (3 * pieces.LARGE // len(element) + 1))
        for data in (b'{"a":[%b],"b":1}' % elements, b'{"a":{"b":{"c":[%b]}}}' % elements):
            with patch.object(pieces, "canonical", SimpleNamespace(decode=decode, MAX_DEPTH=canonical.MAX_DEPTH)):
                value = pieces.decode(data)
            assert value == canonical.decode(data)
            assert max(sizes) <= 2 * pieces.LARGE
            sizes.clear()


def test_the_parts_are_all_that_was_decoded() -> None:
    parts: list[object] = []
    value = pieces.decode(b'{"a":[' + b"[1]," * 50_000 + b'[1]],"b":{"c":2}}', parts=parts)
    *groups, last = parts
    assert last == {"c": 2}
    assert value == {"a": [each for group in groups for each in group], "b": last}


@pytest.mark.parametrize("element", [b"1", b"[]", b'{"a":1}', b"[[[[]]]]", b'{"a":[1,2,3]}', b'",",1'])
def test_there_are_no_more_values_than_are_listened_to(element: bytes) -> None:
    values = len(element.replace(b'","', b"")) // 2 + 1
    data = b'{"a":[' + b",".join([element] * 40_000) + b"]}"
    assert pieces.decode(data, most_values=values * 60_000)
    with pytest.raises(TooMuchJSON):
        pieces.decode(data, most_values=20_000)


def test_tedious_numbers_count_for_many() -> None:
    for number in (b"1e-300", b"1.2345678901234567", b"12345678901234567890"):
        data = b"[" + b",".join([number] * 20_000) + b"]"
        with pytest.raises(TooMuchJSON):
            pieces.decode(data, most_values=500_000)
        assert pieces.decode(data)


@given(VALUES)
def test_a_value_is_encoded_in_pieces_as_it_is_whole(value: object) -> None:
    try:
        whole = canonical.encode({"value": value}, strict=False)
    except BadJSON:
        with pytest.raises(BadJSON):
            pieces.encode({"value": value})
    else:
        assert pieces.encode({"value": value}) == pieces.encode({"value": value}, levels=2) == whole


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
        b'{"state": ["' + b"x" * pieces.LONGEST + b'"]}',
        b'{"state": [' + b"9" * 5_000_000 + b"]}",
        b'{"state": [' + b" " * 5_000_000 + b"]}",
        b'{"' + b"x" * 5_000_000 + b'": 1}',
        b'{"a":' * 10 + b"[" + b"1," * 1_000_000 + b"1]" + b"}" * 10,
        b"{" + b",".join(b'"%d":1' % key for key in range(pieces.MOST_KEYS + 1)) + b"}",
        b"[" * 5_000_000,
        b'"' + b"x" * pieces.LONGEST + b'"',
    ],
)
def test_what_no_server_would_answer_is_refused_before_it_is_built(data: bytes) -> None:
    with pytest.raises(BadJSON):
        pieces.decode(data)
