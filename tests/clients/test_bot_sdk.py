"""matrix-bot-sdk, on which many bots stand, on a Node of its own (`npm ci` in tests/clients/js)."""

import json
import subprocess
from pathlib import Path

from tests.kit.processes import Process

HERE = Path(__file__).parent / "js"


def test_a_bot_joins_where_it_is_invited_and_answers(server: Process) -> None:
    node = HERE / "node_modules" / ".bin" / "node"
    told = subprocess.run(
        [node, "bot.mjs", server.base_url], cwd=HERE, capture_output=True, text=True, timeout=180, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout.splitlines()[-1]) == {"answered": 1}
