"""The signing key in its file."""

import secrets
import stat
from pathlib import Path

import pytest

from federation.keys import OldKey
from homeserver.signing import (
    KEY_FILE,
    NEXT_FILE,
    OLD_FILE,
    BadKeyFile,
    find_next_key,
    load_own_keys,
    load_signing_key,
    prepare_next_key,
    read_own_keys,
)


def test_a_key_is_made_once_and_kept_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    key = load_signing_key(folder, secrets.token_bytes)
    assert load_signing_key(folder, secrets.token_bytes).encode() == key.encode()
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert [file.name for file in folder.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("content", [b"", b"ed25519 a_1 short", b"rsa a_1 AAAA", b"\xff"])
def test_a_file_that_is_no_key_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(BadKeyFile, match=r"signing\.key: cannot be used as the signing key: "):
        load_signing_key(tmp_path, secrets.token_bytes)
    assert (tmp_path / KEY_FILE).read_bytes() == content


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(BadKeyFile, match="data"):
        load_signing_key(tmp_path / "data", secrets.token_bytes)


def test_a_new_key_signs_from_the_next_start_on_and_the_old_one_is_remembered(tmp_path: Path) -> None:
    first = load_own_keys(tmp_path, secrets.token_bytes, 1)
    assert (first.old, find_next_key(tmp_path)) == ({}, None)
    coming = prepare_next_key(tmp_path, secrets.token_bytes)
    assert prepare_next_key(tmp_path, secrets.token_bytes).encode() == coming.encode()
    assert read_own_keys(tmp_path, secrets.token_bytes).current.encode() == first.current.encode()
    second = load_own_keys(tmp_path, secrets.token_bytes, 5)
    assert second.current.encode() == coming.encode()
    assert second.old == {first.current.key_id: OldKey(key=first.current.verify_key, expired_ms=5)}
    assert find_next_key(tmp_path) is None
    prepare_next_key(tmp_path, secrets.token_bytes)
    third = load_own_keys(tmp_path, secrets.token_bytes, 9)
    assert {key_id: old.expired_ms for key_id, old in third.old.items()} == {
        first.current.key_id: 5,
        second.current.key_id: 9,
    }
    assert load_own_keys(tmp_path, secrets.token_bytes, 20).old == third.old
    for name in (KEY_FILE, OLD_FILE):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert third.current.encode() not in (tmp_path / OLD_FILE).read_text()


def test_a_start_that_was_cut_short_between_the_two_files_is_finished_by_the_next(tmp_path: Path) -> None:
    first = load_own_keys(tmp_path, secrets.token_bytes, 1)
    coming = prepare_next_key(tmp_path, secrets.token_bytes)
    (tmp_path / OLD_FILE).write_text(f"{first.current.key_id} {first.current.verify_key.encode()} 3\n")
    assert read_own_keys(tmp_path, secrets.token_bytes).old == {}  # it signs still
    keys = load_own_keys(tmp_path, secrets.token_bytes, 5)
    assert keys.current.encode() == coming.encode()
    assert keys.old == {first.current.key_id: OldKey(key=first.current.verify_key, expired_ms=5)}


@pytest.mark.parametrize("content", [b"ed25519:a key", b"ed25519:a short 1\n", b"\xff", b"a b c d\n"])
def test_a_list_of_old_keys_that_cannot_be_read_stops_the_start(tmp_path: Path, content: bytes) -> None:
    load_own_keys(tmp_path, secrets.token_bytes, 1)
    (tmp_path / OLD_FILE).write_bytes(content)
    with pytest.raises(BadKeyFile, match=r"signing\.old"):
        load_own_keys(tmp_path, secrets.token_bytes, 2)


def test_a_next_key_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    load_own_keys(tmp_path, secrets.token_bytes, 1)
    (tmp_path / NEXT_FILE).write_text("rsa")
    for work in (
        lambda: load_own_keys(tmp_path, secrets.token_bytes, 2),
        lambda: prepare_next_key(tmp_path, secrets.token_bytes),
    ):
        with pytest.raises(BadKeyFile, match=r"signing\.next"):
            work()
