"""Dot-separated paths to properties.

Spec: appendices#dot-separated-property-paths
"""

import pytest

from federation.paths import parse_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("type", ("type",)),
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to.rel_type", ("content", "m.relates_to", "rel_type")),
        (r"content.m\\foo", ("content", "m\\foo")),
        (r"content.a\x", ("content", "a\\x")),
        (r"a\\.b", ("a\\", "b")),
        (r"a\\\.b", ("a\\.b",)),
        ("", ("",)),
        (".", ("", "")),
        ("a..b", ("a", "", "b")),
        ("a\\", ("a\\",)),
    ],
)
def test_a_path_names_properties(path: str, names: tuple[str, ...]) -> None:
    assert parse_path(path) == names
