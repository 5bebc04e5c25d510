import json
from pathlib import Path

import canonicaljson
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from federation import canonical
from federation.errors import BadJSON

CASES = json.loads((Path(__file__).parent / "vectors/canonical_json.json").read_text())["cases"]

INTEGERS = st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER)
SCALARS = st.none() | st.booleans() | INTEGERS | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
WITH_FLOATS = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_examples_of_the_specification_hold(case):
    value = canonical.decode(case["object"].encode())
    if "1e10" in case["object"]:
        value["b"] = int(value["b"])  # 1e10 is read as a float, which we refuse; the integer it means is 10000000000
    assert canonical.encode(value) == case["canonical"].encode()


@given(VALUES)
def test_our_encoding_is_that_of_the_reference_library(value):
    assert canonical.encode(value) == canonicaljson.encode_canonical_json(value)


@given(WITH_FLOATS)
@example([1e16, 1e-7, 1e22, -0.0, 1.0, 2**63, -(2**64)])
def test_the_lenient_encoding_is_that_of_the_reference_library_too(value):
    assert canonical.encode(value, strict=False) == canonicaljson.encode_canonical_json(value)


@pytest.mark.parametrize(
    "point", [*range(0x21), 0x22, 0x2F, 0x5C, 0x7F, 0x80, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]
)
def test_every_kind_of_character_is_escaped_as_the_reference_library_does(point):
    text = f"a{chr(point)}b"
    assert canonical.encode({text: text}) == canonicaljson.encode_canonical_json({text: text})


def test_keys_are_sorted_by_code_point_and_not_by_utf_16():
    assert canonical.encode({"\U0001f600": 1, "\uffff": 2, "a": 3}) == '{"a":3,"\uffff":2,"\U0001f600":1}'.encode()


@given(VALUES)
def test_what_is_encoded_is_decoded_to_the_same(value):
    assert canonical.decode(canonical.encode(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        canonical.MAX_INTEGER + 1,
        -canonical.MAX_INTEGER - 1,
        "\ud800",
        {"\udfff": 1},
        {1: "one"},
        {None: 1},
        {True: 1},
        b"bytes",
        {1, 2},
        pytest.param(object(), id="object"),
        [[{"a": [1.5]}]],
    ],
    ids=repr,
)
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(BadJSON):
        canonical.encode(value)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1: 1.5}, [1.5, "\ud800"], {"a": 1.5, 2: 1}, b""], ids=repr
)
def test_the_lenient_encoding_refuses_what_is_no_json_at_all(value):
    with pytest.raises(BadJSON):
        canonical.encode(value, strict=False)


def test_the_bounds_of_integers_are_inside():
    assert canonical.encode([canonical.MAX_INTEGER, -canonical.MAX_INTEGER]) == b"[9007199254740991,-9007199254740991]"


def test_tuples_are_arrays():
    assert canonical.encode((1, ("a",))) == b'[1,["a"]]'


def test_a_value_may_nest_so_deep_and_no_deeper():
    assert canonical.encode(nested(canonical.MAX_DEPTH))
    with pytest.raises(BadJSON):
        canonical.encode(nested(canonical.MAX_DEPTH + 1))


def test_bytes_may_nest_so_deep_and_no_deeper():
    deep = canonical.MAX_DEPTH
    assert canonical.decode(b"[" * (deep + 1) + b"]" * (deep + 1)) == nested(deep)
    assert canonical.decode(b'{"a":' * deep + b"1" + b"}" * deep)
    for more in (deep + 2, 2_000, 1_000_000):
        with pytest.raises(BadJSON):
            canonical.decode(b"[" * more + b"]" * more)
        with pytest.raises(BadJSON):
            canonical.decode(b'{"a":' * more + b"1" + b"}" * more)


def test_the_depth_can_be_asked_for():
    assert canonical.decode(b"[[1]]", max_depth=2) == [[1]]
    with pytest.raises(BadJSON):
        canonical.decode(b"[[1]]", max_depth=1)
    assert canonical.encode([[1]], max_depth=2) == b"[[1]]"
    with pytest.raises(BadJSON):
        canonical.encode([[1]], max_depth=1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nul",
        b"NaN",
        b"Infinity",
        b"1e999",
        b"01",
        b"+1",
        b".5",
        b"[1,]",
        b"{'a':1}",
        b'{"a":1}{}',
        b'{"a" 1}',
        b'{1:"a"}',
        b'"\n"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\ude00\\ud800"',
        b'"\\x41"',
        b"\xef\xbb\xbf{}",
        b"{} // no",
        b"9" * 5_000,
        '{"a":1}'.encode("utf-16"),
    ],
    ids=lambda data: data[:20],
)
def test_bytes_that_are_not_strict_json_are_refused(data):
    with pytest.raises(BadJSON):
        canonical.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"b":{"a":1,"c":[],"a":{"x":1}}}]',
        b'{"\\\\":1,"\\\\":2}',
        b'{"\\"":1,"\\"":2}',
        b'{"\\\\\\"":1,"\\\\\\"":2}',
    ],
)
def test_a_key_given_twice_is_refused(data):
    with pytest.raises(BadJSON, match="twice"):
        canonical.decode(data)


@given(VALUES, st.booleans())
def test_however_a_value_is_written_no_key_is_taken_for_a_double(value, ascii_only):
    assert canonical.decode(json.dumps(value, ensure_ascii=ascii_only, indent=1).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_decoded_or_refused(data):
    try:
        canonical.decode(data)
    except BadJSON:
        return
    json.loads(data)


@given(VALUES, st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_broken_json_is_decoded_or_refused(value, place, noise):
    data = canonical.encode(value)
    place %= len(data) + 1
    broken = data[:place] + noise + data[place:]
    try:
        canonical.decode(broken)
    except BadJSON:
        return
    json.loads(broken)


def test_parts_already_encoded_are_spliced_in():
    assert canonical.encode_checked({"b": msgspec.Raw(b'{"x":1}'), "a": 2}) == b'{"a":2,"b":{"x":1}}'
