"""matrix-js-sdk, the client library of Element, on a Node of its own (`npm ci` in tests/clients/js)."""

import json
import subprocess
from pathlib import Path

from tests.kit.processes import Process

HERE = Path(__file__).parent / "js"


def test_it_logs_in_syncs_sends_paginates_redacts_and_reacts(server: Process) -> None:
    node = HERE / "node_modules" / ".bin" / "node"
    told = subprocess.run(
        [node, "story.mjs", server.base_url], cwd=HERE, capture_output=True, text=True, timeout=180, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout.splitlines()[-1]) == {"sent": 30, "paged": 30}
