"""A real Parta in a process of its own, on loopback, ended by its process ID."""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SERVER_NAME = "parta.test"
PARTA = (sys.executable, "-m", "homeserver")
READY_SECONDS = 60.0


def open_configuration(port: int, database: dict[str, str] | None = None) -> dict[str, Any]:
    """A configuration of a plain Matrix homeserver that lets anybody register; hashing is cheap."""
    return {
        "server_name": SERVER_NAME,
        "data_dir": "data",
        "policy": "open",
        "public_base_url": f"http://127.0.0.1:{port}",
        "listeners": [{"port": port, "bind": ["127.0.0.1"], "resources": ["client", "admin", "metrics"]}],
        "database": database or {"engine": "sqlite"},
        "registration": {"mode": "open"},
        "federation": {"mode": "none"},
        "limits": {"rates": False},
        "passwords": {"time_cost": 1, "memory_kib": 8},
    }


class Process:
    """`parta run` on a configuration file; `log` is what it has printed."""

    def __init__(self, config: Path, port: int) -> None:
        self.config = config
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}"
        self._log_path = config.parent / "parta.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """Everything printed since the first start."""
        return self._log_path.read_text() if self._log_path.exists() else ""

    @property
    def pid(self) -> int:
        """The process ID of the running server."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start, and wait for nothing."""
        with self._log_path.open("ab") as out:
            self._process = subprocess.Popen(
                [*PARTA, "run", "--config", str(self.config)], stdout=out, stderr=subprocess.STDOUT
            )

    def start(self) -> None:
        """Start and wait until it answers; fails with its log when it does not come up."""
        self.launch()
        assert self._process is not None
        ends = time.monotonic() + READY_SECONDS
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self.base_url + "/_matrix/client/versions", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                threading.Event().wait(0.02)  # another process: nothing here could tell us
        self.kill()
        raise AssertionError(f"the server did not start:\n{self.log}")

    def kill(self) -> None:
        """End it as a loss of power would: SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it as an operator would: SIGTERM; its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
            raise AssertionError(f"the server did not end within 20 s:\n{self.log}") from None


@contextmanager
def running(folder: Path, configuration: dict[str, Any]) -> Iterator[Process]:
    """A server on that configuration for the length of the block."""
    config = folder / "parta.yaml"
    config.write_text(json.dumps(configuration))
    process = Process(config, configuration["listeners"][0]["port"])
    process.start()
    try:
        yield process
    finally:
        process.stop()
