"""Input that no honest client sends: odd JSON, odd parts of a path, odd parameters, a valid body spoiled in one place.

Every generator yields (what it is, the thing), so that a test which fails can say what it was sent.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw
from msgspec.inspect import (
    BoolType,
    CollectionType,
    DictType,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    NoneType,
    RawType,
    StructType,
    TupleType,
    Type,
    UnionType,
    type_info,
)

JSON: TypeAlias = Any
Odd: TypeAlias = tuple[str, bytes]

HUGE = 1_000_000
"""How long a huge string is: one still fits into a body."""
TOO_DEEP = 100

ODD_VALUES: Mapping[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "zero": b"0",
    "a negative number": b"-1",
    "a fraction": b"1.5",
    "a number beyond doubles' integers": b"9007199254740993",
    "a number beyond 64 bits": b"1" + b"0" * 40,
    "a number beyond doubles": b"1e999",
    "an empty string": b'""',
    "a string": b'"x"',
    "a string with NUL": b'"a\\u0000b"',
    "a string of controls": b'"\\u0001\\n\\r\\u001b\\u202e"',
    "a string beyond the first plane": '"\U0001f600 е́"'.encode(),
    "a long string": b'"%s"' % (b"x" * 300),
    "an identifier with no server": b'"@x"',
    "an identifier of elsewhere": b'"@x:elsewhere.example"',
    "an empty list": b"[]",
    "a list of null": b"[null]",
    "a list of strings": b'["x","x"]',
    "a list of lists": b"[[]]",
    "an empty object": b"{}",
    "an object of null": b'{"x":null}',
    "an object of objects": b'{"":{"":{}}}',
    "an object of surprises": b'{"__class__":1,"constructor":{"x":[]},"\\u0000":0}',
    "a list 40 deep": b"[" * 40 + b"]" * 40,
}
"""JSON values; some of them are right for some fields."""

REFUSED_VALUES: Mapping[str, bytes] = {
    "a lone surrogate": b'"\\ud800"',
    "a list 100 deep": b"[" * TOO_DEEP + b"]" * TOO_DEEP,
    "NaN": b"NaN",
    "bytes that are not UTF-8": b'"\xff\xfe"',
}
"""What may stand nowhere in a body."""

HUGE_VALUE = b'"%s"' % (b"x" * HUGE)

BROKEN_BODIES: Mapping[str, bytes] = {
    "half an object": b'{"a":',
    "no JSON": b"hello",
    "a form": b"a=1&b=2",
    "two objects": b"{}{}",
    "an object and rubbish": b"{}x",
    "a single quote": b"{'a':1}",
    "a trailing comma": b'{"a":1,}',
    "not UTF-8": b'{"a":"\xff"}',
    "not UTF-8 in a key": b'{"\xc3":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a lone surrogate in bytes": b'{"a":"\xed\xa0\x80"}',
    "a lone surrogate as an escape": b'{"a":"\\ud800"}',
    "a lone surrogate in a key": b'{"\\udfff":1}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "NUL": b"\0",
    "objects 100 deep": b'{"a":' * TOO_DEEP + b"1" + b"}" * TOO_DEEP,
    "lists 100 deep": b'{"a":' + b"[" * TOO_DEEP + b"]" * TOO_DEEP + b"}",
    "lists 100,000 deep": b"[" * 100_000,
    "a list": b"[]",
    "a list of objects": b"[{}]",
    "a string": b'"{}"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
}
"""Bodies that no endpoint takes."""

ODD_PARTS: Sequence[bytes] = (
    b"x",
    b"%00",
    b"a%00b",
    b"%20",
    b"%2F",
    b"..%2F..%2Fetc%2Fpasswd",
    b"..",
    b".",
    b"%25",
    b"%0D%0AX-Header:%20x",
    b"%E2%80%AE%F0%9F%98%80",
    b"%D0%BF%D0%B0%D1%80%D1%82%D0%B0",
    b"!",
    b"@",
    b"#",
    b"$",
    b":",
    b"!nocolon",
    b"@nocolon",
    b"%23nocolon",
    b"@x:",
    b"@:parta.test",
    b"!:parta.test",
    b"@X%20Y:parta.test",
    b"@x:parta.test:99999999",
    b"@x:%5B::1%5D:80",
    b"@x:elsewhere.example",
    b"!x:elsewhere.example",
    b"%23x:elsewhere.example",
    b"$x:elsewhere.example",
    b"@x:parta.test",
    b"!x:parta.test",
    b"%23x:parta.test",
    b"$x",
    b"x" * 300,
    b"@" + b"x" * 300 + b":parta.test",
    b"!" + b"x" * 300 + b":parta.test",
    b"%23" + b"x" * 300 + b":parta.test",
    b"%D0%BF" * 200,
    b"x" * 5000,
    b"-1",
    b"0",
    b"99999999999999999999999999",
    b"null",
    b"%7B%7D",
    b"_",
    b"m.room.member",
)
"""Parts of a path that are of some other sort than the one that belongs there."""

UNDECODABLE_PARTS: Sequence[bytes] = (b"%FF%FE", b"@%FF:parta.test", b"%ED%A0%80", b"%C0%80", b"%D0", b"\xff\xfe")
"""Parts of a path that are not UTF-8."""

ODD_QUERIES: Sequence[bytes] = (
    b"",
    b"x",
    b"-1",
    b"0",
    b"1",
    b"1.5",
    b"99999999",
    b"999999999999999999",
    b"99999999999999999999999999",
    b"%D9%A1",
    b"true",
    b"TRUE",
    b"null",
    b"%00",
    b"a%00b",
    b"%20",
    b"+",
    b"%",
    b"%zz",
    b"b",
    b"{}",
    b"[]",
    b"%7B%7D",
    b"%7B",
    b"%7B%22room%22:[]%7D",
    b"%7B%22room%22:%7B%22timeline%22:%7B%22limit%22:-1%7D%7D%7D",
    b"%7B%22room%22:%7B%22timeline%22:%7B%22limit%22:99999999999999999999%7D%7D%7D",
    b"%7B%22types%22:[%22\\u0000%22,%22%2a%2a%2a%2a%2a%2a%2a%2aa%22],%22limit%22:0%7D",
    b"%7B%22senders%22:[1]%7D",
    b"%7B%22x%22:%22\\ud800%22%7D",
    b"[" * 100 + b"]" * 100,
    b"x" * 5000,
    b"s0",
    b"s",
    b"s99999999999999999",
    b"s999999999999999999_999999999999999999",
    b"s-1",
    b"s1_",
    b"t0-0",
    b"t9999999999999999999-0",
    b"t5--999999999999999999",
    b"t-1",
    b"@x:elsewhere.example",
    b"%23x",
    b"%E2%80%AE%F0%9F%98%80",
)
"""Values of parameters behind the question mark; some of them are right for some."""

UNDECODABLE_QUERIES: Sequence[bytes] = (b"%FF", b"%ED%A0%80", b"x%C3", b"\xff")
"""Values that are not UTF-8."""


def encode(value: JSON) -> bytes:
    """A body; what is Raw in it stays as it is."""
    return msgspec.json.encode(value)


def spoil(body: JSON, values: Mapping[str, bytes]) -> Iterator[Odd]:
    """Yield the body with one of its values replaced, each by each."""
    for at, put in _places(body):
        for name, value in values.items():
            yield f"{at}: {name}", encode(put(Raw(value)))


def leave_out(body: JSON) -> Iterator[Odd]:
    """Yield the body with one of its fields missing, and with one that nobody knows beside it."""
    for at, put in _places(body):
        if not at.endswith("]"):
            yield f"{at}: missing", encode(put(_GONE))
    if isinstance(body, dict):
        yield "an unknown field", encode({**body, "org.parta.unknown": {"x": [1]}})


_GONE = object()


def _places(body: JSON, at: str = "$") -> Iterator[tuple[str, Any]]:
    """Every place below the top of a body: its name, and a function that builds the body with something else there."""
    if isinstance(body, dict):
        for key, value in body.items():

            def put_field(new: JSON, key: str = key) -> JSON:
                return {k: new if k == key else v for k, v in body.items() if not (k == key and new is _GONE)}

            yield from _here_and_below(value, f"{at}.{key}", put_field)
    elif isinstance(body, list):
        for number, value in enumerate(body):

            def put_item(new: JSON, number: int = number) -> JSON:
                return [new if n == number else v for n, v in enumerate(body)]

            yield from _here_and_below(value, f"{at}[{number}]", put_item)


def _here_and_below(value: JSON, at: str, put: Any) -> Iterator[tuple[str, Any]]:
    yield at, put
    for below, put_below in _places(value, at):
        yield below, lambda new, put_below=put_below: put(put_below(new))


def fill(kind: Any, known: Mapping[str, JSON]) -> JSON:
    """A body of that type: the known fields, and something of the right type for every other that is declared."""
    info = type_info(kind)
    if not isinstance(info, StructType):
        return dict(known)
    return {**{field.encode_name: _example(field.type) for field in info.fields}, **known}


def _example(kind: Type) -> JSON:
    match kind:
        case UnionType():
            return _example(next(each for each in kind.types if not isinstance(each, NoneType)))
        case BoolType():
            return True
        case IntType() | FloatType():
            return 1
        case LiteralType():
            return kind.values[0]
        case ListType() | CollectionType():
            return [_example(kind.item_type)]
        case TupleType():
            return [_example(each) for each in kind.item_types]
        case RawType():
            return {"x": 1}
        case DictType():
            return {"x": _example(kind.value_type)}
        case StructType():
            return {field.encode_name: _example(field.type) for field in kind.fields}
    return "x"
