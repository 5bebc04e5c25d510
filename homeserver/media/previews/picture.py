"""The process that looks at one picture: ``python -m homeserver.media.previews.picture`` (its bytes on stdin).

It prints a JSON object of ``content_type``, ``width`` and ``height`` in pixels, or ``null`` for what is no picture of a
format that clients are given. Only the picture's head is read: nothing is unpacked.
"""

import io
import json
import sys

from PIL import Image, UnidentifiedImageError

from homeserver.media.confinement import confine
from homeserver.media.thumbnailer import FORMATS, MOST_PIXELS

MEMORY_BYTES, CPU_SECONDS, OUTPUT_BYTES = 512 << 20, 5, 1 << 20


def measure(raw: bytes) -> dict[str, object] | None:
    """What kind of picture that is, and how large; None for none, or one too large to be made smaller."""
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as opened:
            if not 0 < opened.width * opened.height <= MOST_PIXELS:
                return None
            return {"content_type": Image.MIME[opened.format or ""], "width": opened.width, "height": opened.height}
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError, KeyError):
        return None  # what Pillow raises for what is damaged, or no picture


def main() -> None:
    """Run once."""
    confine(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, output_bytes=OUTPUT_BYTES)
    sys.stdout.write(json.dumps(measure(sys.stdin.buffer.read())))


if __name__ == "__main__":
    main()
