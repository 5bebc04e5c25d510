"""The access log: a line for each answered request, cheap to write.

Lines are gathered and written a few times a second in one piece. The query string is left out: it may hold what people
search for.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from config.settings import Log

FLUSH_S = 0.25
_encode = msgspec.json.Encoder().encode


class Line(msgspec.Struct, frozen=True):
    """One answered request; `ms` is the time to the answer."""

    time: str
    request: str
    ip: str
    user: str
    method: str
    path: str
    status: int
    ms: float


class AccessLog:
    """Gathers lines and writes them, as text or as JSON, to `write`."""

    def __init__(self, write: Callable[[str], object], form: Literal["text", "json"], reactor: IReactorTime) -> None:
        self._write = write
        self._render = _render_json if form == "json" else _render_text
        self._reactor = reactor
        self._lines: list[str] = []
        self._flush: IDelayedCall | None = None

    def add(self, line: Line) -> None:
        """Write that line soon."""
        self._lines.append(self._render(line))
        if self._flush is None:
            self._flush = self._reactor.callLater(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what has been gathered, now; what cannot be written is lost, and hinders nothing else."""
        if self._flush is not None and self._flush.active():
            self._flush.cancel()
        self._flush = None
        if self._lines:
            self._lines.append("")
            lines, self._lines = self._lines, []
            with suppress(OSError):  # the disk of the log is full
                self._write("\n".join(lines))


def open_access_log(log: Log, reactor: IReactorTime) -> AccessLog | None:
    """The access log of a configuration on the standard output, None where the log is not that loud."""
    return AccessLog(_print, log.format, reactor) if log.level in ("debug", "info") else None


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _render_text(line: Line) -> str:
    return (
        f"{line.time} info {line.request} access {line.ip} {line.user} "
        f"{line.method} {line.path} {line.status} {line.ms:.1f}ms"
    )


def _render_json(line: Line) -> str:
    return _encode(line).decode()


class Instants:
    """The time of day in the forms that an answer and a log line need, built once a second."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._second = -1
        self._header = b""
        self._text = ""

    def _turn(self, second: int) -> None:
        self._second = second
        moment = datetime.fromtimestamp(second, UTC)
        self._text = moment.strftime("%Y-%m-%dT%H:%M:%S")
        day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
        self._header = moment.strftime(f"Date: {day}, %d {month} %Y %H:%M:%S GMT\r\n").encode()

    def date_header(self) -> bytes:
        """The Date header's line."""
        second = self._now_ms() // 1000
        if second != self._second:
            self._turn(second)
        return self._header

    def stamp(self) -> str:
        """The time for a log line, to the millisecond."""
        second, milliseconds = divmod(self._now_ms(), 1000)
        if second != self._second:
            self._turn(second)
        return f"{self._text}.{milliseconds:03d}Z"


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
