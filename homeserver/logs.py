"""What the server says of itself: one stream of lines, for a person (text) or a machine (JSON).

Modules log with ``logging.getLogger(__name__)``, or with Twisted's ``Logger()``. Each line carries the id of the
request it was written for, from a context variable that follows the request through awaits and into database threads.
"""

import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec
from twisted.logger import ILogObserver, formatEvent, globalLogBeginner
from zope.interface import provider

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that is being served, "-" outside of any."""


class _TextFormatter(logging.Formatter):
    """A line for a person: time, level, request, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_instant(record.created)} {record.levelname.lower()} {request_id.get()} {record.name} "
        return line + record.getMessage() + _trace(record, self.formatException)


class _JsonFormatter(logging.Formatter):
    """A line for a machine: an object with time, level, request, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _instant(record.created),
            "level": record.levelname.lower(),
            "request": request_id.get(),
            "logger": record.name,
            "message": record.getMessage() + _trace(record, self.formatException),
        }
        return msgspec.json.encode(fields).decode()


def _trace(record: logging.LogRecord, render: Callable[..., str]) -> str:
    return "\n" + render(record.exc_info) if record.exc_info else ""


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@provider(ILogObserver)
def _take_over(event: dict[str, Any]) -> None:
    """Log what Twisted's logger was told, under the name of the module that said it."""
    failure = event.get("log_failure")
    trace = None if failure is None else (failure.type, failure.value, failure.getTracebackObject())
    level = logging.getLevelNamesMapping().get(event["log_level"].name.upper(), logging.WARNING)
    logging.getLogger(event["log_namespace"]).log(level, "%s", formatEvent(event), exc_info=trace)


def start_logging(level: str, form: Literal["text", "json"], out: TextIO = sys.stderr) -> None:
    """Send every logger's lines of that level and above to `out`, those of Twisted's logger included."""
    lines = logging.StreamHandler(out)
    lines.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[lines], force=True)
    logging.raiseExceptions = False  # that a line cannot be written, as on a full disk, cannot be written either
    for library in ("twisted", "log_legacy"):
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLogger().level))
    globalLogBeginner.beginLoggingTo([_take_over], redirectStandardIO=False)
