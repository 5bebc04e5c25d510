"""A start that cannot be says why in one line, and leaves everything as it was."""

import ctypes
import json
import shutil
import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config.settings import PostgreSQL
from homeserver.__main__ import main
from tests.kit.databases import make_on_cluster, session_cluster
from tests.kit.ports import find_port
from tests.kit.processes import PARTA, open_configuration, running

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_libc = ctypes.CDLL(None)


def heed_permissions() -> None:
    """In the server's process: let the superuser, too, be stopped by the permissions of files."""
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        _libc.prctl(_PR_CAPBSET_DROP, capability)


def start(folder: Path, configuration: dict[str, Any], *, command: str = "run", ordinary: bool = False) -> str:
    """Start on that configuration in vain, as an `ordinary` user or not; the one line that says why."""
    config = folder / "refused.yaml"
    config.write_text(json.dumps(configuration))
    done = subprocess.run(
        [*PARTA, command, "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=heed_permissions if ordinary else None,
    )
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("parta: ")
    return line


def configuration(**changes: Any) -> dict[str, Any]:
    """A good configuration, and what is changed of it."""
    return {**open_configuration(find_port()), **changes}


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a region that has run before; not to be touched."""
    folder = tmp_path_factory.mktemp("region")
    with running(folder, configuration()) as server:
        assert server.stop() == 0
    return folder / "data"


@pytest.fixture
def data(tmp_path: Path, region: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(region, tmp_path / "data")


def refuse(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Start in this process on a configuration that is refused before anything is done; the one line that says why."""
    assert main(["run", "--config", str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("parta: ")
    return line


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"server_nam": "x"}, "server_nam"),
        ({"server_name": "a b"}, "server_name"),
        ({"listeners": [{"port": "http"}]}, "listeners"),
        ({"listeners": [{"port": 70000}]}, "port"),
        ({"listeners": [{"port": 8008, "resources": ["clients"]}]}, "resources"),
        ({"database": {"engine": "mysql"}}, "database"),
        ({"database": {"engine": "postgresql"}}, "dsn"),
        ({"policy": "school"}, "registration.mode"),
        ({"limits": {"rates": "yes"}}, "limits.rates"),
        ({"passwords": {"time_cost": 0}}, "time_cost"),
        ({"federation": {"mode": "some"}}, "federation.mode"),
        ({"data_dir": 5}, "data_dir"),
    ],
)
def test_a_bad_value_is_named_by_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], named: str
) -> None:
    (tmp_path / "bad.yaml").write_text(json.dumps(configuration(**change)))
    assert named in refuse(tmp_path / "bad.yaml", capsys)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("text", ["", "[]", "a: [", "\0", "server_name: !!python/object:os.system {}", "- x", "x"])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    refuse(tmp_path / "bad.yaml", capsys)


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.yaml" in refuse(tmp_path / "none.yaml", capsys)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(port) in start(tmp_path, open_configuration(port))


def test_an_address_that_is_not_ours_is_named(tmp_path: Path) -> None:
    listener = {"port": find_port(), "bind": ["192.0.2.1"], "resources": ["client"]}
    assert "192.0.2.1" in start(tmp_path, configuration(listeners=[listener]))


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_certificate_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "cert.pem").write_bytes(content)
    tls = {"certificate": "cert.pem", "private_key": "cert.pem"}
    listener = {"port": find_port(), "tls": tls, "resources": ["client"]}
    assert "certificate" in start(tmp_path, configuration(listeners=[listener]))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\0", b"ed25519 a_1 AAAA\n"],
)
def test_a_corrupt_signing_key_is_named_and_kept(data: Path, content: bytes) -> None:
    key = data / "signing.key"
    key.write_bytes(content)
    assert "signing.key" in start(data.parent, configuration())
    assert key.read_bytes() == content


def test_a_signing_key_that_may_not_be_read_is_named(data: Path) -> None:
    (data / "signing.key").chmod(0)
    assert "signing.key" in start(data.parent, configuration(), ordinary=True)


@pytest.mark.parametrize("content", [b"rubbish" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_database_is_refused_and_kept(data: Path, content: bytes) -> None:
    for file in data.glob("parta.db*"):
        file.unlink()
    (data / "parta.db").write_bytes(content)
    assert "database" in start(data.parent, configuration())
    assert (data / "parta.db").read_bytes() == content


def test_a_database_of_a_later_version_is_refused_and_kept(data: Path) -> None:
    with closing(sqlite3.connect(data / "parta.db")) as database, database:
        database.execute("INSERT INTO schema_migrations VALUES (9999, 'later', 'x', 0)")
    assert "9999" in start(data.parent, configuration())


def test_a_data_directory_that_may_not_be_written_is_named(data: Path) -> None:
    data.chmod(0o500)
    (data / "parta.db-lock").chmod(0o400)
    try:
        start(data.parent, configuration(), ordinary=True)
    finally:
        data.chmod(0o700)


def test_a_place_where_no_data_directory_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert "data" in start(tmp_path, configuration())
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "closed" in start(tmp_path, configuration(data_dir="closed/data"), ordinary=True)


def test_a_database_server_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    dsn = f"host={tmp_path} user=postgres dbname=parta"
    assert "database" in start(tmp_path, configuration(database={"engine": "postgresql", "dsn": dsn}))
    dsn = session_cluster().dsn("never_made")
    assert "never_made" in start(tmp_path, configuration(database={"engine": "postgresql", "dsn": dsn}))
    assert "database" in start(tmp_path, configuration(database={"engine": "postgresql", "dsn": "what is this"}))


@pytest.mark.parametrize("command", ["run", "migrate"])
def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(tmp_path: Path, command: str) -> None:
    with running(tmp_path, configuration()) as server:
        assert "another process" in start(tmp_path, configuration(), command=command)
        assert server.stop() == 0


def test_a_second_server_on_the_same_database_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    settings = make_on_cluster(session_cluster()).settings
    assert isinstance(settings, PostgreSQL)
    database = {"engine": "postgresql", "dsn": settings.dsn}
    with running(tmp_path, configuration(database=database)) as server:
        assert "another process" in start(tmp_path, configuration(database=database, data_dir="other"))
        assert server.stop() == 0
