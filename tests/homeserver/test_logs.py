"""The lines that the server writes of itself."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

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
    time, rest = out.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == "warning 1f homeserver.rooms room !a is slow\n"


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
