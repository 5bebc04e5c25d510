"""matrix-js-sdk, the client library of Element, on a Node of its own (`npm ci` in tests/clients/js)."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.kit.processes import Process

HERE = Path(__file__).parent / "js"


def _tell(story: str, server: Process) -> Any:
    node = HERE / "node_modules" / ".bin" / "node"
    told = subprocess.run(
        [node, story, server.base_url], cwd=HERE, capture_output=True, text=True, timeout=600, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return json.loads(told.stdout.splitlines()[-1])


def test_it_logs_in_syncs_sends_paginates_redacts_and_reacts(server: Process) -> None:
    assert _tell("story.mjs", server) == {"sent": 30, "paged": 30}


def test_it_encrypts_backs_keys_up_restores_them_wakes_a_device_and_verifies_another(server: Process) -> None:
    told = _tell("secrets.mjs", server)
    assert told == {"said": 6, "read": 6, "restored": 2, "woken": 1, "verified": True, "emoji": 7, "proofs": 1}


def test_it_slides_over_its_rooms(server: Process) -> None:
    told = _tell("slide.mjs", server)
    assert told["rooms"] == 2
    assert told["heard"] >= 1


def test_what_it_schedules_comes_later_or_never(server: Process) -> None:
    assert _tell("later.mjs", server) == {"said": ["in a moment", "good night"]}
