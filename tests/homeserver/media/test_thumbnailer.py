"""The thumbnailer, as a function and as the process it is."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from homeserver.media import thumbnailer
from homeserver.media.thumbnails import SIZES, nearest_size


def _picture(folder: Path, size: tuple[int, int], mode: str = "RGB", ending: str = "png") -> Path:
    path = folder / f"picture.{ending}"
    Image.new(mode, size, 128).save(path)
    return path


def _moving(folder: Path, size: tuple[int, int]) -> Path:
    path = folder / "moving.gif"
    frames = [Image.new("RGB", size, color) for color in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    return path


def _run(source: Path, target: Path, *words: str) -> str:
    command = [sys.executable, "-I", "-m", "homeserver.media.thumbnailer", str(source), str(target), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("size", "wanted", "method", "expected"),
    [
        ((1000, 500), (320, 240), "scale", (320, 160)),
        ((500, 1000), (320, 240), "scale", (120, 240)),
        ((1000, 500), (96, 96), "crop", (96, 96)),
        ((50, 40), (96, 96), "crop", (50, 40)),
        ((50, 40), (320, 240), "scale", (50, 40)),
        ((10000, 1), (32, 32), "scale", (32, 1)),
    ],
)
def test_a_thumbnail_is_never_larger_than_its_picture(
    size: tuple[int, int], wanted: tuple[int, int], method: str, expected: tuple[int, int]
) -> None:
    assert thumbnailer.fitted(size, wanted, method) == expected


def test_the_smallest_size_that_covers_what_is_wanted_is_taken() -> None:
    assert nearest_size(33, 20, "crop") == (96, 96, "crop")
    assert nearest_size(32, 32, "crop") == (32, 32, "crop")
    assert nearest_size(321, 1, "scale") == (640, 480, "scale")
    assert nearest_size(5000, 1, "scale") is None
    assert len(set(SIZES)) == len(SIZES)


def test_an_opaque_picture_becomes_a_jpeg_and_a_transparent_one_a_png(tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert thumbnailer.make(_picture(tmp_path, (900, 900)), target, (96, 96), "crop", animated=False) == "image/jpeg"
    source = _picture(tmp_path, (900, 900), "RGBA")
    assert thumbnailer.make(source, target, (96, 96), "crop", animated=False) == "image/png"
    with Image.open(target) as made:
        assert made.size == (96, 96)


def test_a_small_picture_is_shown_itself_unless_it_moves_and_must_not(tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert thumbnailer.make(_picture(tmp_path, (20, 20)), target, (96, 96), "crop", animated=False) == "original"
    assert thumbnailer.make(_moving(tmp_path, (20, 20)), target, (96, 96), "crop", animated=True) == "original"
    assert thumbnailer.make(_moving(tmp_path, (20, 20)), target, (96, 96), "crop", animated=False) == "image/jpeg"


def test_a_moving_picture_moves_only_when_asked_to(tmp_path: Path) -> None:
    source, target = _moving(tmp_path, (400, 400)), tmp_path / "target"
    assert thumbnailer.make(source, target, (96, 96), "crop", animated=True) == "image/webp"
    with Image.open(target) as made:
        assert getattr(made, "n_frames", 1) == 3
    assert thumbnailer.make(source, target, (96, 96), "crop", animated=False) == "image/jpeg"


def test_the_process_prints_what_it_made(tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert _run(_picture(tmp_path, (900, 600)), target, "320", "240", "scale", "still") == "image/jpeg"
    with Image.open(target) as made:
        assert made.size == (320, 213)


@pytest.mark.parametrize(
    "content", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 40]
)
def test_what_is_no_picture_is_unreadable(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(content)
    assert _run(source, tmp_path / "target", "32", "32", "crop", "still") == "unreadable"
    assert not (tmp_path / "target").exists()


def test_a_picture_that_claims_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    source = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    source.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )
    assert _run(source, tmp_path / "target", "32", "32", "crop", "still") == "too large"
