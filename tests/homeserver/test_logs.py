"""The lines that the server writes of itself."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from twisted.logger import Logger
from twisted.python.failure import Failure

from homeserver.logs import request_id, start_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_for_a_person_has_time_level_request_and_place() -> None:
    out = io.StringIO()
    start_logging("info", "text", out)
    token = request_id.set("1f")
    logging.getLogger("homeserver.rooms").warning("room %s is slow", "!a")
    request_id.reset(token)
    logging.getLogger("homeserver.rooms").debug("not shown")
    *_, line = out.getvalue().splitlines()  # before it, what Twisted had kept until somebody listened
    time, rest = line.split(" ", 1)
    assert time.endswith("Z")
    assert rest == "warning 1f homeserver.rooms room !a is slow"


def test_what_twisted_logs_goes_the_same_way() -> None:
    out = io.StringIO()
    start_logging("info", "text", out)
    log = Logger("homeserver.storage")
    log.info("opened {name}", name="parta.db")
    log.debug("not shown")
    log.failure("broke {name}", Failure(ValueError("why")), name="down")
    log.critical("gone")
    Logger("twisted.web").info("chatter")
    text = out.getvalue()
    assert "info - homeserver.storage opened parta.db\n" in text
    assert "critical - homeserver.storage broke down\n" in text
    assert "ValueError: why" in text
    assert "critical - homeserver.storage gone\n" in text
    assert "not shown" not in text
    assert "chatter" not in text


def test_a_line_for_a_machine_is_an_object_with_the_trace_in_it() -> None:
    out = io.StringIO()
    start_logging("debug", "json", out)
    try:
        raise ValueError("ы\n")
    except ValueError:
        logging.getLogger("homeserver").exception("failed")
    *_, fields = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (fields["level"], fields["request"], fields["logger"]) == ("error", "-", "homeserver")
    assert fields["message"].startswith("failed\nTraceback")
    assert "ValueError: ы" in fields["message"]
