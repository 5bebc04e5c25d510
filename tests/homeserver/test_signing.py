"""The signing key in its file."""

import secrets
import stat
from pathlib import Path

import pytest

from homeserver.signing import KEY_FILE, BadKeyFile, load_signing_key


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
