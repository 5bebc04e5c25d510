"""Reading JSON bodies."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from homeserver.api.body import MAX_DEPTH, MOST_VALUES, body_decoder
from homeserver.api.errors import MatrixError


class Login(msgspec.Struct, frozen=True):
    type: str
    user: str | None = None
    count: int = 0
    content: dict[str, Any] = {}


def refusal(raw: bytes, kind: Any = dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(MatrixError) as caught:
        body_decoder(kind)(raw)
    return caught.value.status, caught.value.errcode


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


def test_a_body_becomes_its_record_and_unknown_keys_are_left_out() -> None:
    raw = b'{"type":"m.login.password","user":"\xd0\xb0","other":[1,{"a":null}],"content":{"x":1.5}}'
    assert body_decoder(Login)(raw) == Login(type="m.login.password", user="а", content={"x": 1.5})


@pytest.mark.parametrize(
    "raw", [b'{"type":"a","other":"\xff"}', b'{"type":"a","\xff":1}', b'{"type":"a","o":["\xed\xa0\x80"]}']
)
def test_a_key_that_is_left_out_is_utf8_too(raw: bytes) -> None:
    assert refusal(raw, Login) == (400, "M_NOT_JSON")


def test_an_untyped_body_is_an_object() -> None:
    assert body_decoder(dict[str, Any])(b' {"a": [1, "b"]} ') == {"a": [1, "b"]}


@pytest.mark.parametrize(
    "raw",
    [b"", b"{",
     b'{"a":1}}', b"{'a':1}", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":01}', b'{"a":"\xff"}', b"\xef\xbb\xbf{}",
     '{"a":1}'.encode("utf-16"), '{"a":"ы"}'.encode("cp1251"), b'{"a":"\\ud800"}', b'{"a":"\x01"}', b"a=b", b'{"a":1,}',
     b'{"type":"\xff"}'],
)  # fmt: skip
def test_what_is_not_json_is_called_so(raw: bytes) -> None:
    assert refusal(raw) == (400, "M_NOT_JSON")


@pytest.mark.parametrize("raw", [b"[]", b"null", b"5", b'"a"', b"true"])
def test_a_body_that_is_no_object_is_bad(raw: bytes) -> None:
    assert refusal(raw) == (400, "M_BAD_JSON")


@pytest.mark.parametrize(
    "raw", [b"{}", b'{"type":5}', b'{"type":null}', b'{"type":"a","count":"1"}', b'{"type":"a","count":1.5}',
            b'{"type":"a","count":true}', b'{"type":"a","content":[]}', b'{"type":"a","user":{}}']
)  # fmt: skip
def test_keys_of_the_wrong_type_or_missing_are_bad(raw: bytes) -> None:
    assert refusal(raw, Login) == (400, "M_BAD_JSON")


def test_depth_is_bounded_and_brackets_in_strings_do_not_count() -> None:
    assert body_decoder(dict[str, Any])(nested(MAX_DEPTH))
    assert refusal(nested(MAX_DEPTH + 1)) == (400, "M_BAD_JSON")
    assert refusal(nested(100_000)) == (400, "M_BAD_JSON")
    assert refusal(b'{"a":' + b"[" * 100_000) == (400, "M_BAD_JSON")
    flat = {"a": "[{\\" * 100, "b": [[i] for i in range(200)]}
    assert body_decoder(dict[str, Any])(msgspec.json.encode(flat)) == flat


def test_a_large_body_has_no_more_values_than_can_be_decoded_in_no_time() -> None:
    for raw in (b"[]," * MOST_VALUES + b"[]", b"1," * MOST_VALUES + b'"' + b"x" * (1 << 20) + b'"'):
        assert refusal(b'{"a":[' + raw + b"]}") == (400, "M_BAD_JSON")
    for body in ({"a": ["x" * 10] * 200_000}, {"a": ",[{" * 500_000}, {"a": [1] * 400_000}):
        assert body_decoder(dict[str, Any])(msgspec.json.encode(body)) == body


@given(some.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    try:
        assert isinstance(body_decoder(dict[str, Any])(raw), dict)
    except MatrixError as refusal:
        assert refusal.errcode in ("M_NOT_JSON", "M_BAD_JSON")


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=20,
)


@given(some.dictionaries(some.text(), JSON, max_size=5), some.integers(0, 400), some.binary(max_size=3))
def test_json_that_was_tampered_with_is_decoded_or_refused(value: dict[str, Any], at: int, junk: bytes) -> None:
    raw = msgspec.json.encode(value)
    tampered = raw[:at] + junk + raw[at + 1 :]
    for kind in (dict[str, Any], Login):
        try:
            body_decoder(kind)(tampered)
        except MatrixError as refusal:
            assert refusal.status == 400


@given(some.dictionaries(some.text(), JSON, max_size=5))
def test_json_comes_in_as_it_was(value: dict[str, Any]) -> None:
    assert body_decoder(dict[str, Any])(msgspec.json.encode(value)) == msgspec.json.decode(msgspec.json.encode(value))
