"""`scripts/two-regions`, as somebody new runs it."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "two-regions"


def test_two_regions_cooperate_and_bear_that_one_is_killed() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("All of it went as it should.\n")
