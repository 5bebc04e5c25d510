"""Thumbnails on demand: made once, by a process of their own, and kept beside the files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twisted.internet import defer

from homeserver.media.files import Files, TooLarge
from homeserver.media.processes import Processes
from homeserver.policy import Invalid

Method = Literal["crop", "scale"]
SIZES: tuple[tuple[int, int, Method], ...] = (
    (32, 32, "crop"),
    (96, 96, "crop"),
    (320, 240, "scale"),
    (640, 480, "scale"),
    (800, 600, "scale"),
    (320, 320, "crop"),
    (800, 800, "crop"),
)
"""Only these are ever made, so that a client cannot fill the disk by asking for every size."""

ENDINGS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
ORIGINAL = ".original"
AT_ONCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A finished thumbnail; `path` is None when the picture itself should be shown."""

    path: Path | None
    content_type: str


class CannotThumbnail(Invalid):
    """The content is no picture that this server reads (400 M_UNKNOWN)."""

    def __init__(self) -> None:
        super().__init__("M_UNKNOWN", "Cannot generate thumbnails for the requested content")


def nearest_size(width: int, height: int, method: Method) -> tuple[int, int, Method] | None:
    """Find the smallest of the sizes that covers what is wanted; None when all are smaller."""
    fits = [s for s in SIZES if s[2] == method and s[0] >= width and s[1] >= height]
    return min(fits, default=None)


class Thumbnails:
    """Makes thumbnails, at most two at a time, each once."""

    def __init__(self, files: Files, processes: Processes) -> None:
        self._files = files
        self._processes = processes
        self._places = defer.DeferredSemaphore(AT_ONCE)
        self._making: dict[Path, list[defer.Deferred[None]]] = {}

    async def thumbnail(self, media_id: str, size: tuple[int, int, Method], *, animated: bool) -> Thumbnail:
        """Give the thumbnail of a local file, making it the first time.

        Raises:
            CannotThumbnail: It is no picture we read.
            TooLarge: It has too many pixels.
        """
        name = f"{size[0]}x{size[1]}-{size[2]}{'-animated' if animated else ''}"
        place = self._files.thumbnail_path(media_id, name)
        if (ready := _find_ready(place)) is not None:
            return ready
        if (waiting := self._making.get(place)) is not None:
            turn: defer.Deferred[None] = defer.Deferred()
            waiting.append(turn)
            await turn
        else:
            self._making[place] = []
            try:
                await self._places.run(lambda: defer.ensureDeferred(self._make(media_id, place, size, animated)))
            finally:
                for turn in self._making.pop(place):
                    turn.callback(None)
        if (ready := _find_ready(place)) is None:
            raise CannotThumbnail
        return ready

    async def _make(self, media_id: str, place: Path, size: tuple[int, int, Method], animated: bool) -> None:
        incoming = self._files.incoming_path(place.name)
        made = await self._run(self._files.path(media_id), incoming, size, animated)
        if made == "too large":
            raise TooLarge
        if made == "original":
            incoming.touch()
        elif made not in ENDINGS:
            incoming.unlink(missing_ok=True)
            raise CannotThumbnail
        self._files.keep(incoming, place.with_name(place.name + ENDINGS.get(made, ORIGINAL)))

    async def _run(self, source: Path, target: Path, size: tuple[int, int, Method], animated: bool) -> str:
        width, height, method = size
        words = [str(source), str(target), str(width), str(height), method, "animated" if animated else "still"]
        made = await self._processes.run("thumbnailer", words)
        return "unreadable" if made is None else made.decode("ascii")


def _find_ready(place: Path) -> Thumbnail | None:
    for content_type, ending in ENDINGS.items():
        path = place.with_name(place.name + ending)
        if path.exists():
            return Thumbnail(path=path, content_type=content_type)
    if place.with_name(place.name + ORIGINAL).exists():
        return Thumbnail(path=None, content_type="")
    return None
