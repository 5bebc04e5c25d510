"""A real Synapse and a real Parta side by side, each in a process of its own, which federate over TLS on loopback, by
cables that can be cut.

Synapse is a black box: it is configured as its manual says, and asked as any client or server asks. `scripts/synapse`
installs it.
"""

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from tests.kit.cable import Cable
from tests.kit.certificates import Authority
from tests.kit.ports import find_port
from tests.kit.processes import Process, open_configuration
from tests.kit.strangers import Person, log_in_or_register

ROOT = Path(__file__).resolve().parents[2]
READY_S = 90.0
VERSIONS = ("10", "11", "12")
"""The room versions in which both are tried."""

_ALL = {"per_second": 1_000_000, "burst_count": 1_000_000}
"""A rate that nobody reaches."""


def find_synapse() -> Path:
    """The Python that has Synapse."""
    folder = Path(os.environ.get("PARTA_SYNAPSE_VENV") or ROOT / ".venv-synapse")
    assert (folder / ".ready").exists(), f"there is no Synapse in {folder}: scripts/synapse installs it"
    return folder / "bin" / "python"


class Runs(Protocol):
    """A server's process."""

    def start(self) -> None:
        """Start, and wait until it answers."""

    def stop(self) -> object:
        """End it as an operator would."""

    def kill(self) -> None:
        """End it as a loss of power would: SIGKILL."""


class SynapseProcess:
    """Synapse on a configuration."""

    def __init__(self, folder: Path, configuration: Path, base_url: str) -> None:
        self._command = [str(find_synapse()), "-m", "synapse.app.homeserver", "-c", str(configuration)]
        self._folder = folder
        self._base_url = base_url
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All it has said."""
        files = [self._folder / "out.log", self._folder / "homeserver.log"]
        return "\n".join(file.read_text(errors="replace")[-20_000:] for file in files if file.exists())

    def start(self) -> None:
        """Start, and wait until it answers."""
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        with (self._folder / "out.log").open("ab") as out:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=environment, stdout=out, stderr=subprocess.STDOUT
            )
        ends = time.monotonic() + READY_S
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self._base_url + "/_matrix/client/versions", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                threading.Event().wait(0.1)  # another process: nothing here could tell us
        self.stop()
        raise AssertionError(f"Synapse did not start:\n{self.log}")

    def stop(self) -> None:
        """End it as an operator would."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)

    def kill(self) -> None:
        """End it as a loss of power would: SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(20)


class Side:
    """One of two servers; the other one reaches it by its `cable`. What it keeps is in `folder`."""

    def __init__(self, base_url: str, process: Runs, cable: Cable, folder: Path) -> None:
        self.name = f"localhost:{cable.port}"
        self.base_url = base_url
        self.cable = cable
        self.folder = folder
        self._process = process
        self._people = 0

    def person(self, name: str) -> Person:
        """Somebody new, whose name begins like that."""
        self._people += 1
        return log_in_or_register(self.base_url, f"{name}{self._people}")

    @contextmanager
    def away(self) -> Iterator[None]:
        """The server is stopped for the length of the block."""
        self._process.stop()
        try:
            yield
        finally:
            self._process.start()

    @contextmanager
    def killed(self) -> Iterator[None]:
        """The server is killed, and begins again after the block."""
        self._process.kill()
        try:
            yield
        finally:
            self._process.start()


class Pair(NamedTuple):
    """The side where something begins, and the other."""

    home: Side
    away: Side


def meet(pair: Pair, anna: Person, bob: Person, version: str = "12") -> str:
    """A public room of Anna's that Bob has joined."""
    room_id = anna.create(version)
    assert bob.join(room_id, pair.home.name) == room_id
    anna.sees(room_id, bob, "join")
    bob.sees(room_id, bob, "join")
    return room_id


@contextmanager
def federating(folder: Path) -> Iterator[dict[str, Side]]:
    """A Parta and a Synapse, by these names."""
    authority = Authority(folder / "authority.pem")
    sides = {"parta": _build_parta(folder, authority), "synapse": _build_synapse(folder, authority)}
    with ExitStack() as begun:
        for side in sides.values():
            begun.callback(side.cable.close)
            begun.callback(side._process.stop)
            side._process.start()
        yield sides


def _certify(folder: Path, authority: Authority) -> tuple[str, str]:
    folder.mkdir()
    certificate, key = authority.certify(folder, "localhost")
    return str(certificate), str(key)


def _build_parta(folder: Path, authority: Authority) -> Side:
    home = folder / "parta"
    certificate, key = _certify(home, authority)
    port, federation = find_port(), find_port()
    cable = Cable(federation)
    configuration = open_configuration(port)
    configuration["server_name"] = f"localhost:{cable.port}"
    configuration["federation"] = {"mode": "open"}
    configuration["network"] = {"trusted_ca": str(authority.file), "allow_private_addresses": True}
    tls = {"certificate": certificate, "private_key": key}
    configuration["listeners"].append(
        {"port": federation, "bind": ["127.0.0.1"], "resources": ["federation"], "tls": tls}
    )
    file = home / "parta.yaml"
    file.write_text(json.dumps(configuration))
    process = Process(file, port)
    return Side(process.base_url, process, cable, home)


def _build_synapse(folder: Path, authority: Authority) -> Side:
    home = folder / "synapse"
    certificate, key = _certify(home, authority)
    port, federation = find_port(), find_port()
    cable = Cable(federation)
    generated = home / "generated.yaml"
    command = [str(find_synapse()), "-m", "synapse.app.homeserver", "--generate-config"]
    subprocess.run(
        [*command, "-H", f"localhost:{cable.port}", "-c", str(generated), "--report-stats=no"],
        cwd=home,
        check=True,
        capture_output=True,
    )
    configuration = home / "homeserver.yaml"
    settings = {**_read_yaml(generated), **_synapse_settings(port, federation)}
    settings["tls_certificate_path"], settings["tls_private_key_path"] = certificate, key
    settings["federation_custom_ca_list"] = [str(authority.file)]
    configuration.write_text(json.dumps(settings))
    base_url = f"http://127.0.0.1:{port}"
    return Side(base_url, SynapseProcess(home, configuration, base_url), cable, home)


def _read_yaml(file: Path) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load(file.read_text())
    return settings


def _synapse_settings(port: int, federation: int) -> dict[str, Any]:
    """What differs from what it generates for itself: where it listens, and patience that suits a test."""
    loopback = {"type": "http", "bind_addresses": ["127.0.0.1"]}
    return {
        "listeners": [
            {**loopback, "port": port, "tls": False, "resources": [{"names": ["client"], "compress": False}]},
            {**loopback, "port": federation, "tls": True, "resources": [{"names": ["federation"], "compress": False}]},
        ],
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "allow_public_rooms_over_federation": True,
        "room_list_publication_rules": [{"action": "allow"}],
        "suppress_key_server_warning": True,
        "trusted_key_servers": [],
        "ip_range_blacklist": [],
        "federation_ip_range_blacklist": [],
        "federation": {
            "destination_min_retry_interval": "1s",
            "destination_retry_multiplier": 1,
            "destination_max_retry_interval": "1s",
            "max_short_retries": 1,
            "max_short_retry_delay": "1s",
            "max_long_retry_delay": "1s",
        },
        "rc_message": _ALL,
        "rc_registration": _ALL,
        "rc_login": {"address": _ALL, "account": _ALL, "failed_attempts": _ALL},
        "rc_admin_redaction": _ALL,
        "rc_joins": {"local": _ALL, "remote": _ALL},
        "rc_joins_per_room": _ALL,
        "rc_invites": {"per_room": _ALL, "per_user": _ALL, "per_issuer": _ALL},
        "rc_room_creation": _ALL,
        "rc_key_requests": _ALL,
        "rc_media_create": _ALL,
        "rc_profile": _ALL,
        "bcrypt_rounds": 4,
    }
