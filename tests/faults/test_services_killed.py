"""The server is killed while an application service is being told something: it hears the same again, and no gap."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.kit.appservices import AS_TOKEN, REGISTRATION
from tests.kit.ports import find_port
from tests.kit.processes import Process, open_configuration, running

WAIT_S = 30.0
KILLS = 4


class Service(ThreadingHTTPServer):
    """A service that remembers what it was told; while `mute` it takes it and says nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Told)
        self.told: list[tuple[str, Any]] = []
        self.answered = 0
        self.heard = threading.Condition()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def wait_for(self, number: int) -> None:
        """Wait until it was told so many transactions."""
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.told) >= number, WAIT_S), self.told

    def wait_for_text(self, text: str) -> None:
        """Wait until it was told that."""
        with self.heard:
            assert self.heard.wait_for(lambda: text in self.texts(), WAIT_S), self.told

    def wait_until_all_is_answered(self) -> None:
        """Wait until nothing that it was told is without an answer."""
        with self.heard:
            assert self.heard.wait_for(lambda: self.answered == len(self.told), WAIT_S), self.told

    def texts(self) -> list[str]:
        """What was said, as the service reads it: a transaction that it knows tells nothing new."""
        events = [event for body in dict(self.told).values() for event in body["events"]]
        return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


class _Told(BaseHTTPRequestHandler):
    server: Service

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.heard:
            self.server.told.append((self.path.rpartition("/")[2], body))
            self.server.heard.notify_all()
        self.server.may_answer.wait(WAIT_S)
        try:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")
        except OSError:
            self.close_connection = True  # who asked was killed
        with self.server.heard:
            self.server.answered += 1
            self.server.heard.notify_all()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    told = Service()
    thread = threading.Thread(target=told.serve_forever, daemon=True)
    thread.start()
    yield told
    told.may_answer.set()
    told.shutdown()
    told.server_close()
    thread.join(WAIT_S)


def ask(server: Process, method: str, path: str, body: object) -> Any:
    """What the service itself asks of the server."""
    request = urllib.request.Request(
        f"{server.base_url}/_matrix/client/v3{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {AS_TOKEN}"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as reply:
        return json.loads(reply.read())


def test_a_service_hears_the_same_transaction_again_and_everything_once(tmp_path: Path, service: Service) -> None:
    registration = {**REGISTRATION, "url": f"http://127.0.0.1:{service.server_port}"}
    (tmp_path / "irc.yaml").write_text(json.dumps(registration))
    configuration = {**open_configuration(find_port()), "application_services": ["irc.yaml"]}
    said = []
    with running(tmp_path, configuration) as server:
        room = ask(server, "POST", "/createRoom", {})["room_id"]

        def say(text: str) -> None:
            said.append(text)
            content = {"msgtype": "m.text", "body": text}
            ask(server, "PUT", f"/rooms/{room}/send/m.room.message/{text}", content)

        for number in range(KILLS):
            say(f"before-{number}")
            service.wait_for_text(f"before-{number}")
            service.wait_until_all_is_answered()
            service.may_answer.clear()
            told = len(service.told)
            say(f"under-way-{number}")
            service.wait_for(told + 1)
            under_way = service.told[told]
            say(f"after-{number}")
            server.kill()
            service.may_answer.set()
            server.start()
            service.wait_for_text(f"after-{number}")
            assert service.told[told + 1] == under_way
        assert service.texts() == said
        events = [event["event_id"] for body in dict(service.told).values() for event in body["events"]]
        assert len(events) == len(set(events))
        assert server.stop() == 0
        assert "Traceback" not in server.log, server.log
