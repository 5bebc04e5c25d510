"""synadm, the command line of Synapse's administrators, on a running server."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.ports import find_port
from tests.kit.processes import PARTA, Process, open_configuration, running

pytest.importorskip("synadm")

SERVER, PASSWORD = "parta.test", "correct horse 5"
SYNADM = Path(sys.executable).with_name("synadm")


def call(server: Process, method: str, path: str, body: object = None, token: str = "") -> Any:
    """Make a request as any client does."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{server.base_url}{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def log_in(server: Process, name: str, password: str = PASSWORD) -> str:
    """An access token."""
    identifier = {"type": "m.id.user", "user": name}
    body = {"type": "m.login.password", "identifier": identifier, "password": password}
    token: str = call(server, "POST", "/_matrix/client/v3/login", body)["access_token"]
    return token


def register(server: Process, name: str) -> str:
    """Somebody new; their access token."""
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    token: str = call(server, "POST", "/_matrix/client/v3/register", body)["access_token"]
    return token


class Tool:
    """synadm, configured for an operator of a server."""

    def __init__(self, server: Process, folder: Path) -> None:
        command = [*PARTA, "user", "create", "head", "--admin", "--password-stdin", "--config", str(server.config)]
        subprocess.run(command, input=PASSWORD + "\n", text=True, check=True, capture_output=True)
        self.server = server
        self.config = folder / "synadm.yaml"
        settings = {
            "user": f"@head:{SERVER}",
            "token": log_in(server, "head"),
            "base_url": server.base_url,
            "admin_path": "/_synapse/admin",
            "matrix_path": "/_matrix",
            "format": "json",
            "timeout": 30,
            "homeserver": SERVER,
            "server_discovery": "well-known",
            "ssl_verify": True,
        }
        self.config.write_text(json.dumps(settings))  # which is YAML, too

    def __call__(self, *arguments: str) -> Any:
        """Run a command; the last JSON that it printed, or else all it said."""
        command = [str(SYNADM), "-c", str(self.config), "--batch", "-o", "json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        starts = [match.start() for match in re.finditer(r"^[\[{]", done.stdout, re.MULTILINE)]
        return json.loads(done.stdout[starts[-1] :]) if starts else done.stdout


@pytest.fixture(scope="module")
def synadm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """An operator at the command line of a server that gives notices."""
    folder = tmp_path_factory.mktemp("server")
    notices = {"localpart": "notices", "display_name": "Parta", "room_name": "Notices"}
    with running(folder, {**open_configuration(find_port()), "server_notices": notices}) as server:
        yield Tool(server, folder)


def test_it_reads_the_version(synadm: Tool) -> None:
    assert synadm("version")["server_version"].startswith("Parta ")


def test_it_makes_lists_changes_and_closes_an_account(synadm: Tool) -> None:
    anna = f"@anna:{SERVER}"
    made = synadm("user", "modify", "anna", "--password", PASSWORD, "--display-name", "Anna")
    assert (made["name"], made["displayname"]) == (anna, "Anna")
    token = log_in(synadm.server, "anna")
    assert anna in [user["name"] for user in synadm("user", "list")["users"]]
    assert [user["name"] for user in synadm("user", "list", "--name", "ann")["users"]] == [anna]
    assert synadm("user", "details", "anna")["admin"] is False
    assert synadm("user", "modify", "anna", "--lock")["locked"] is True
    assert synadm("user", "modify", "anna", "--unlock")["locked"] is False
    assert set(synadm("user", "whois", "anna")["devices"]) != set()
    assert synadm("user", "password", "anna", "--password", "another horse 7") == {}
    token = log_in(synadm.server, "anna", "another horse 7")
    room = call(synadm.server, "POST", "/_matrix/client/v3/createRoom", {}, token)["room_id"]
    assert synadm("user", "membership", "--ids", "anna")["joined_rooms"] == [room]
    puppet = synadm("user", "login", "anna", "--expire-days", "1")["access_token"]
    assert call(synadm.server, "GET", "/_matrix/client/v3/account/whoami", token=puppet)["user_id"] == anna
    assert synadm("user", "deactivate", "anna") == {"id_server_unbind_result": "success"}
    assert anna not in [user["name"] for user in synadm("user", "list")["users"]]
    assert anna in [user["name"] for user in synadm("user", "list", "--deactivated")["users"]]


def test_it_lists_looks_into_blocks_and_removes_rooms(synadm: Tool) -> None:
    token = register(synadm.server, "bob")
    wanted = {"name": "Den", "topic": "Foxes", "preset": "public_chat", "room_alias_name": "den"}
    room = call(synadm.server, "POST", "/_matrix/client/v3/createRoom", wanted, token)["room_id"]
    (listed,) = synadm("room", "list", "--name", "Den")["rooms"]
    assert (listed["room_id"], listed["joined_members"]) == (room, 1)
    assert synadm("room", "details", room)["topic"] == "Foxes"
    assert synadm("room", "members", room) == {"members": [f"@bob:{SERVER}"], "total": 1}
    assert "m.room.topic" in {event["type"] for event in synadm("room", "state", room)["state"]}
    assert synadm("room", "power-levels", "--room-id", room)["rooms_w_power_levels_curr_batch"] == 1
    assert synadm("room", "join", room, "head") == {"room_id": room}
    assert synadm("room", "make-admin", room) == {}
    assert synadm("room", "block", "--block", room) == {"block": True}
    assert synadm("room", "block-status", room)["block"] is True
    assert synadm("room", "block", "--unblock", room) == {"block": False}
    gone = synadm("room", "delete", "--v1", room)
    assert sorted(gone["kicked_users"]) == [f"@bob:{SERVER}", f"@head:{SERVER}"]
    other = call(synadm.server, "POST", "/_matrix/client/v3/createRoom", {"name": "Pit"}, token)["room_id"]
    delete_id = synadm("room", "delete", other)["delete_id"]
    while (found := synadm("room", "delete-status", "--delete-id", delete_id))["status"] not in ("complete", "failed"):
        continue
    assert found["status"] == "complete"
    assert synadm("room", "list", "--name", "Pit")["rooms"] == []


def test_it_makes_changes_and_withdraws_registration_tokens(synadm: Tool) -> None:
    made = synadm("regtok", "new", "--token", "abc", "--uses-allowed", "2")
    assert (made["token"], made["uses_allowed"]) == ("abc", 2)
    assert len(synadm("regtok", "new", "--length", "20")["token"]) == 20
    assert "abc" in [token["token"] for token in synadm("regtok", "list", "--valid")["registration_tokens"]]
    assert synadm("regtok", "update", "abc", "--uses-allowed", "-1")["uses_allowed"] is None
    assert synadm("regtok", "details", "abc")["completed"] == 0
    assert "successfully deleted" in synadm("regtok", "delete", "abc")
    assert "abc" not in [token["token"] for token in synadm("regtok", "list")["registration_tokens"]]


def test_it_gives_a_notice(synadm: Tool) -> None:
    token = register(synadm.server, "clara")
    (sent,) = synadm("notice", "send", "clara", "Hello", "<b>Hello</b>")
    assert sent["event_id"].startswith("$")
    (room,) = call(synadm.server, "GET", "/_matrix/client/v3/sync?timeout=0", token=token)["rooms"]["invite"]
    call(synadm.server, "POST", f"/_matrix/client/v3/join/{room}", {}, token)
    page = call(synadm.server, "GET", f"/_matrix/client/v3/rooms/{room}/messages?dir=b", token=token)
    assert "Hello" in [event["content"].get("body") for event in page["chunk"]]


def test_it_lists_what_somebody_has_uploaded(synadm: Tool) -> None:
    token = register(synadm.server, "dora")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"}
    request = urllib.request.Request(f"{synadm.server.base_url}/_matrix/media/v3/upload", b"x", headers, method="POST")
    with urllib.request.urlopen(request, timeout=30) as reply:
        uri = json.load(reply)["content_uri"]
    (listed,) = synadm("media", "list", "--user-id", f"@dora:{SERVER}")["media"]
    assert listed["media_id"] == uri.rpartition("/")[2]
