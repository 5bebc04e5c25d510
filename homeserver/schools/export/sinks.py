"""Where an export is written: there whole or not at all. Blocking: call it in a thread."""

import os
import shutil
from pathlib import Path
from typing import IO, Protocol
from zipfile import ZIP_DEFLATED, ZipFile


class Sink(Protocol):
    """Takes one file after the other."""

    def begin(self, name: str) -> None:
        """Begin a file; the one before is at its end."""

    def write(self, data: bytes) -> None:
        """Go on with the file."""

    def copy(self, name: str, source: Path) -> None:
        """Take a whole file from the disk."""

    def finish(self) -> None:
        """Be there, under the name that was asked for."""

    def give_up(self) -> None:
        """Leave nothing."""


class ZipSink:
    """An archive at `path`; written beside it, then renamed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = open(self._part, "wb", opener=_open_privately)  # noqa: SIM115 - closed by finish and give_up
        self._zip = ZipFile(self._file, "w", ZIP_DEFLATED)
        self._entry: IO[bytes] | None = None

    def begin(self, name: str) -> None:
        """Begin a file; the one before is at its end."""
        self._close_entry()
        self._entry = self._zip.open(name, "w", force_zip64=True)

    def write(self, data: bytes) -> None:
        """Go on with the file."""
        assert self._entry is not None
        self._entry.write(data)

    def copy(self, name: str, source: Path) -> None:
        """Take a whole file from the disk."""
        self._close_entry()
        self._zip.write(source, name)

    def finish(self) -> None:
        """Be there, under the name that was asked for."""
        self._close_entry()
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.rename(self._path)

    def give_up(self) -> None:
        """Leave nothing."""
        self._close_entry()
        self._zip.close()
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _close_entry(self) -> None:
        if self._entry is not None:
            self._entry.close()
            self._entry = None


class FolderSink:
    """A folder at `path`, where nothing is yet; written beside it, then renamed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir(mode=0o700, parents=True)
        self._entry: IO[bytes] | None = None

    def begin(self, name: str) -> None:
        """Begin a file; the one before is at its end."""
        self._close_entry()
        place = self._place(name)
        self._entry = place.open("xb")

    def write(self, data: bytes) -> None:
        """Go on with the file."""
        assert self._entry is not None
        self._entry.write(data)

    def copy(self, name: str, source: Path) -> None:
        """Take a whole file from the disk."""
        self._close_entry()
        shutil.copyfile(source, self._place(name))

    def finish(self) -> None:
        """Be there, under the name that was asked for."""
        self._close_entry()
        self._part.rename(self._path)

    def give_up(self) -> None:
        """Leave nothing."""
        self._close_entry()
        shutil.rmtree(self._part, ignore_errors=True)

    def _place(self, name: str) -> Path:
        place = self._part / name
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _close_entry(self) -> None:
        if self._entry is not None:
            self._entry.close()
            self._entry = None


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_TRUNC, 0o600)
