"""The folder that holds the bytes of media. Blocking: call it in a thread."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from homeserver.storage.faults import StorageUnavailable

_BLOCK = 1 << 18
FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))
"""The folders that files are spread over, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What is known of a file once it is on disk: its size in bytes and the SHA-256 of its content, in hex."""

    size: int
    sha256: str


class TooLarge(Exception):
    """The file is larger than this server takes or works on."""


class Arriving:
    """A file that comes piece by piece, and can be read meanwhile.

    All but `open` are called in a thread, one at a time.
    """

    def __init__(self, files: "Files", file_id: str, largest: int) -> None:
        self._files = files
        self._file_id = file_id
        self._largest = largest
        self._digest = hashlib.sha256()
        self._out: BinaryIO | None = None
        self.size = 0

    def write(self, piece: bytes) -> None:
        """Write a piece, so that readers get it.

        Raises:
            TooLarge: There is more than was to come.
            StorageUnavailable: The disk cannot take it.
        """
        self.size += len(piece)
        if self.size > self._largest:
            raise TooLarge
        with _disk():
            if self._out is None:
                self._out = self._files.incoming_path(self._file_id).open("xb")
            self._digest.update(piece)
            self._out.write(piece)
            self._out.flush()

    def open(self) -> BinaryIO:
        """What has come, to be read; also when it has just been put into its place.

        Raises: StorageUnavailable: it is nowhere any more.
        """
        with _disk():
            try:
                return self._files.incoming_path(self._file_id).open("rb")
            except FileNotFoundError:
                return self._files.path(self._file_id).open("rb")

    def finish(self) -> StoredFile:
        """Make the file durable and put it into its place.

        Raises:
            StorageUnavailable: The disk cannot take it.
        """
        self.write(b"")
        assert self._out is not None
        with _disk():
            os.fsync(self._out.fileno())
            self._out.close()
        self._files.keep(self._files.incoming_path(self._file_id), self._files.path(self._file_id))
        return StoredFile(size=self.size, sha256=self._digest.hexdigest())

    def abandon(self) -> None:
        """Keep nothing."""
        if self._out is not None:
            with suppress(OSError):  # what cannot be written is not wanted any more
                self._out.close()
        self._files.incoming_path(self._file_id).unlink(missing_ok=True)


class Files:
    """One folder of files, spread over sub-folders by the first characters of the media ID.

    A file is there whole or not at all: it is written beside its place, made durable, then renamed.
    """

    def __init__(self, folder: Path, *, largest: int) -> None:
        self._folder = folder
        self._largest = largest
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left_over in self._incoming.iterdir():
            left_over.unlink()

    def path(self, media_id: str) -> Path:
        """Where the file of a local media ID lies, whether it is there or not."""
        return self._place("files", media_id)

    def thumbnail_path(self, media_id: str, name: str) -> Path:
        """Where a thumbnail of that name lies, whether it is there or not."""
        return self._place("thumbnails", f"{media_id}-{name}")

    def incoming_path(self, name: str) -> Path:
        """A place to write to before :meth:`keep`; emptied at every start."""
        return self._incoming / name

    def store(self, media_id: str, content: BinaryIO) -> StoredFile:
        """Copy a stream into the folder in blocks and make it durable.

        Raises:
            TooLarge: It has more bytes than this folder takes; nothing is kept.
            StorageUnavailable: The disk cannot take it, being full or read-only; nothing is kept.
        """
        incoming = self._incoming / media_id
        digest, size = hashlib.sha256(), 0
        try:
            with _disk(), incoming.open("xb") as out:
                while block := content.read(_BLOCK):
                    size += len(block)
                    if size > self._largest:
                        raise TooLarge
                    digest.update(block)
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())
            self.keep(incoming, self.path(media_id))
        finally:
            incoming.unlink(missing_ok=True)
        return StoredFile(size=size, sha256=digest.hexdigest())

    def arrive(self, file_id: str, largest: int) -> Arriving:
        """A file of at most so many bytes that will come piece by piece."""
        return Arriving(self, file_id, largest)

    def keep(self, incoming: Path, place: Path) -> None:
        """Move a finished file to its place, so that it stays there after a loss of power.

        Raises:
            StorageUnavailable: The disk cannot take it.
        """
        with _disk():
            place.parent.mkdir(parents=True, exist_ok=True)
            incoming.rename(place)
            _sync_folder(place.parent)

    def remove(self, media_id: str) -> None:
        """Take away a file and its thumbnails; one that is not there is no error.

        Raises:
            StorageUnavailable: The disk does not let go.
        """
        with _disk():
            self.path(media_id).unlink(missing_ok=True)
            for thumbnail in self.thumbnail_path(media_id, "").parent.glob(f"{media_id}-*"):
                thumbnail.unlink(missing_ok=True)

    def find_old(self, folder: str, before_ms: int) -> list[str]:
        """Names of the files in one of :data:`FOLDERS`, or of those whose thumbnails are, that are older than a time.

        Raises:
            StorageUnavailable: The disk cannot be read.
        """
        with _disk():
            paths = [
                *(self._folder / "files" / folder).glob("*/*"),
                *(self._folder / "thumbnails" / folder).glob("*/*"),
            ]
            return sorted({path.name.partition("-")[0] for path in paths if _is_older(path, before_ms)})

    def _place(self, kind: str, name: str) -> Path:
        return self._folder / kind / name[:2] / name[2:4] / name


@contextmanager
def _disk() -> Iterator[None]:
    """Whatever is wrong with the disk may be right later."""
    try:
        yield
    except OSError as fault:
        raise StorageUnavailable(f"storage unavailable: {fault}") from fault


def _is_older(path: Path, time_ms: int) -> bool:
    try:
        return path.stat().st_mtime_ns < time_ms * 1_000_000
    except FileNotFoundError:  # taken away meanwhile
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def new_media_id(token_bytes: Callable[[int], bytes]) -> str:
    """Make a media ID that cannot be guessed: 32 hexadecimal characters.

    Spec: client-server-api#matrix-content-mxc-uris
    """
    return token_bytes(16).hex()
