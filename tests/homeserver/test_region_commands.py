"""The commands on keys and on the list of regions, typed as an operator types them."""

import json
import stat
import time
from pathlib import Path

import pytest

from tests.homeserver.test_commands import parta
from tests.kit.ports import find_port
from tests.kit.processes import open_configuration, running

NORTH = "north.example"


def write_draft(folder: Path, version: int = 1, **changes: object) -> Path:
    """A list that nobody has signed."""
    until_ms = time.time_ns() // 1_000_000 + 86_400_000
    regions = {NORTH: {"status": "member", "name": "North"}, "south.example": {"status": "suspended"}}
    draft = {"authority": "schools.example", "version": version, "valid_until_ts": until_ms, "regions": regions}
    file = folder / f"draft-{version}.json"
    file.write_text(json.dumps({**draft, **changes}))
    return file


def make_authority(folder: Path) -> tuple[Path, dict[str, str]]:
    """A key of the authority in its file, and its public half as the configuration wants it."""
    file = folder / "authority.key"
    said = parta("regions", "key", "--out", file)
    keys: dict[str, str] = json.loads(said.partition(": ")[2])
    return file, keys


def test_the_authority_makes_a_key_once_and_for_itself_only(tmp_path: Path) -> None:
    file, keys = make_authority(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(keys) == 1
    assert "File exists" in parta("regions", "key", "--out", file, status=1)


def test_a_list_is_signed_and_checked(tmp_path: Path) -> None:
    key, keys = make_authority(tmp_path)
    ((key_id, public),) = keys.items()
    signed = tmp_path / "regions.json"
    assert parta("regions", "sign", write_draft(tmp_path), "--key", key, "--out", signed) == ""
    assert json.loads(parta("regions", "sign", signed, "--key", key)) == json.loads(signed.read_text())
    said = parta("regions", "verify", signed, "--authority-key", f"{key_id}={public}")
    assert "version 1 of schools.example" in said
    assert f"{NORTH} member North\nsouth.example suspended\n" in said
    key.unlink()
    ((other_id, other),) = make_authority(tmp_path)[1].items()
    refused = parta("regions", "verify", signed, "--authority-key", f"{other_id}={other}", status=1)
    assert "not signed by the authority" in refused
    signed.write_text(signed.read_text().replace("suspended", "member"))
    assert "not signed" in parta("regions", "verify", signed, "--authority-key", f"{key_id}={public}", status=1)


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1}', "not JSON"])
def test_what_is_no_list_is_not_signed(tmp_path: Path, content: str) -> None:
    key, _ = make_authority(tmp_path)
    draft = tmp_path / "draft.json"
    draft.write_text(content)
    assert "malformed" in parta("regions", "sign", draft, "--key", key, status=1)
    assert "No such file" in parta("regions", "sign", tmp_path / "none", "--key", key, status=1)
    assert "form" in parta("regions", "sign", write_draft(tmp_path), "--key", draft, status=1)


def test_a_server_says_by_which_list_it_goes_and_looks_again_when_told(tmp_path: Path) -> None:
    key, keys = make_authority(tmp_path)
    signed = tmp_path / "regions.json"
    parta("regions", "sign", write_draft(tmp_path), "--key", key, "--out", signed)
    federation = {"mode": "list", "list": {"file": str(signed), "authority_keys": keys}}
    with running(tmp_path, {**open_configuration(find_port()), "federation": federation}):
        config = tmp_path / "parta.yaml"
        assert "version 1" in parta("regions", "show", "--config", config)
        parta("regions", "sign", write_draft(tmp_path, 2), "--key", key, "--out", signed)
        assert "version 1" in parta("regions", "show", "--config", config)
        assert "version 2" in parta("regions", "refresh", "--config", config)
        assert "version 2" in parta("regions", "verify", signed, "--config", config)


def test_keys_are_shown_and_rotated(tmp_path: Path) -> None:
    config = tmp_path / "parta.yaml"
    config.write_text(json.dumps(open_configuration(find_port())))
    first = parta("keys", "show", "--config", config)
    assert first.startswith("signs: ed25519:")
    coming = parta("keys", "rotate", "--config", config).splitlines()[0]
    assert coming.startswith("after the next start: ed25519:")
    assert parta("keys", "show", "--config", config) == f"{first}{coming}\n"
    parta("user", "list", "--config", config)  # a start
    said = parta("keys", "show", "--config", config).splitlines()
    assert said[0] == coming.replace("after the next start", "signs")
    assert said[1].startswith("until 20")
    assert said[1].endswith(first.strip().removeprefix("signs: "))


def test_an_authority_key_that_is_none_stops_the_start(tmp_path: Path) -> None:
    config = tmp_path / "parta.yaml"
    federation = {"mode": "list", "list": {"authority_keys": {"ed25519:1": "short"}}}
    config.write_text(json.dumps({**open_configuration(find_port()), "federation": federation}))
    assert "federation.list.authority_keys" in parta("user", "list", "--config", config, status=1)
