"""Answers of two parts, read in pieces of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import BadAnswer
from homeserver.media.multipart import TwoParts, find_boundary

HEAD = b"--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\nContent-Type: image/png\r\nX: 1: 2\r\n\r\n"
END = b"\r\n--b--\r\n"


def read(body: bytes, size: int = 1 << 20) -> tuple[bytes, dict[str, str]]:
    """The content and headers of the second part of a whole body that comes in pieces."""
    parts = TwoParts(b"b")
    content = b"".join(parts.feed(body[at : at + size]) for at in range(0, len(body), size))
    parts.end()
    return content, dict(parts.headers or {})


@given(st.binary(max_size=200), st.integers(1, 50))
def test_the_second_part_is_read_whatever_the_pieces_are(content: bytes, size: int) -> None:
    if b"\r\n--b" in b"\r\n" + content:
        return
    assert read(HEAD + content + END, size) == (content, {"content-type": "image/png", "x": "1: 2"})


@pytest.mark.parametrize("content", [b"", b"\r\n", b"\r\n\r\n", b"--", b"\r\n--", b"\r", b"--c--", b"\r\n--a"])
def test_what_is_nearly_a_boundary_is_content(content: bytes) -> None:
    for size in (1, 2, 3, 1000):
        assert read(HEAD + content + END, size)[0] == content


def test_a_preamble_an_epilogue_and_bare_headers_are_borne() -> None:
    assert read(b"hello\r\n" + HEAD + b"x" + END + b"and more\r\n--b\r\n")[0] == b"x"
    assert read(b"--b\r\n\r\n\r\n--b \t\r\n\r\nx\r\n--b--") == (b"x", {})
    assert read(b"--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b--") == (b"", {})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary",
        HEAD,
        HEAD + b"x",
        HEAD + b"x\r\n--b-",
        HEAD + b"x\r\n--bc--",
        HEAD + b"x\r\n--b\r\n\r\nthird" + END,
        b"--b\r\n\r\n{}\r\n--b--\r\n",
        b"--b--\r\n",
        b"x" * 100_000 + HEAD + b"x" + END,
        b"--b\r\n\r\n" + b"x" * 200_000 + b"\r\n--b\r\n\r\nx" + END,
        b"--b\r\n\r\n\r\n--b\r\n" + b"a: b\r\n" * 10_000 + b"\r\nx" + END,
    ],
)
def test_what_is_not_two_parts_is_refused(body: bytes) -> None:
    for size in (7, 1 << 20):
        with pytest.raises(BadAnswer):
            read(body, size)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/mixed; boundary=abc", b"abc"),
        ('Multipart/Mixed; charset=x; Boundary="a b:c"', b"a b:c"),
        ("multipart/mixed", None),
        ("multipart/mixed; boundary=", None),
        ("multipart/form-data; boundary=abc", None),
        (f"multipart/mixed; boundary={'x' * 71}", None),
        ('multipart/mixed; boundary="a\r\nb"', None),
        ("image/png", None),
        ("", None),
    ],
)
def test_a_boundary_is_found_where_there_is_one(content_type: str, boundary: bytes | None) -> None:
    assert find_boundary(content_type) == boundary
