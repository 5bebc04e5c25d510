"""The process that makes one thumbnail.

``python -m homeserver.media.thumbnailer SOURCE TARGET WIDTH HEIGHT crop|scale still|animated``

Image decoders are an attack surface, so they run here and never in the server: little memory, little time, no core
dump, one picture and out. It writes TARGET and prints its content type, or it prints ``original`` (the picture itself
is what should be shown), ``too large`` (too many pixels) or ``unreadable`` (not a picture we read).
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from homeserver.media.confinement import confine

FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
MOST_PIXELS = 64_000_000
MOST_FRAMES = 100
MEMORY_BYTES, CPU_SECONDS, OUTPUT_BYTES = 1 << 30, 20, 64 << 20


def fitted(size: tuple[int, int], wanted: tuple[int, int], method: str) -> tuple[int, int]:
    """Compute a thumbnail's size: never larger than the picture, and no smaller than wanted where it can be.

    `scale` keeps the ratio and covers the wanted box in one direction; `crop` fills it.

    Spec: client-server-api#thumbnails
    """
    (width, height), (w, h) = size, wanted
    if method == "crop":
        return min(w, width), min(h, height)
    ratio = min(1.0, min(w / width, h / height))
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def _resized(frame: Image.Image, size: tuple[int, int], method: str) -> Image.Image:
    picture = frame if frame.mode in ("RGB", "RGBA", "L") else frame.convert("RGBA" if _transparent(frame) else "RGB")
    if method == "crop":
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    return picture.resize(size, Image.Resampling.LANCZOS)


def _transparent(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def _frames(picture: Image.Image, size: tuple[int, int], method: str) -> Iterator[Image.Image]:
    for number in range(min(getattr(picture, "n_frames", 1), MOST_FRAMES)):
        picture.seek(number)
        yield _resized(picture.convert("RGBA"), size, method)


def make(source: Path, target: Path, wanted: tuple[int, int], method: str, *, animated: bool) -> str:
    """Make one thumbnail and return its content type, or ``original`` when the picture is small enough as it is."""
    with Image.open(source, formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        moving = getattr(opened, "is_animated", False)
        if opened.width <= wanted[0] and opened.height <= wanted[1] and (animated or not moving):
            return "original"
        if moving and animated:
            size = fitted(opened.size, wanted, method)
            first, *others = _frames(opened, size, method)
            duration = opened.info.get("duration", 100) or 100
            first.save(target, "WEBP", save_all=True, append_images=others, duration=duration, loop=0)
            return "image/webp"
        opened.draft("RGB", (max(wanted), max(wanted)))
        picture = ImageOps.exif_transpose(opened)
        small = _resized(picture, fitted(picture.size, wanted, method), method)
        if _transparent(small):
            small.save(target, "PNG")
            return "image/png"
        small.convert("RGB").save(target, "JPEG", quality=82)
        return "image/jpeg"


def main(arguments: list[str]) -> None:
    """Run once, by the arguments of the module's docstring."""
    confine(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, output_bytes=OUTPUT_BYTES)
    source, target, width, height, method, animated = arguments
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    try:
        made = make(Path(source), Path(target), (int(width), int(height)), method, animated=animated == "animated")
    except Image.DecompressionBombError:
        made = "too large"
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, MemoryError):
        made = "unreadable"  # what Pillow's decoders raise for a damaged file
    sys.stdout.write(made)


if __name__ == "__main__":
    main(sys.argv[1:])
