"""The access log and the time of day."""

import json
from errno import ENOSPC

from twisted.internet.task import Clock

from homeserver.api.access import FLUSH_S, AccessLog, Instants, Line

LINE = Line("2026-01-02T03:04:05.006Z", "1f", "10.0.0.1", "@a:b", "PUT", "/x", 200, 1.25)


def test_lines_are_gathered_and_written_together() -> None:
    clock, written = Clock(), []
    log = AccessLog(written.append, "text", clock)
    log.add(LINE)
    log.add(LINE)
    assert not written
    clock.advance(FLUSH_S)
    line = "2026-01-02T03:04:05.006Z info 1f access 10.0.0.1 @a:b PUT /x 200 1.2ms\n"
    assert written == [line * 2]
    log.add(LINE)
    clock.advance(FLUSH_S)
    assert written == [line * 2, line]


def test_what_is_left_is_written_at_the_end_and_nothing_twice() -> None:
    clock, written = Clock(), []
    log = AccessLog(written.append, "text", clock)
    log.add(LINE)
    log.flush()
    log.flush()
    clock.advance(FLUSH_S)
    assert len(written) == 1
    assert not clock.getDelayedCalls()


def test_a_full_disk_loses_lines_and_hinders_nothing() -> None:
    clock, written, full = Clock(), [], True

    def write(text: str) -> None:
        if full:
            raise OSError(ENOSPC, "No space left on device")
        written.append(text)

    log = AccessLog(write, "text", clock)
    log.add(LINE)
    clock.advance(FLUSH_S)
    full = False
    log.add(LINE)
    clock.advance(FLUSH_S)
    assert len(written) == 1


def test_for_machines_a_line_is_an_object() -> None:
    written: list[str] = []
    log = AccessLog(written.append, "json", Clock())
    log.add(LINE)
    log.flush()
    assert json.loads("".join(written)) == {
        "time": "2026-01-02T03:04:05.006Z", "request": "1f", "ip": "10.0.0.1", "user": "@a:b",
        "method": "PUT", "path": "/x", "status": 200, "ms": 1.25,
    }  # fmt: skip


def test_the_time_is_told_in_both_forms() -> None:
    now = [1_700_000_000_005]
    instants = Instants(lambda: now[0])
    assert instants.stamp() == "2023-11-14T22:13:20.005Z"
    assert instants.date_header() == b"Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
    now[0] += 1999
    assert instants.stamp() == "2023-11-14T22:13:22.004Z"
    now[0] += 999
    assert instants.date_header() == b"Date: Tue, 14 Nov 2023 22:13:23 GMT\r\n"
