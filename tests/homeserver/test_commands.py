"""The commands, typed as an operator types them."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeserver import VERSION
from tests.kit.ports import find_port
from tests.kit.processes import PARTA, Process, open_configuration, running

OPERATOR_PASSWORD = "a long secret 7"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PARTA_")}


def parta(*typed: object, piped: str = "", status: int = 0, **environment: str) -> str:
    """Run a command; what it printed, or the one line it failed with."""
    done = subprocess.run(
        [*PARTA, *map(str, typed)], input=piped, capture_output=True, text=True, timeout=60, check=False,
        env={**ENVIRONMENT, **environment},
    )  # fmt: skip
    assert done.returncode == status, (typed, done.returncode, done.stdout, done.stderr)
    if status == 1:
        assert done.stderr.startswith("parta: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr
    return done.stdout if status == 0 else done.stderr


def log_in(server: Process, user: str, password: str) -> dict[str, Any]:
    """Log in over the network; the answer."""
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user}, "password": password}
    request = urllib.request.Request(f"{server.base_url}/_matrix/client/v3/login", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def get_text(server: Process, path: str, token: str = "") -> str:
    """What a server answers."""
    request = urllib.request.Request(server.base_url + path, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=90) as answer:
        text: str = answer.read().decode()
        return text


def get(server: Process, path: str, token: str) -> Any:
    """What a server answers, decoded."""
    return json.loads(get_text(server, path, token))


@pytest.fixture
def region(tmp_path: Path) -> Path:
    """A configuration of an open server that has not run yet."""
    file = tmp_path / "parta.yaml"
    file.write_text(json.dumps(open_configuration(find_port())))
    return file


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    """A running open server."""
    with running(tmp_path, open_configuration(find_port())) as process:
        yield process


def test_the_version_is_there_at_once() -> None:
    assert parta("--version") == f"parta {VERSION}\n"
    imported = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "homeserver", "--version"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "twisted" not in imported


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["init"],
        ["run"],
        ["check-config"],
        ["migrate"],
        ["user"],
        ["user", "create"],
        ["audit"],
        ["school"],
        ["demo"],
    ],
    ids=" ".join,
)
def test_every_command_explains_itself(command: list[str]) -> None:
    text = parta(*command, "--help")
    assert "usage: parta" in text
    assert len(command) > 1 or "example" in text


@pytest.mark.parametrize("typed", [[], ["rn"], ["user"], ["user", "create"], ["run", "--confg", "x"], ["init"]])
def test_what_is_not_understood_shows_the_usage(typed: list[str]) -> None:
    assert "usage: parta" in parta(*typed, status=2)


def test_a_region_begins_with_configuration_keys_service_account_and_operator(tmp_path: Path) -> None:
    folder = tmp_path / "region"
    text = parta("init", "--server-name", "north.example", "--data", folder, "--operator", "head")
    assert "created @head:north.example" in text
    assert "password: " in text
    config = folder / "parta.yaml"
    assert yaml.safe_load(config.read_text())["policy"] == "school"
    assert (folder / "signing.key").exists()
    assert parta("user", "list", "--config", config) == "@_parta:north.example server\n@head:north.example admin\n"
    assert "north.example, policy school, ports 8008" in parta("check-config", "--config", config)
    assert "is there already" in parta("init", "--server-name", "north.example", "--data", folder, status=1)


def test_a_region_does_not_begin_with_a_bad_name(tmp_path: Path) -> None:
    folder = tmp_path / "region"
    assert "server_name: " in parta("init", "--server-name", "no rth", "--data", folder, status=1)
    assert not folder.exists()


def test_a_configuration_is_named_by_option_or_environment_and_checked(region: Path) -> None:
    good = f"{region} is good: parta.test, policy open"
    assert good in parta("check-config", "--config", region)
    assert good in parta(f"--config={region}", "check-config")
    assert good in parta("check-config", PARTA_CONFIG=str(region))
    refusal = parta("check-config", "--config", region, PARTA_LIMITS__RATES="maybe", status=1)
    assert "limits.rates: Expected `bool`" in refusal
    assert "cannot be read" in parta("check-config", "--config", region.parent / "none.yaml", status=1)


@pytest.mark.parametrize("command", [["run"], ["migrate"], ["user", "list"], ["check-config"]], ids=" ".join)
def test_no_command_takes_a_bad_configuration(region: Path, command: list[str]) -> None:
    region.write_text("server_name: a\nlistners: []\n")
    assert "listners: unknown key" in parta(*command, "--config", region, status=1)


def test_the_database_is_brought_up_once(region: Path) -> None:
    assert "applied 0001" in parta("migrate", "--config", region)
    assert parta("migrate", "--config", region) == "the database is up to date\n"


def test_a_server_does_not_start_on_what_it_cannot_use(region: Path) -> None:
    tree = json.loads(region.read_text())
    data = region.parent / "data"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        listeners = json.dumps([{**tree["listeners"][0], "port": number}])
        assert f"port {number}" in parta("run", "--config", region, PARTA_LISTENERS=listeners, status=1)
    tls = {"certificate": "none.pem", "private_key": "none.pem"}
    listeners = json.dumps([{**tree["listeners"][0], "tls": tls}])
    assert "certificate" in parta("run", "--config", region, PARTA_LISTENERS=listeners, status=1)
    database = json.dumps({"engine": "postgresql", "dsn": f"host={data} dbname=none"})
    assert "database" in parta("run", "--config", region, PARTA_DATABASE=database, status=1)
    (data / "signing.key").write_text("junk")
    assert "signing.key" in parta("run", "--config", region, status=1)
    (data / "parta.db").write_text("junk" * 1000)
    assert "database" in parta("run", "--config", region, status=1)
    shutil.rmtree(data)
    data.write_text("a file")
    assert "data" in parta("run", "--config", region, status=1)


def test_accounts_are_made_listed_given_passwords_and_closed(region: Path) -> None:
    config = ("--config", region)
    assert parta("user", "create", "Alice", *config).startswith("created @alice:parta.test\npassword: ")
    secret = ("--password-stdin", *config)
    text = parta("user", "create", "head", "--admin", *secret, piped=OPERATOR_PASSWORD + "\n")
    assert text == "created @head:parta.test\n"
    assert parta("user", "list", *config) == "@alice:parta.test\n@head:parta.test admin\n"
    assert "taken" in parta("user", "create", "alice", *config, status=1)
    assert "at least" in parta("user", "create", "bob", *secret, piped="short\n", status=1)
    assert "user name" in parta("user", "create", "b b", *config, status=1)
    assert "changed the password of @alice:parta.test\npassword: " in parta("user", "reset-password", "alice", *config)
    assert "no account bob" in parta("user", "reset-password", "bob", *config, status=1)
    assert "no account @x:else.where" in parta("user", "deactivate", "@x:else.where", *config, status=1)
    assert parta("user", "deactivate", "@alice:parta.test", "--erase", *config) == "deactivated @alice:parta.test\n"
    assert "no account alice" in parta("user", "deactivate", "alice", *config, status=1)
    assert parta("user", "list", *config) == "@head:parta.test admin\n"
    assert "@alice:parta.test deactivated erased\n" in parta("user", "list", "--all", *config)


def test_what_is_done_at_the_console_stands_in_the_audit_log(region: Path) -> None:
    config = ("--config", region)
    parta("user", "create", "alice", *config)
    parta("user", "reset-password", "alice", *config)
    parta("user", "deactivate", "alice", *config)
    assert "no account" in parta("user", "deactivate", "alice", *config, status=1)
    lines = parta("audit", "--subject", "@alice:parta.test", *config).splitlines()
    deeds = [line.split("  ")[2:5] for line in reversed(lines)]
    doer, whom = "@_parta:parta.test", "@alice:parta.test"
    assert deeds == [[doer, deed, whom] for deed in ("create_account", "set_password", "deactivate")]
    assert len(parta("audit", "--limit", "1", *config).splitlines()) == 1
    assert parta("audit", "--by", "@nobody:parta.test", *config) == ""


def test_a_running_server_does_the_commands_itself(server: Process) -> None:
    config = ("--config", server.config)
    parta("user", "create", "alice", "--password-stdin", *config, piped=OPERATOR_PASSWORD)
    assert log_in(server, "alice", OPERATOR_PASSWORD)["user_id"] == "@alice:parta.test"
    assert "taken" in parta("user", "create", "alice", *config, status=1)
    parta("user", "reset-password", "alice", "--password-stdin", *config, piped="another secret 8")
    with pytest.raises(urllib.error.HTTPError):
        log_in(server, "alice", OPERATOR_PASSWORD)
    assert log_in(server, "alice", "another secret 8")
    assert "another process" in parta("run", *config, status=1)
    assert "another process" in parta("migrate", *config, status=1)


def test_a_signal_ends_the_server_cleanly_and_it_starts_again(tmp_path: Path) -> None:
    with running(tmp_path, open_configuration(find_port())) as server:
        parta("user", "create", "alice", "--config", server.config)
        assert server.stop() == 0
        assert not (tmp_path / "data" / "control").exists()
        server.start()
        assert "@alice:parta.test" in parta("user", "list", "--config", server.config)
        server.kill()
        assert "@alice:parta.test" in parta("user", "list", "--config", server.config)
        server.start()
        assert "@alice:parta.test" in parta("user", "list", "--config", server.config)


def test_a_stop_answers_who_waits_for_news(tmp_path: Path) -> None:
    with running(tmp_path, open_configuration(find_port())) as server, ThreadPoolExecutor() as others:
        parta("user", "create", "alice", "--password-stdin", "--config", server.config, piped=OPERATOR_PASSWORD)
        token = log_in(server, "alice", OPERATOR_PASSWORD)["access_token"]
        since = get(server, "/_matrix/client/v3/sync", token)["next_batch"]
        waiting = others.submit(get, server, f"/_matrix/client/v3/sync?since={since}&timeout=60000", token)
        while "parta_running_requests 2.0" not in get_text(server, "/metrics"):
            assert not waiting.done()
        assert server.stop() == 0
        assert "next_batch" in waiting.result(10)
        assert "Traceback" not in server.log


def test_the_demonstration_school_is_made_once_and_shown_again(tmp_path: Path) -> None:
    first = parta("demo", "--data", tmp_path / "demo")
    second = parta("demo", "--data", tmp_path / "demo")
    assert "teacher1" in first
    assert "http://127.0.0.1:8008" in first
    assert second == first.split("\n", 1)[1]


def test_schools_are_made_and_rosters_read_by_a_running_server(tmp_path: Path) -> None:
    configuration = {**open_configuration(find_port()), "policy": "school", "registration": {"mode": "closed"}}
    with running(tmp_path, configuration) as server:
        config = ("--config", server.config)
        org_id = parta("school", "create", "--name", "Школа № 7", "--short-name", "Школа", *config).strip()
        assert org_id in parta("school", "list", *config)
        parta("school", "class", "Школа", "5А", *config)
        roster = tmp_path / "roster.csv"
        roster.write_text("junk", encoding="utf-8")
        assert "unknown column" in parta("school", "roster", "Школа", roster, *config, status=1)
        assert "no organisation is called Лицей" in parta("school", "people", "Лицей", *config, status=1)
        roster.unlink()
        assert "No such file" in parta("school", "roster", "Школа", roster, *config, status=1)
