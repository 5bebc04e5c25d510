"""The server is killed in the middle of work, twenty times, and loses nothing that it said was done."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest

from config.settings import PostgreSQL
from tests.faults.load import Deed
from tests.faults.village import Village
from tests.kit.databases import make_on_cluster, session_cluster
from tests.kit.ports import find_port
from tests.kit.processes import Process, open_configuration, running

KILLS = 20
FIRST_KILLS = 6
KILLED_AT_START = frozenset((5, 11, 17))
"""The rounds in which the start after the kill is killed, too."""
DEEDS = (20, 130)
"""Between these many deeds are done before a kill."""
MOST_DELAY_S = 0.02
REPEATS = 25
SEED = 2026


def _sqlite() -> dict[str, str]:
    return {"engine": "sqlite"}


def _postgresql() -> dict[str, str]:
    settings = make_on_cluster(session_cluster()).settings
    assert isinstance(settings, PostgreSQL)
    return {"engine": "postgresql", "dsn": settings.dsn}


@pytest.mark.parametrize("database", [_sqlite, _postgresql], ids=["sqlite", "postgresql"])
def test_nothing_that_was_acknowledged_is_lost_or_done_twice_when_the_server_is_killed(
    tmp_path: Path, database: Callable[[], dict[str, Any]]
) -> None:
    chance = Random(SEED)
    with running(tmp_path, open_configuration(find_port(), database())) as server:
        village = Village(server.port, chance)
        for number in range(KILLS):
            _kill_at_work(server, village, chance)
            village.hang_up()
            village.bookmark()
            if number in KILLED_AT_START:
                server.launch()
                Event().wait(chance.random())
                server.kill()
            server.start()
            village.check_what_was_done()
            village.check_typing()
            village.check_repeats(REPEATS)
        village.check_everything()
        assert server.stop() == 0
        assert "Traceback" not in server.log, server.log


def _kill_at_work(server: Process, village: Village, chance: Random) -> None:
    """Let everybody work, and kill the server some moments after so many deeds."""
    left = chance.randint(*DEEDS)
    enough = Event()

    def count(deed: Deed) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            enough.set()

    with village.at_work(count) as stop:
        enough.wait(30)
        stop.wait(chance.random() * MOST_DELAY_S)
        server.kill()
    assert enough.is_set(), f"too little was done before the kill: {left} are left\n{server.log}"


@pytest.mark.parametrize("database", [_sqlite, _postgresql], ids=["sqlite", "postgresql"])
def test_a_first_start_that_was_killed_can_be_made_again(
    tmp_path: Path, database: Callable[[], dict[str, Any]]
) -> None:
    chance = Random(SEED)
    config = tmp_path / "parta.yaml"
    configuration = open_configuration(find_port(), database())
    config.write_text(json.dumps(configuration))
    server = Process(config, configuration["listeners"][0]["port"])
    for _ in range(FIRST_KILLS):
        server.launch()
        Event().wait(chance.uniform(0.2, 1.2))
        server.kill()
    server.start()
    Village(server.port, chance).check_what_was_done()
    assert server.stop() == 0
    assert "Traceback" not in server.log, server.log
