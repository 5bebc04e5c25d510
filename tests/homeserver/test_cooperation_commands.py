"""``parta cooperation``, typed as the operator of a region with two schools types it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.homeserver.test_commands import parta
from tests.kit.ports import find_port
from tests.kit.processes import Process, running


class Region:
    """Commands typed beside its server, and the id of the school «B»."""

    def __init__(self, server: Process) -> None:
        self.server = server
        for name in "AB":
            said = self.type("school", "create", "--name", f"Школа {name}", "--short-name", name)
        self.peer = said.strip()

    def type(self, *words: object, status: int = 0) -> str:
        """Type a command; what it says."""
        return parta(*words, "--config", self.server.config, status=status)

    def propose(self, *more: object, status: int = 0) -> str:
        """Let «A» propose something to «B»; its id."""
        day = f"{time.gmtime().tm_year + 1}-05-31"
        terms = ("--kind", "professional", "--title", "Физики", "--until", day, *more)
        return self.type("cooperation", "propose", "A", "--with", self.peer, *terms, status=status).strip()


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    """A region of two schools, «A» and «B», whose server runs."""
    folder, port = tmp_path_factory.mktemp("region"), find_port()
    configuration = {
        "server_name": "north.example",
        "listeners": [{"port": port, "bind": ["127.0.0.1"], "resources": ["client"]}],
        "passwords": {"time_cost": 1, "memory_kib": 8},
    }
    with running(folder, configuration) as server:
        yield Region(server)


def test_two_schools_come_to_an_agreement_open_a_room_and_part(region: Region) -> None:
    typed = region.type
    cooperation = region.propose("--role", "teacher")
    assert f"{cooperation}  waits for them  professional  until" in typed("cooperation", "list", "A")
    assert f"{cooperation}  waits for us  professional  until" in typed("cooperation", "list", "B")
    refused = typed("cooperation", "open", "A", cooperation, "--name", "Физики", status=1)
    assert refused == "parta: This cooperation is not in force\n"
    assert typed("cooperation", "agree", "B", cooperation) == ""
    room_id, link = typed("cooperation", "open", "A", cooperation, "--name", "Физики района").split()
    assert link == f"matrix:roomid/{room_id[1:]}?action=join&via=north.example"
    shown = typed("cooperation", "show", "B", cooperation)
    assert shown.startswith("Физики: in force\nwith: ")
    assert "rooms are: theirs" in shown
    assert f"room: {room_id}  Физики района  {link}" in shown
    assert typed("cooperation", "guests", "A") == ""
    typed("cooperation", "dismiss", "A", "@someone:south.example")
    assert typed("cooperation", "guests", "A") == "@someone:south.example  sent away\n"
    typed("cooperation", "readmit", "A", "@someone:south.example")
    typed("cooperation", "close", "A", room_id)
    assert "room:" not in typed("cooperation", "show", "A", cooperation)
    assert typed("cooperation", "end", "B", cooperation) == ""
    assert f"{cooperation}  ended" in typed("cooperation", "list", "A")


def test_a_mistake_is_one_line_and_a_status(region: Region, tmp_path: Path) -> None:
    typed = region.type
    cooperation = region.propose()
    (tmp_path / "consent.pdf").write_bytes(b"consent")
    one = ("cooperation", "admit", "A", cooperation)
    for words, line in (
        (("cooperation", "list", "C"), "no organisation is called C"),
        (("cooperation", "agree", "A", "nothing"), "There is no such cooperation"),
        (("cooperation", "show", "A", "nothing"), "There is no such cooperation"),
        (("cooperation", "end", "C", cooperation), "no organisation is called C"),
        (("cooperation", "close", "A", "!none"), "There is no such room"),
        (("cooperation", "dismiss", "A", "someone"), "does not start with @"),
        ((*one, "@x:north.example", "--consent", tmp_path / "none"), "No such file"),
        ((*one, "@x:north.example", "--consent", tmp_path / "consent.pdf"), "There is no such pupil"),
    ):
        assert line in typed(*words, status=1), words
    for terms, line in (
        (("--until", "31.05.2027"), "31.05.2027 is no date like 2027-05-31"),
        (("--until", "2001-01-01"), "it ends within three years"),
        (("--role", "parent"), "roles: some of administrator, teacher"),
        (("--server", "stranger.example"), "has nothing to do with that one"),
        (("--server", "no server"), "server"),
        (("--title", ""), "title"),
    ):
        assert line in region.propose(*terms, status=1), terms
    assert "invalid choice" in region.propose("--kind", "staff", status=2)
    assert "required" in typed("cooperation", "propose", "A", status=2)
    assert "VERB" in typed("cooperation", status=2)


def test_each_command_explains_itself() -> None:
    for verb in ((), ("propose",), ("open",)):
        assert parta("cooperation", *verb, "--help").startswith("usage: parta cooperation")


def test_it_is_done_without_a_server_as_well(region: Region) -> None:
    cooperation = region.propose()
    region.server.stop()
    assert region.type("cooperation", "agree", "B", cooperation) == ""
    assert f"{cooperation}  in force" in region.type("cooperation", "list", "A")
