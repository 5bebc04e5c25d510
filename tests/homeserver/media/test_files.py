"""The folder of files: whole or not at all."""

import hashlib
import io
from pathlib import Path

import pytest

from homeserver.media.files import Files, TooLarge, new_media_id


def test_a_stored_file_is_there_byte_for_byte(tmp_path: Path) -> None:
    files = Files(tmp_path, largest=1 << 20)
    content = bytes(range(256)) * 2000
    stored = files.store("a" * 32, io.BytesIO(content))
    assert stored.size == len(content)
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert files.path("a" * 32).read_bytes() == content


def test_a_file_of_the_largest_size_is_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    files = Files(tmp_path, largest=1000)
    files.store("a" * 32, io.BytesIO(bytes(1000)))
    with pytest.raises(TooLarge):
        files.store("b" * 32, io.BytesIO(bytes(1001)))
    assert not files.path("b" * 32).exists()
    assert not list((tmp_path / "incoming").iterdir())


def test_a_file_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    class BrokenOff(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            block = super().read(size)
            if not block:
                raise EOFError
            return block

    files = Files(tmp_path, largest=1000)
    with pytest.raises(EOFError):
        files.store("a" * 32, BrokenOff(b"abc"))
    assert not files.path("a" * 32).exists()
    assert not list((tmp_path / "incoming").iterdir())


def test_what_a_killed_server_left_half_written_is_gone_at_the_next_start(tmp_path: Path) -> None:
    files = Files(tmp_path, largest=1000)
    files.incoming_path("half").write_bytes(b"half")
    Files(tmp_path, largest=1000)
    assert not files.incoming_path("half").exists()


def test_a_removed_file_takes_its_thumbnails_along_and_leaves_the_others(tmp_path: Path) -> None:
    files = Files(tmp_path, largest=1000)
    for media_id in ("a" * 32, "a" * 31 + "b"):
        files.store(media_id, io.BytesIO(b"x"))
        incoming = files.incoming_path("t")
        incoming.write_bytes(b"t")
        files.keep(incoming, files.thumbnail_path(media_id, "32x32-crop.jpg"))
    files.remove("a" * 32)
    files.remove("a" * 32)
    assert not files.path("a" * 32).exists()
    assert not files.thumbnail_path("a" * 32, "32x32-crop.jpg").exists()
    assert files.path("a" * 31 + "b").exists()
    assert files.thumbnail_path("a" * 31 + "b", "32x32-crop.jpg").exists()


def test_media_ids_are_of_the_specified_alphabet() -> None:
    assert new_media_id(lambda n: b"\xff" * n) == "ff" * 16
