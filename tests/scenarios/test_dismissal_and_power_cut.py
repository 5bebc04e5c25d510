"""A dismissal and a power cut at the same moment: afterwards the person is wholly in or wholly out."""

import json
import select
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from homeserver.schools.demo import PASSWORD
from tests.kit.ports import find_port
from tests.kit.processes import PARTA, Process

SERVER = "demo.localhost"
LEAVING = ("pupil1", "pupil2", "pupil3", "pupil4", "teacher2", "teacher1", "parent2", "pupil5")


class Region:
    """A region with the demonstration school in a process of its own."""

    def __init__(self, folder: Path) -> None:
        port = find_port()
        config = folder / "parta.yaml"
        tree = {
            "server_name": SERVER,
            "data_dir": ".",
            "listeners": [{"port": port, "bind": ["127.0.0.1"], "resources": ["client", "school"]}],
            "limits": {"rates": False},
            "passwords": {"time_cost": 1, "memory_kib": 8},
        }
        config.write_text(json.dumps(tree))
        subprocess.run([*PARTA, "demo", "--data", str(folder)], check=True, stdout=subprocess.DEVNULL)
        self.process = Process(config, port)

    def call(self, method: str, path: str, token: str | None = None, body: object = None) -> tuple[int, Any]:
        """Make a request; status and answer."""
        request = urllib.request.Request(
            self.process.base_url + path, method=method, data=None if body is None else json.dumps(body).encode()
        )
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as fault:
            return fault.code, json.load(fault)

    def log_in(self, login: str) -> str:
        """A fresh access token."""
        identifier = {"type": "m.id.user", "user": login}
        wanted = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        status, answer = self.call("POST", "/_matrix/client/v3/login", body=wanted)
        assert status == 200, answer
        return str(answer["access_token"])

    def rooms(self, token: str) -> tuple[int, list[str]]:
        """The status of asking for one's rooms, and how many there are."""
        status, answer = self.call("GET", "/_matrix/client/v3/joined_rooms", token)
        return status, answer.get("joined_rooms", [])

    def cut_power_during(self, path: str, token: str, patience_ms: int) -> bool:
        """Ask for something and end the server some moments later; whether it was acknowledged by then."""
        with socket.create_connection(("127.0.0.1", self.process.port)) as line:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
            line.sendall(head.encode())
            ready, _, _ = select.select([line], [], [], patience_ms / 1000)
            acknowledged = bool(ready) and line.recv(12).startswith(b"HTTP/1.1 200")
            self.process.kill()
        return acknowledged


@pytest.fixture
def region(tmp_path: Path) -> Any:
    made = Region(tmp_path)
    made.process.start()
    yield made
    made.process.kill()


def test_a_power_cut_during_a_dismissal_leaves_nobody_half_inside(region: Region) -> None:
    _, found = region.call("GET", "/_parta/school/v1/organisations", region.log_in("admin1"))
    org = found["organisations"][0]["org_id"]
    outcomes = set()
    for turn, login in enumerate(LEAVING):
        admin, token = region.log_in("admin1"), region.log_in(login)
        _, before = region.rooms(token)
        path = f"/_parta/school/v1/organisations/{org}/people/@{login}:{SERVER}/dismiss"
        acknowledged = region.cut_power_during(path, admin, patience_ms=(0, 1, 2, 4, 8, 16, 1000, 1000)[turn])
        region.process.start()
        status, after = region.rooms(token)
        if status == 401:
            assert region.rooms(region.log_in(login)) == (200, [])
        else:
            assert not acknowledged
            assert (status, sorted(after)) == (200, sorted(before))
        outcomes.add(status)
    assert 401 in outcomes
