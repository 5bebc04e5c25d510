"""A disk that is full, a database that is gone, an end under load: clear errors, nothing lost, and it goes on."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest

from config.settings import PostgreSQL
from tests.faults.caller import Caller, Lost, Refusal, register
from tests.faults.load import Deed, Follower, Message
from tests.faults.proxy import Proxy
from tests.faults.village import Village
from tests.kit.databases import Cluster, make_on_cluster, session_cluster
from tests.kit.ports import find_port
from tests.kit.processes import Process, open_configuration, running

PATIENCE_S = 30.0
SMALL_BYTES = 16 << 20


class Count:
    """Counts what happens to people at work, and waits for a number of it."""

    def __init__(self) -> None:
        self.done = 0
        self.refused: list[Refusal] = []
        self._news = Event()

    def told(self, _deed: Deed) -> None:
        """A deed was acknowledged."""
        self.done += 1
        self._news.set()

    def bear(self, refusal: Refusal) -> None:
        """A request was refused: because storage fails, and for nothing else."""
        answer = refusal.answer
        if answer.status not in (500, 503, 507) or not answer.json["errcode"].startswith("M_"):
            raise refusal
        assert "retry-after" in {name.lower() for name in answer.headers}, refusal
        self.refused.append(refusal)
        self._news.set()

    def wait(self, *, done: int = 0, refused: int = 0) -> None:
        """Wait until so many more deeds are done and so many more requests refused."""
        done, refused = self.done + done, len(self.refused) + refused
        ends = monotonic() + PATIENCE_S
        while self.done < done or len(self.refused) < refused:
            self._news.clear()
            assert self._news.wait(max(ends - monotonic(), 0)), (
                f"{self.done} of {done}, {len(self.refused)} of {refused}"
            )


@contextmanager
def small_files(server: Process, _folder: Path) -> Iterator[None]:
    """No file of the server may grow."""
    sizes = [file.stat().st_size for file in (server.config.parent / "data").glob("parta.db*")]
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (max(sizes), resource.RLIM_INFINITY))
    yield
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def full_disk(_server: Process, folder: Path) -> Iterator[None]:
    """Nothing is left on the file system."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while out.write(bytes(size)) == size:
                    pass
            except OSError:
                pass
    yield
    filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system where this may be made, else a folder."""
    made = os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "tmpfs", str(tmp_path)], capture_output=True, check=False
    ).returncode  # fmt: skip
    yield tmp_path
    if made:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.mark.parametrize("fill", [small_files, full_disk])
def test_a_full_disk_is_told_of_and_nothing_is_lost(disk: Path, fill: Callable[..., Any]) -> None:
    if fill is full_disk and not os.path.ismount(disk):
        fill = small_files  # nobody but root can make a file system
    with running(disk, open_configuration(find_port())) as server:
        village, count, pid = Village(server.port, Random(1)), Count(), server.pid
        with village.at_work(count.told, count.bear):
            count.wait(done=50)
            for _ in range(3):
                with fill(server, disk):
                    count.wait(refused=10)
                    read_something(village)
                count.wait(done=50)
        village.check_everything()
        check_unhurt(server, pid)


def read_something(village: Village) -> None:
    """What is there can be read all the same."""
    reader, room = Caller(village.port, village.warden.token), village.rooms[0]
    reader.call("GET", "/rooms/{}/messages", None, room, query={"dir": "b"})
    reader.call("GET", "/sync")
    reader.close()


def check_unhurt(server: Process, pid: int) -> None:
    """The same process is there, and nothing was a surprise to it."""
    assert server.pid == pid
    for word in ("Traceback", "Unhandled"):
        before, found, after = server.log.partition(word)
        assert not found, before[-1000:] + found + after[:5000]
    assert server.stop() == 0


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server that may be ended."""
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.remove()


def on_database(dsn: str) -> dict[str, str]:
    """The configuration of that database."""
    return {"engine": "postgresql", "dsn": dsn}


def make_dsn(cluster: Cluster) -> str:
    """A fresh database on a server."""
    settings = make_on_cluster(cluster).settings
    assert isinstance(settings, PostgreSQL)
    return settings.dsn


def test_a_database_that_goes_and_comes_back_is_told_of_and_nothing_is_lost(tmp_path: Path) -> None:
    with (
        own_cluster() as cluster,
        running(tmp_path, open_configuration(find_port(), on_database(make_dsn(cluster)))) as server,
    ):
        village, count, pid = Village(server.port, Random(2)), Count(), server.pid
        with village.at_work(count.told, count.bear):
            count.wait(done=50)
            for _ in range(3):
                cluster.kill()
                count.wait(refused=10)
                cluster.start()
                count.wait(done=50)
        village.check_everything()
        check_unhurt(server, pid)


def test_a_commit_whose_answer_is_lost_is_made_once(tmp_path: Path) -> None:
    """The commit is there, the connection is not, and nobody can know: who asks again gets what was done then."""
    cluster = session_cluster()
    proxy = Proxy(cluster.folder)
    dsn = proxy.dsn(make_dsn(cluster).rpartition("=")[2])
    with running(tmp_path, open_configuration(find_port(), on_database(dsn))) as server:
        village, count, pid = Village(server.port, Random(3)), Count(), server.pid
        with village.at_work(count.told, count.bear):
            for _ in range(10):
                count.wait(done=20)
                proxy.cut_at_commit()
                assert proxy.has_cut.wait(PATIENCE_S)
                count.wait(refused=5)
                proxy.mend()
        village.check_everything()
        check_unhurt(server, pid)
    proxy.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_an_end_under_load_is_quick_and_loses_nothing(tmp_path: Path, engine: str) -> None:
    database = on_database(make_dsn(session_cluster())) if engine == "postgresql" else None
    with running(tmp_path, open_configuration(find_port(), database)) as server:
        village, count = Village(server.port, Random(4)), Count()
        hermit = Follower(register(server.port, "hermit"), wait_ms=60_000)
        hermit.catch_up()
        for _ in range(5):
            answered: list[bool] = []
            waiting = Thread(target=lambda answered=answered: answered.append(hermit.sync(60_000)))
            with village.at_work(count.told):
                waiting.start()
                count.wait(done=40)
                began = monotonic()
                assert server.stop() == 0
                assert monotonic() - began < 10
            waiting.join(5)
            assert answered == [False], "a long poll was cut off"
            village.hang_up()
            hermit.caller.close()
            village.bookmark()
            server.start()
            village.check_what_was_done()
            village.check_repeats(25)
        village.check_everything()
        check_unhurt(server, server.pid)


def test_an_end_does_not_wait_for_a_database_that_hangs(tmp_path: Path) -> None:
    with (
        own_cluster() as cluster,
        running(tmp_path, open_configuration(find_port(), on_database(make_dsn(cluster)))) as server,
    ):
        alice = register(server.port, "alice")
        room = alice.call("POST", "/createRoom", {})["room_id"]
        signal_all(cluster, signal.SIGSTOP)
        try:
            lost: list[BaseException] = []
            waiting = Thread(target=lambda: lost.append(catch(lambda: Message(room, "x").do(alice))))
            waiting.start()
            began = monotonic()
            server.stop()
            assert monotonic() - began < 10
            waiting.join(5)
            assert len(lost) == 1
        finally:
            signal_all(cluster, signal.SIGCONT)


def signal_all(cluster: Cluster, what: signal.Signals) -> None:
    """Signal all processes of a PostgreSQL server."""
    first = (cluster.folder / "files" / "postmaster.pid").read_text().split("\n")[0]
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    for pid in (first, *children):
        os.kill(int(pid), what)


def catch(work: Callable[[], object]) -> BaseException:
    """What it raises."""
    with pytest.raises((Lost, Refusal)) as caught:
        work()
    return caught.value
